/** What this browser stores: its sessions, and the question that is being answered. */

import { newId } from "./client.js";

const MOST = 50;

/**
 * @typedef {{id: string, title: string, at: number}} Remembered
 * @typedef {{session: string, query: string, key: string, after?: string}} Pending
 *     `after` is the last turn before the question.
 */

/** The browser's sessions, most recent first, and the current one of this tab. */
export class Sessions {
  /** @type {string} */
  current;

  constructor() {
    this.current = sessionStorage.getItem("lex.session") ?? this.all()[0]?.id ?? newId();
    this.open(this.current);
  }

  /** @returns {Remembered[]} */
  all() {
    return read(localStorage, "lex.sessions") ?? [];
  }

  /** Makes a session the current one of this tab. @param {string} id */
  open(id) {
    this.current = id;
    sessionStorage.setItem("lex.session", id);
  }

  /** Moves the current session to the top. Its title is its first question. @param {string} query */
  asked(query) {
    const { current } = this;
    const known = this.all().find(({ id }) => id === current);
    const title = known?.title ?? query.slice(0, 80);
    const others = this.all().filter(({ id }) => id !== current);
    this.#write([{ id: current, title, at: Date.now() }, ...others]);
  }

  /** @param {string} id */
  forget(id) {
    this.#write(this.all().filter((each) => each.id !== id));
  }

  /** @param {Remembered[]} all */
  #write(all) {
    localStorage.setItem("lex.sessions", JSON.stringify(all.slice(0, MOST)));
  }

  /**
   * The current session's unfinished question. It is stored so that it survives a reload.
   * @returns {Pending | null}
   */
  get pending() {
    const pending = read(sessionStorage, "lex.pending");
    return pending?.session === this.current ? pending : null;
  }

  /** @param {Pending | null} pending */
  set pending(pending) {
    if (pending === null) sessionStorage.removeItem("lex.pending");
    else sessionStorage.setItem("lex.pending", JSON.stringify(pending));
  }
}

/**
 * A stored value; null if there is none or if it is not JSON.
 * @param {Storage} storage
 * @param {string} name
 */
function read(storage, name) {
  try {
    return JSON.parse(storage.getItem(name) ?? "null");
  } catch {
    return null;
  }
}
