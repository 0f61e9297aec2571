/** One turn in the page: the question, the tools, the answer and its ending. */

import { card } from "./cards.js";
import { foreign, h, icon } from "./dom.js";
import { Markdown } from "./markdown.js";
import { duration, ending, sentence, working } from "./wording.js";

/**
 * @typedef {import("./client.js").TurnEvent} TurnEvent
 * @typedef {import("./client.js").Failure} Failure
 * @typedef {import("./client.js").ToolCall} ToolCall
 *
 * @typedef {object} Surroundings The functions of the page that a turn calls.
 * @property {(query: string) => void} ask
 * @property {(words: string) => void} speak Has a screen reader say the words.
 * @property {() => void} drawn Called after each change.
 */

export class TurnView {
  #around;
  #query;
  #parts;
  /** The text that is being streamed, until a tool call interrupts it. @type {Markdown | null} */
  #said = null;
  /** All text of the answer. */
  #text = "";
  /** @type {Map<string, HTMLElement>} */
  #running = new Map();
  /** @type {Promise<void>[]} */
  #drawing = [];
  /** Whether a failure has explained why the answer is incomplete. */
  #hasExcused = false;
  /** The note below the answer, which is spoken after it. */
  #lastWords = "";

  /**
   * @param {string} query
   * @param {Surroundings} around
   */
  constructor(query, around) {
    this.#around = around;
    this.#query = query;
    this.#parts = h("div", { class: "parts" });
    const asked = h("p", { dir: "auto" }, query);
    this.element = h(
      "li",
      { class: "turn" },
      h("div", { class: "asked" }, h("h2", { class: "unseen" }, "You"), asked),
      h("div", { class: "answer" }, h("h2", { class: "unseen" }, "Lex"), this.#parts),
    );
  }

  /** Shows that the question was sent and nothing has arrived yet. */
  wait() {
    this.element.setAttribute("aria-busy", "true");
    this.element.classList.add("waiting");
  }

  /** @param {TurnEvent} event */
  take(event) {
    if (event.type === "chunk") this.say(event.data);
    else if (event.type === "tool_call") this.#work(event.data);
    else if (event.type === "tool_output") this.#found(event.data);
    else if (event.type === "error") this.fail(event.data);
    else if (event.type === "outcome") this.close(event.data);
  }

  /** @param {string} text */
  say(text) {
    this.element.classList.remove("waiting");
    if (this.#said === null) {
      const element = h("div", { class: "said", dir: "auto" });
      this.#parts.append(element);
      this.#said = new Markdown(element, this.#around.drawn);
    }
    this.#text += text;
    this.#said.append(text);
  }

  /** @param {ToolCall} call */
  #work(call) {
    this.element.classList.remove("waiting");
    const words = working(call);
    const line = h("p", { class: "working" }, icon("tool"), foreign(`${words}…`));
    this.#running.set(call.id, line);
    this.#cards().append(line);
    this.#around.speak(words);
    this.#around.drawn();
  }

  /** @param {import("./client.js").ToolOutput} result */
  #found(result) {
    const found = card(result, this.#around.ask);
    const line = this.#running.get(result.id);
    this.#running.delete(result.id);
    if (line === undefined) this.#cards().append(found);
    else line.replaceWith(found);
    this.#around.drawn();
  }

  /** The row for the next card: the last row, unless text came after it. */
  #cards() {
    this.#pause();
    const last = this.#parts.lastElementChild;
    if (last?.classList.contains("cards")) return last;
    const row = h("div", { class: "cards" });
    this.#parts.append(row);
    return row;
  }

  #pause() {
    if (this.#said !== null) this.#drawing.push(this.#said.shown());
    this.#said = null;
    if (this.#text) this.#text += "\n";
  }

  /**
   * @param {Failure} failure
   * @param {{again?: (() => void) | null}} [options] Replaces the action of "Try again"; null hides it.
   */
  fail(failure, { again = () => this.#around.ask(this.#query) } = {}) {
    this.#pause();
    this.#hasExcused = true;
    const words = sentence(failure);
    const notice = h("div", { class: "notice" }, icon("warning"), h("p", {}, foreign(words)));
    if (failure.retryable && again !== null) notice.append(retry(failure.retry_after ?? 0, again));
    this.#parts.append(notice);
    this.#around.speak(words);
    this.#around.drawn();
  }

  /**
   * Notes how the turn ended, unless the answer is complete or a failure has said it already.
   * @param {{outcome: string, finish_reason?: string | null}} ended
   */
  close(ended) {
    const words = ending(ended);
    if (words && !this.#hasExcused) this.note(words);
  }

  /** Adds a note below the answer. Only the first note is shown. @param {string} words */
  note(words) {
    if (this.#lastWords) return;
    this.#pause();
    this.#lastWords = words;
    this.#parts.append(h("p", { class: "note" }, words));
    this.#around.drawn();
  }

  /**
   * Ends the turn once all events have arrived, and has the whole answer spoken if `aloud`.
   * @param {{aloud?: boolean}} [options]
   */
  async end({ aloud = true } = {}) {
    this.#pause();
    for (const line of this.#running.values()) line.remove();
    this.element.classList.remove("waiting");
    if (aloud && this.#text) this.#around.speak(`Lex: ${this.#text.trim()}`);
    if (aloud && this.#lastWords) this.#around.speak(this.#lastWords);
    await Promise.all(this.#drawing);
    this.element.removeAttribute("aria-busy");
    this.#around.drawn();
  }
}

/**
 * A button that counts down before it can be pressed.
 * @param {number} seconds
 * @param {() => void} again
 */
function retry(seconds, again) {
  const button = h("button", { type: "button", class: "action", onclick: again }, "Try again");
  const until = performance.now() + seconds * 1000;
  const count = () => {
    const left = (until - performance.now()) / 1000;
    button.disabled = left > 0;
    button.textContent = left > 0 ? `Try again in ${duration(left)}` : "Try again";
    if (left > 0) setTimeout(count, 250);
  };
  count();
  return button;
}
