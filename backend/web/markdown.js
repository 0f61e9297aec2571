/**
 * Renders Markdown while it is being streamed.
 *
 * Complete blocks are rendered once and never touched again ("settled"). Only the last block is
 * rendered again as it grows, at most once per frame. A long block is settled in pieces. To render
 * the whole answer with each chunk would cost the square of its length.
 */

import { Lexer, Parser, Renderer } from "./vendor/marked/marked.js";
import DOMPurify from "./vendor/dompurify/purify.js";

/**
 * @typedef {import("./vendor/marked/marked.js").Token} Token
 * @typedef {import("./vendor/marked/marked.js").MarkedToken} MarkedToken
 */

/** In characters: the complete part of a longer list, table or code block is settled. */
const LONG = 2000;

/** In characters: one frame renders no more than this, so that it stays short. */
const MOST_AT_ONCE = 8000;

/** After each render, the page rests for this many times its duration: a quarter of time renders. */
const REST = 3;

const ALLOWED = {
  ALLOWED_TAGS: (
    "p br hr strong em del code pre blockquote ul ol li a h3 h4 h5 h6 " +
    "table thead tbody tr th td"
  ).split(" "),
  ALLOWED_ATTR: ["href", "title", "start", "align"],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|tel:)/i,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: /** @type {const} */ (true),
};

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName === "A") {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer");
  }
});

/** Shows HTML from the model as text, and images as links: to load one would reveal the reader. */
class Plain extends Renderer {
  /** @override @param {{text: string}} token */
  html({ text }) {
    return escaped(text);
  }

  /** @override @param {import("./vendor/marked/marked.js").Tokens.Image} token */
  image({ href, text }) {
    return `<a href="${escaped(href)}">${escaped(text || href)}</a>`;
  }

