/**
 * Lex for programs: ask, read on, stop, look back, sign in. It knows no page and draws nothing;
 * import it from wherever you like.
 *
 *     const lex = new Lex({base: "http://localhost:8000"});
 *     for await (const event of lex.ask("my-session", "What is the weather in Paris?")) {
 *       if (event.type === "chunk") process.stdout.write(event.data);
 *     }
 *
 * A connection that breaks is taken up again where it stopped, as long as it takes: no event comes
 * twice and none is missing, and nothing is asked twice. (Over a WebSocket a question has no key of
 * its own: if its connection breaks at once, the history is asked whether it came.)
 */

import { createParser } from "./vendor/eventsource-parser/parse.js";
import { Line } from "./realtime.js";

/**
 * @typedef {{id: string, name: string, arguments: Record<string, unknown> | string}} ToolCall
 * @typedef {{id: string, name: string, output: Record<string, any>}} ToolOutput
 * @typedef {{code: string, message: string, retryable: boolean, retry_after?: number}} Failure
 * @typedef {{outcome: string, finish_reason: string | null, model: string | null, rounds: number,
 *     usage: Record<string, number>}} Outcome
 *
 * @typedef {{id: string, turn: string} & (
 *     {type: "chunk" | "tool_use" | "end", data: string}
 *   | {type: "tool_call", data: ToolCall}
 *   | {type: "tool_output", data: ToolOutput}
 *   | {type: "error", data: Failure}
 *   | {type: "outcome", data: Outcome}
 * )} TurnEvent
 *
 * @typedef {{is: "connecting"} | {is: "open"} | {is: "lost", seconds: number}} Connection
 *
 * @typedef {object} Options
 * @property {string} [key] The question's own, so that it is never asked twice: by default a new one.
 * @property {string} [after] The session's last turn that is known, to tell a new one from it.
 * @property {(state: Connection) => void} [report] Told how the connection is.
 * @property {(turn: string) => void} [begun] Told the id of the turn, as soon as there is one.
 *
 * @typedef {{type: string, turn_id: string, created_at: string, data: any}} Happened
 * @typedef {{status: string, version: string, upstream: string, models: {name: string}[],
 *   warnings?: string[]}} Readiness
 */

/** Events whose data is JSON. */
const OBJECTS = ["tool_call", "tool_output", "error", "outcome"];

/** Without a byte for so long, a stream is taken for lost. Heartbeats come after 15 s. */
const SILENCE_MS = 45_000;

/** A WebSocket has no heartbeats that a page would see; no turn takes longer than this. */
const SOCKET_SILENCE_MS = 130_000;

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 10_000;

/** The service said no, before any event. */
export class Refused extends Error {
  /**
   * @param {number} status 0 over a WebSocket
   * @param {Failure} failure
   */
  constructor(status, failure) {
    super(failure.message);
    this.status = status;
    this.failure = failure;
  }

  /** @param {Response} response */
  static async of(response) {
    /** @type {Record<string, any>} */
    const problem = await response.json().catch(() => ({}));
    const failure = {
      code: problem.code ?? "",
      message: problem.detail ?? response.statusText,
      retryable: response.status === 409 || response.status === 429 || response.status >= 500,
      retry_after: problem.retry_after,
    };
    return new Refused(response.status, failure);
  }
}

export class Lex {
  /** @type {RequestCredentials} */
  #credentials = "same-origin";

  /** @param {{base?: string, realtime?: boolean}} [options] */
  constructor({ base = "", realtime = false } = {}) {
    this.base = base;
    /** Whether turns go over a WebSocket; may be changed between two of them. */
    this.realtime = realtime;
    this.line = new Line(base);
  }

  /**
   * @param {string} session
   * @param {string} query
   * @param {Options} [options]
   */
  ask(session, query, options = {}) {
    return new Turn(this, session, { query, ...options });
  }

  /**
   * Reads a turn from its beginning, whether it still runs or not.
   * @param {string} session
   * @param {string} turn
   * @param {Options} [options]
   */
  follow(session, turn, options = {}) {
    return new Turn(this, session, { turn, ...options });
  }

  /** @param {string} turn */
  async stop(turn) {
    await this.fetch(`/turns/${turn}`, { method: "DELETE" });
  }

  /**
   * What happened in a session so far; nothing in one that does not exist.
   * @param {string} session
   * @returns {Promise<Happened[]>}
   */
  async history(session) {
    try {
      const response = await this.fetch(`/sessions/${session}/events`);
      return (await response.json()).events;
    } catch (error) {
      if (error instanceof Refused && error.status === 404) return [];
      throw error;
    }
  }

  /** @param {string} session */
  async forget(session) {
    await this.fetch(`/sessions/${session}`, { method: "DELETE" });
  }

  /** @returns {Promise<Readiness>} */
  async readiness() {
    // A server that leaves says 503, and still how it is.
    return (await fetch(`${this.base}/readyz`)).json();
  }

