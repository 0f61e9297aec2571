/** The list of this browser's earlier sessions. */

import { Refused, newId } from "./client.js";
import { foreign, h, the } from "./dom.js";

/**
 * @typedef {import("./sessions.js").Remembered} Remembered
 * @typedef {import("./sessions.js").Sessions} Sessions
 */

export class Past {
  #lex;
  #sessions;
  #open;

  /**
   * @param {import("./client.js").Lex} lex
   * @param {Sessions} sessions
   * @param {(id: string) => void} open
   */
  constructor(lex, sessions, open) {
    this.#lex = lex;
    this.#sessions = sessions;
    this.#open = open;
    the("menu").addEventListener("click", () => this.show(!this.#isShown));
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.#isShown) {
        this.show(false);
        the("menu").focus();
      }
    });
  }

  get #isShown() {
    return the("past").classList.contains("shown");
  }

  /** Opens or closes the list. Only narrow pages hide it. @param {boolean} isShown */
  show(isShown) {
    the("past").classList.toggle("shown", isShown);
    the("menu").setAttribute("aria-expanded", String(isShown));
  }

  list() {
    const rows = this.#sessions.all().map((session) => this.#row(session));
    the("sessions").replaceChildren(...rows);
    the("none").hidden = rows.length > 0;
  }

  /** @param {Remembered} session */
  #row({ id, title }) {
    const open = () => {
      this.show(false);
      this.#open(id);
    };
    const forget = () => void this.#forget(id);
    const current = id === this.#sessions.current && "true";
    const name = { type: "button", class: "session", "aria-current": current, onclick: open };
    const cross = { type: "button", class: "forget", "aria-label": `Forget: ${title}`, onclick: forget };
    return h("li", {}, h("button", name, foreign(title)), h("button", cross, "×"));
  }

  /** Deletes a session in Lex and in the list. It stays listed if Lex fails. @param {string} id */
  async #forget(id) {
    try {
      await this.#lex.forget(id);
    } catch (error) {
      if (!(error instanceof Refused && error.status === 404)) return;
    }
    this.#sessions.forget(id);
    if (id === this.#sessions.current) this.#open(newId());
    else this.list();
  }
}
