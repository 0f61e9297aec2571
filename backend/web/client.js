/**
 * A client of Lex for any JavaScript program: ask, resume, stop, read the history, sign in. It does
 * not depend on the page.
 *
 *     const lex = new Lex({base: "http://localhost:8000"});
 *     for await (const event of lex.ask("my-session", "What is the weather in Paris?")) {
 *       if (event.type === "chunk") process.stdout.write(event.data);
 *     }
 *
 * When a connection breaks, the client reconnects until it succeeds and resumes the stream. No event
 * comes twice, none is missing, and no question is asked twice. (A question over a WebSocket has no
 * idempotency key. If its connection breaks at once, the client looks for the question in the history.)
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
 * @property {string} [key] The idempotency key of the question; by default a new one.
 * @property {string} [after] The last known turn of the session, to tell a new turn from it.
 * @property {(state: Connection) => void} [report] Called when the state of the connection changes.
 * @property {(turn: string) => void} [begun] Called with the id of the turn once it is known.
 *
 * @typedef {{type: string, turn_id: string, created_at: string, data: any}} Happened
 * @typedef {{status: string, version: string, upstream: string, models: {name: string}[],
 *   warnings?: string[]}} Readiness
 */

/** Events whose data is JSON. */
const OBJECTS = ["tool_call", "tool_output", "error", "outcome"];

/** A stream without a byte for this long counts as lost. Heartbeats come every 15 s by default. */
const SILENCE_MS = 45_000;

/** Browsers hide the pings of WebSockets, so this is a little more than the default turn timeout. */
const SOCKET_SILENCE_MS = 130_000;

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 10_000;

/** The service refused a request before any event. */
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
      retryable: isWorthARetry(response.status, problem.code),
      retry_after: problem.retry_after,
    };
    return new Refused(response.status, failure);
  }
}

/**
 * A defect of the server fails again in the same way.
 * @param {number} status
 * @param {string | undefined} code
 */
const isWorthARetry = (status, code) =>
  status === 409 || status === 429 || (status >= 500 && code !== "internal_error");

export class Lex {
  /** @type {RequestCredentials} */
  #credentials = "same-origin";

  /** @param {{base?: string, realtime?: boolean}} [options] */
  constructor({ base = "", realtime = false } = {}) {
    this.base = base;
    /** Whether turns use a WebSocket. It may be changed between turns. */
    this.realtime = realtime;
    this.line = new Line(base);
  }

  /**
   * Asks a question. The request is sent when the returned turn is iterated.
   * @param {string} session
   * @param {string} query
   * @param {Options} [options]
   */
  ask(session, query, options = {}) {
    return new Turn(this, session, { query, ...options });
  }

  /**
   * Reads a running or finished turn from its first event. The request is sent when it is iterated.
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
   * The history of a session, oldest first; empty if the session does not exist.
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
    // Not `this.fetch`: a draining server answers 503 with the same body.
    return (await fetch(`${this.base}/readyz`)).json();
  }

  /**
   * Exchanges a credential for a cookie, which the browser sends from now on.
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
      // For another origin, cookies must be requested explicitly. Without authentication the service
      // does not allow them, so they are tried second.
      this.#credentials = "include";
      response = await ask();
    }
    if (!response.ok) throw await Refused.of(response);
    return response;
  }
}

/** One question and its events until `end`. Iterate it once. */
export class Turn {
  /** @type {string | null} */
  id = null;
  /** The number of the last event that was read; `lost-1` and on for those that replace a lost answer. */
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

  /**
   * The events, over as many connections as it takes.
   * @returns {AsyncGenerator<TurnEvent, void, void>}
   * @throws {Refused} the question was refused, or the turn was and a retry would not help
   */
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

  /** Whether to make no further attempt: the caller left, or stopped the turn before it began. */
  #isOver() {
    return this.#isLeft || (this.#isStopped && this.id === null);
  }

  /** Stops the turn. The text so far is kept, and the stream ends with its usual events. */
  async stop() {
    this.#isStopped = true;
    if (this.id !== null) return this.#lex.stop(this.id);
    if (this.#realtime) this.#lex.line.stop();
    this.#hurry();
  }

  /** Stops reading. The turn itself runs on for `DISCONNECT_GRACE_SECONDS`, or to its end. */
  leave() {
    this.#isLeft = true;
    this.#attempt.abort();
    this.#hurry();
  }

  /** Reconnects at once instead of waiting for the next attempt. */
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
    // Browsers may take a truncated response head for a complete one.
    if (turn === null || response.body === null) throw new Error("the response is no stream");
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

  /** Looks in the history for a question that was sent over a WebSocket, which carries no key. */
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
   * Whether the event is new, so that it is passed on. A draining server ends the stream of a turn
   * that runs on another worker with an `end` that repeats the last id: the rest is read there.
   * @param {TurnEvent} event
   * @throws {Error} the stream must be resumed on another worker
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
   * Whether to retry. A refused question is left to the caller; a turn that has begun is read to its
   * end.
   * @param {Refused} error
   */
  #passes({ status, failure }) {
    // Without an error code of ours, it comes from a proxy or from a truncated response head.
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

/** Aborts an attempt that has received nothing for too long. */
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

  /** Restarts the countdown, because something was received. */
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
 * Whether an event comes later than another. `lost-…` events replace the rest of a lost answer, so
 * they come after all others.
 * @param {string} place
 * @param {string} other
 */
function isBehind(place, other) {
  const isLost = place.startsWith("lost-");
  if (isLost !== other.startsWith("lost-")) return isLost;
  return Number(place.replace("lost-", "")) > Number(other.replace("lost-", ""));
}

/** A random id for a session or a question. `crypto.randomUUID` works with https only. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
