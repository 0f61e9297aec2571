/**
 * The WebSocket of one session, which stays open between turns.
 *
 * @typedef {import("./client.js").TurnEvent} TurnEvent
 * @typedef {TurnEvent | {type: "error", turn: undefined, data: import("./client.js").Failure}} Said
 */

const NOT_TEXT = 1007;
const NOT_ALLOWED = 1008;
const TOO_LARGE = 1009;
const TRY_LATER = 1013;

export class Line {
  #base;
  #session = "";
  /** @type {WebSocket | null} */
  #socket = null;

  /** @param {string} base */
  constructor(base) {
    this.#base = base;
  }

  /**
   * Sends a message and yields "sent" and then what the service sends, until the socket closes.
   * @param {string} session
   * @param {object} message
   * @param {AbortSignal} signal
   * @returns {AsyncGenerator<"sent" | Said, void, void>}
   */
  async *converse(session, message, signal) {
    const socket = this.#open(session);
    /** @type {("sent" | Said)[]} */
    const heard = [];
    let wake = () => {};
    let closeCode = 0;
    let isWhole = false;
    const send = () => {
      socket.send(JSON.stringify(message));
      heard.push("sent");
      wake();
    };
    socket.onmessage = ({ data }) => {
      /** @type {Said} */
      const said = JSON.parse(data);
      isWhole = said.type === "end" || said.turn === undefined;
      heard.push(said);
      wake();
    };
    socket.onclose = ({ code }) => {
      closeCode = code;
      wake();
    };
    const leave = () => {
      this.close();
      closeCode = -1;
      wake();
    };
    signal.addEventListener("abort", leave);
    if (socket.readyState === WebSocket.OPEN) send();
    else socket.onopen = send;
    try {
      for (;;) {
        yield* heard.splice(0);
        if (closeCode) break;
        if (!heard.length) await new Promise((resolve) => (wake = () => resolve(undefined)));
      }
    } finally {
      signal.removeEventListener("abort", leave);
      socket.onmessage = socket.onopen = socket.onclose = null;
      // Otherwise the remaining events of this turn would reach the reader of the next one.
      if (!isWhole) this.close();
    }
    if (closeCode === NOT_TEXT) yield refusal("bad_request", false);
    if (closeCode === NOT_ALLOWED) yield refusal("not_authenticated", false);
    if (closeCode === TOO_LARGE) yield refusal("body_too_large", false);
    if (closeCode === TRY_LATER) yield refusal("overloaded", true);
  }

  /** Stops the running turn. */
  stop() {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send('{"type": "stop"}');
  }

  close() {
    this.#socket?.close();
    this.#socket = null;
  }

  /** @param {string} session */
  #open(session) {
    const isOpen = this.#socket !== null && this.#socket.readyState <= WebSocket.OPEN;
    if (this.#socket !== null && isOpen && this.#session === session) return this.#socket;
    this.close();
    const url = new URL(`${this.#base}/ws/sessions/${session}`, globalThis.location?.href);
    url.protocol = url.protocol.replace("http", "ws");
    this.#session = session;
    return (this.#socket = new WebSocket(url));
  }
}

/**
 * @param {string} code
 * @param {boolean} retryable
 * @returns {Said}
 */
function refusal(code, retryable) {
  return { type: "error", turn: undefined, data: { code, message: "", retryable } };
}