  /**
   * Headings start at level 3, below those of the page.
   * @override
   * @param {import("./vendor/marked/marked.js").Tokens.Heading} token
   */
  heading({ depth, tokens }) {
    const level = Math.min(depth + 2, 6);
    return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>`;
  }

  /** @override @param {{checked: boolean}} token */
  checkbox({ checked }) {
    return checked ? "☑ " : "☐ ";
  }
}

const parser = new Parser({ renderer: new Plain() });

export class Markdown {
  /** Text that no frame has rendered yet. */
  #coming = "";
  /** Text that is rendered but not settled. */
  #tail = "";
  /** Link definitions, which apply to all later blocks. */
  #links = Object.create(null);
  /** The nodes of the unsettled text. @type {Node[]} */
  #live = [];
  /** The settled beginning of a long block that still grows. @type {Element | null} */
  #open = null;
  #frame = 0;
  #notBefore = 0;
  /** @type {(() => void)[]} */
  #awaited = [];

  /**
   * @param {HTMLElement} element
   * @param {() => void} [drawn] Called after each change.
   */
  constructor(element, drawn = () => {}) {
    this.element = element;
    this.drawn = drawn;
  }

  /** @param {string} text */
  append(text) {
    this.#coming += text;
    // The first words must not wait for a frame.
    if (!this.#tail && !this.element.hasChildNodes()) this.#draw();
    else this.#schedule();
  }

  /** Resolves when all appended text is shown. @returns {Promise<void>} */
  shown() {
    if (!this.#coming) return Promise.resolve();
    return new Promise((resolve) => {
      this.#awaited.push(resolve);
      this.#schedule();
    });
  }

  #schedule() {
    if (this.#frame) return;
    // Background pages get no animation frames.
    const wait = document.hidden ? setTimeout : requestAnimationFrame;
    this.#frame = wait(() => {
      this.#frame = 0;
      if (performance.now() < this.#notBefore) this.#schedule();
      else this.#draw();
    });
  }

  #draw() {
    const begun = performance.now();
    this.#tail += this.#coming.slice(0, MOST_AT_ONCE);
    this.#coming = this.#coming.slice(MOST_AT_ONCE);
    this.#render();
    this.drawn();
    const ended = performance.now();
    this.#notBefore = ended + REST * (ended - begun);
    if (this.#coming) this.#schedule();
    else for (const resolve of this.#awaited.splice(0)) resolve();
  }

  #render() {
    for (const node of this.#live) node.parentNode?.removeChild(node);
    this.#live = [];
    const tokens = this.#lexed(this.#tail);
    const last = tokens.findLastIndex((token) => token.type !== "space");
    if (last > 0) this.#settle(tokens.slice(0, last));
    const [token] = tokens.slice(Math.max(last, 0));
    if (token === undefined) return;
    const piece = token.raw.length > LONG ? pieceOf(/** @type {MarkedToken} */ (token)) : null;
    if (piece === null) {
      this.#live = this.#put([token]);
      return;
    }
    const put = this.#put(this.#lexed(piece.settled));
    this.#open ??= inner(put.find((node) => node instanceof Element) ?? null);
    this.#tail = piece.head + this.#tail.slice(piece.settled.length);
    this.#live = this.#put(this.#lexed(this.#tail));
  }

  /** @param {Token[]} tokens */
  #settle(tokens) {
    this.#put(tokens);
    this.#open = null;
    this.#tail = this.#tail.slice(tokens.reduce((length, { raw }) => length + raw.length, 0));
  }

  /** @param {string} text */
  #lexed(text) {
    const lexer = new Lexer();
    lexer.tokens.links = this.#links;
    return lexer.lex(text);
  }

  /**
   * Adds tokens to the page. If a long block still grows, the first token continues it: its parts are
   * added to the block that is there.
   * @param {Token[]} tokens
   * @returns {Node[]}
   */
  #put(tokens) {
    const put = this.#open === null ? [] : this.#putOn(this.#open, fragmentOf(tokens.slice(0, 1)));
    const fragment = fragmentOf(tokens.slice(this.#open === null ? 0 : 1));
    put.push(...fragment.childNodes);
    this.element.append(fragment);
    return put;
  }

  /**
   * @param {Element} open
   * @param {DocumentFragment} fragment
   */
  #putOn(open, fragment) {
    const parts = [...(inner(fragment.firstElementChild)?.childNodes ?? [])];
    open.append(...parts);
    return parts;
  }
}

/** @param {Token[]} tokens */
function fragmentOf(tokens) {
  const fragment = DOMPurify.sanitize(parser.parse(tokens), ALLOWED);
  for (const table of fragment.querySelectorAll("table")) {
    const wide = document.createElement("div");
    wide.className = "wide";
    wide.tabIndex = 0;
    wide.setAttribute("role", "group");
    wide.setAttribute("aria-label", "Table");
    table.replaceWith(wide);
    wide.append(table);
  }
  return fragment;
}

/**
 * The element that holds the parts of a block: its items, rows or lines.
 * @param {Element | null} block
 */
function inner(block) {
  return block?.querySelector(":scope > table > tbody, :scope > code") ?? block;
}

/**
 * The complete part of a long block, and the head that must precede the rest so that it parses as the
 * same block (the header of a table, the fence of code). Null if nothing is complete.
 * @param {MarkedToken} token
 * @returns {{settled: string, head: string} | null}
 */
function pieceOf(token) {
  if (token.type === "list" && token.items.length > 1) {
    const complete = token.items.slice(0, -1);
    return { settled: complete.map((item) => item.raw).join(""), head: "" };
  }
  if (token.type === "table" && token.rows.length > 1) {
    const [names, bounds] = token.raw.split("\n");
    return { settled: lines(token.raw), head: `${names}\n${bounds}\n` };
  }
  const fence = token.type === "code" && /^ {0,3}(?:`{3,}|~{3,})[^\n]*\n/.exec(token.raw);
  if (fence && lines(token.raw).length > fence[0].length) {
    return { settled: lines(token.raw), head: fence[0] };
  }
  return null;
}

/**
 * All lines except the last, which may be incomplete.
 * @param {string} text
 */
function lines(text) {
  return text.slice(0, text.trimEnd().lastIndexOf("\n") + 1);
}

/** @param {string} text */
function escaped(text) {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