  /**
   * From now on the browser proves by a cookie who asks.
   * @param {string} credential a token or an API key
   */
  async signIn(credential) {
    this.#credentials = "include";
    const headers = { Authorization: `Bearer ${credential}` };
    await this.fetch("/auth/session", { method: "POST", headers });
  }

  async signOut() {
    await this.fetch("/auth/session", { method: "DELETE" });
    this.line.close();
  }

  /**
   * @param {string} path
   * @param {RequestInit} [init]
   * @returns {Promise<Response>}
   * @throws {Refused}
   */
  async fetch(path, init = {}) {
    const ask = () => fetch(this.base + path, { ...init, credentials: this.#credentials });
    let response = await ask();
    if (response.status === 401 && this.#credentials !== "include") {
      // On another origin a cookie is sent on request, and taken only with authentication.
      this.#credentials = "include";
      response = await ask();
    }
    if (!response.ok) throw await Refused.of(response);
    return response;
  }
}

/** One question and everything until its `end`: to be iterated once. */
export class Turn {
  /** @type {string | null} */
  id = null;
  /** Of the last event that was read; `lost-1` among those that come instead of a lost answer. */
  place = "0";

  #lex;
  #session;
  #query;
  #key;
  #report;
  #begun;
  #after;
  #realtime;
  #wasSent = false;
  #isStopped = false;
  #isLeft = false;
  #attempt = new AbortController();
  #hurry = () => {};

  /**
   * @param {Lex} lex
   * @param {string} session
   * @param {Options & {query?: string, turn?: string}} options
   */
  constructor(lex, session, { query = "", turn, key = newId(), after, report, begun }) {
    this.#lex = lex;
    this.#session = session;
    this.#query = query;
    this.#key = key;
    this.#after = after;
    this.#report = report ?? (() => {});
    this.#begun = begun ?? (() => {});
    this.#realtime = lex.realtime;
    if (turn) this.id = turn;
  }

  /** @returns {AsyncGenerator<TurnEvent, void, void>} */
  async *[Symbol.asyncIterator]() {
    for (let failures = 0; ; ) {
      const attempt = (this.#attempt = new AbortController());
      const breakOff = () => attempt.abort();
      globalThis.addEventListener?.("offline", breakOff);
      this.#report({ is: "connecting" });
      try {
        for await (const event of this.#connect(attempt)) {
          if (!this.#isNext(event)) continue;
          failures = 0;
          yield event;
          if (event.type === "end") return;
        }
      } catch (error) {
        if (error instanceof Refused && !this.#passes(error)) throw error;
      } finally {
        globalThis.removeEventListener?.("offline", breakOff);
        attempt.abort();
      }
      if (this.#isOver()) return;
      const wait = Math.min(FIRST_PAUSE_MS * 2 ** failures++, LONGEST_PAUSE_MS);
      await this.#pause(wait * (0.75 + Math.random() / 2));
      if (this.#isOver()) return;
    }
  }

  /** Nobody wants it any more: neither to read on, nor to ask what was stopped before it began. */
  #isOver() {
    return this.#isLeft || (this.#isStopped && this.id === null);
  }

  /** Its upstream call is closed, what was said is kept, and the stream ends. */
  async stop() {
    this.#isStopped = true;
    if (this.id !== null) return this.#lex.stop(this.id);
    if (this.#realtime) this.#lex.line.stop();
    this.#hurry();
  }

  /** Reads no further. The turn goes on, for as long as one that nobody reads may. */
  leave() {
    this.#isLeft = true;
    this.#attempt.abort();
    this.#hurry();
  }

  /** Tries again at once, if a connection is being waited for. */
  hurry() {
    this.#hurry();
  }

  /**
   * @param {AbortController} attempt
   * @returns {AsyncGenerator<TurnEvent, void, void>}
   */
  async *#connect(attempt) {
    const silence = new Watchdog(this.#realtime ? SOCKET_SILENCE_MS : SILENCE_MS, attempt);
    try {
      yield* this.#realtime
        ? this.#overSocket(attempt.signal, silence)
        : this.#overHttp(attempt.signal, silence);
    } finally {
      silence.rest();
    }
  }

  /**
   * @param {AbortSignal} signal
   * @param {Watchdog} silence
   * @returns {AsyncGenerator<TurnEvent, void, void>}
   */
  async *#overHttp(signal, silence) {
    const response = await (this.id === null ? this.#post(signal) : this.#get(signal));
    const turn = response.headers.get("X-Turn-Id");
    // A head that broke off may look like a whole one.
    if (turn === null || response.body === null) throw new Error("this is no stream");
    this.#begin(turn);
    /** @type {TurnEvent[]} */
    const read = [];
    const parser = createParser({ onEvent: (frame) => void read.push(parsed(frame)) });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      silence.bark();
      parser.feed(value);
      yield* read.splice(0);
    }
  }

  /** @param {AbortSignal} signal */
  #post(signal) {
    return this.#lex.fetch("/query", {
      method: "POST",
      signal,
      headers: { "Content-Type": "application/json", "Idempotency-Key": this.#key },
      body: JSON.stringify({ query: this.#query, session_id: this.#session, resume: true }),
    });
  }

  /** @param {AbortSignal} signal */
  #get(signal) {
    /** @type {Record<string, string>} */
    const headers = this.place === "0" ? {} : { "Last-Event-ID": `${this.id}-${this.place}` };
    return this.#lex.fetch(`/turns/${this.id}/events`, { signal, headers });
  }

  /**
   * @param {AbortSignal} signal
   * @param {Watchdog} silence
   * @returns {AsyncGenerator<TurnEvent, void, void>}
   */
  async *#overSocket(signal, silence) {
    if (this.id === null && this.#wasSent) await this.#find();
    const message =
      this.id === null
        ? { type: "query", query: this.#query }
        : { type: "resume", last_event_id: `${this.id}-${this.place}` };
    for await (const said of this.#lex.line.converse(this.#session, message, signal)) {
      silence.bark();
      if (said === "sent") {
        this.#wasSent = true;
        this.#report({ is: "open" });
        if (this.#isStopped && this.id !== null) this.#lex.stop(this.id).catch(() => {});
      } else if (said.turn === undefined) {
        throw new Refused(0, /** @type {Failure} */ (said.data));
      } else {
        if (this.id === null) this.#begin(said.turn);
        if (said.turn === this.id) yield said;
      }
    }
  }

  /** A question over a WebSocket has no key: whether it was taken, the history knows. */
  async #find() {
    const happened = await this.#lex.history(this.#session);
    const asked = happened.findLast((each) => each.type === "user_message");
    if (asked && asked.turn_id !== this.#after && asked.data.content === this.#query) {
      this.#begin(asked.turn_id);
    }
  }

  /** @param {string} turn */
  #begin(turn) {
    const isNew = this.id === null;
    this.id = turn;
    this.#report({ is: "open" });
    if (isNew) this.#begun(turn);
    if (this.#isStopped) this.#lex.stop(turn).catch(() => {});
  }

  /**
   * Whether an event is to be passed on. A server that leaves tells readers of a turn that runs
   * elsewhere so, under the id that they have: the rest is read there.
   * @param {TurnEvent} event
   */
  #isNext(event) {
    const place = event.id.slice(event.turn.length + 1);
    if (!isBehind(place, this.place)) {
      if (event.type === "end") throw new Error("read on elsewhere");
      return false;
    }
    this.place = place;
    return true;
  }

  /**
   * Whether to try again. What refuses a question is for whoever asks to decide; a turn that
   * has begun is read to its end.
   * @param {Refused} error
   */
  #passes({ status, failure }) {
    // Without a code of ours it is a proxy that finds nobody, or a head that broke off.
    if (failure.code === "") return status < 400 || status >= 500;
    return this.id !== null && failure.retryable;
  }

  /** @param {number} ms */
  #pause(ms) {
    this.#report({ is: "lost", seconds: ms / 1000 });
    return /** @type {Promise<void>} */ (
      new Promise((resolve) => {
        const timer = setTimeout(done, ms);
        globalThis.addEventListener?.("online", done);
        this.#hurry = done;
        function done() {
          clearTimeout(timer);
          globalThis.removeEventListener?.("online", done);
          resolve();
        }
      })
    );
  }
}

/** Ends an attempt during which nothing was heard for too long. */
class Watchdog {
  /**
   * @param {number} ms
   * @param {AbortController} attempt
   */
  constructor(ms, attempt) {
    this.ms = ms;
    this.attempt = attempt;
    this.bark();
  }

  /** Something was heard. */
  bark() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.attempt.abort(), this.ms);
  }

  rest() {
    clearTimeout(this.timer);
  }
}

/**
 * @param {{id?: string, event?: string, data: string}} frame
 * @returns {TurnEvent}
 */
function parsed({ id = "", event = "", data }) {
  const isObject = OBJECTS.includes(event);
  const turn = id.slice(0, id.indexOf("-"));
  const value = isObject ? JSON.parse(data) : data;
  return /** @type {TurnEvent} */ ({ type: event, id, turn, data: value });
}

/**
 * Whether an event comes later than another. What is said instead of a lost answer comes behind it.
 * @param {string} place
 * @param {string} other
 */
function isBehind(place, other) {
  const isLost = place.startsWith("lost-");
  if (isLost !== other.startsWith("lost-")) return isLost;
  return Number(place.replace("lost-", "")) > Number(other.replace("lost-", ""));
}

/** Names a session or a question. `crypto.randomUUID` would need https. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
