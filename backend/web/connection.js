/** The line above the question field that reports a lost connection. */

import { h } from "./dom.js";
import { duration } from "./wording.js";

/** Shorter interruptions are not shown. */
const UNNOTICED_MS = 700;

export class ConnectionLine {
  #element;
  #hurry;
  #wasLost = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #ticking;

  /**
   * @param {HTMLElement} element
   * @param {() => void} hurry Reconnects at once.
   */
  constructor(element, hurry) {
    this.#element = element;
    this.#hurry = hurry;
    window.addEventListener("offline", () => this.#tellOffline());
    window.addEventListener("online", () => this.report({ is: "open" }));
  }

  /** @param {import("./client.js").Connection} state */
  report(state) {
    clearTimeout(this.#ticking);
    if (state.is === "lost") this.#lost(performance.now() + state.seconds * 1000);
    if (state.is === "open") this.#open();
  }

  #open() {
    this.#wasLost = false;
    if (navigator.onLine) this.#element.replaceChildren();
    else this.#tellOffline();
  }

  /** @param {number} until The time of the next attempt. */
  #lost(until) {
    const tick = () => {
      this.#tellLost(Math.max(0, until - performance.now()) / 1000);
      this.#ticking = setTimeout(tick, 500);
    };
    this.#ticking = setTimeout(tick, this.#wasLost || !navigator.onLine ? 0 : UNNOTICED_MS);
    this.#wasLost = true;
  }

  /** Screen readers do not hear the countdown, only the sentence. @param {number} seconds */
  #tellLost(seconds) {
    if (!navigator.onLine) {
      this.#tellOffline();
      return;
    }
    const when = seconds > 0.5 ? `trying again in ${duration(seconds)}.` : "trying again…";
    const shown = this.#element.querySelector(".when");
    if (shown !== null) {
      shown.textContent = when;
      return;
    }
    const words = h("p", {}, "The connection was lost: ");
    words.append(h("span", { class: "when", "aria-hidden": "true" }, when));
    const now = { type: "button", class: "action", onclick: () => this.#hurry() };
    this.#element.replaceChildren(words, h("button", now, "Try now"));
  }

  #tellOffline() {
    const words = "You are offline. Lex continues as soon as you are back online.";
    if (this.#element.textContent !== words) this.#element.replaceChildren(h("p", {}, words));
  }
}
