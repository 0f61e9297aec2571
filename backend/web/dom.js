/** Builds and finds elements. Strings always become text nodes, never HTML. */

/**
 * @typedef {Node | string | false | null | undefined} Child
 */

/**
 * Creates an element. Functions (`on…`) become listeners, other properties attributes; false ones are
 * left out.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string | boolean | undefined | ((event: any) => void)>} [properties]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== false && child != null));
  return element;
}

/**
 * The element of the page with this id.
 * @template {HTMLElement} [Kind=HTMLElement]
 * @param {string} id
 * @returns {Kind}
 */
export function the(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`there is no #${id}`);
  return /** @type {Kind} */ (found);
}

/**
 * Text from the model, tools or people. `<bdi>` isolates its direction, so that right-to-left text
 * cannot reorder the page around it.
 * @param {unknown} text
 */
export const foreign = (text) => h("bdi", {}, String(text ?? ""));

const ICONS = {
  sun: "M12 4V2m0 20v-2m8-8h2M2 12h2m13.7-5.7 1.4-1.4M4.9 19.1l1.4-1.4m11.4 0 1.4 1.4M4.9 4.9l1.4 1.4M16 12a4 4 0 1 1-8 0 4 4 0 0 1 8 0Z",
  cloud: "M7 18a4.5 4.5 0 1 1 .9-8.9 5.5 5.5 0 0 1 10.6 1.6A3.7 3.7 0 0 1 18 18H7Z",
  rain: "M7 15a4.5 4.5 0 1 1 .9-8.9 5.5 5.5 0 0 1 10.6 1.6A3.7 3.7 0 0 1 18 15H7Zm1 3-1 3m5-3-1 3m5-3-1 3",
  snow: "M7 15a4.5 4.5 0 1 1 .9-8.9 5.5 5.5 0 0 1 10.6 1.6A3.7 3.7 0 0 1 18 15H7Zm1 4h.01M12 19h.01M16 19h.01M10 22h.01M14 22h.01",
  place: "M12 21s-7-5.6-7-11a7 7 0 1 1 14 0c0 5.4-7 11-7 11Zm0-8.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5Z",
  clock: "M12 7v5l3 2m6-2a9 9 0 1 1-18 0 9 9 0 0 1 18 0Z",
  phone: "M6 3h3l1.5 4.5L8.3 9.5a12 12 0 0 0 6.2 6.2l2-2.2L21 15v3a3 3 0 0 1-3 3A15 15 0 0 1 3 6a3 3 0 0 1 3-3Z",
  calendar: "M7 3v3m10-3v3M4 9.5h16M5 5h14a1 1 0 0 1 1 1v13a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1V6a1 1 0 0 1 1-1Z",
  check: "m5 12.5 4.5 4.5L19 7.5",
  person: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8Zm-8 9c.6-4 4-6 8-6s7.4 2 8 6",
  no: "M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0ZM8.5 12h7",
  warning: "M12 9v5m0 3h.01M10.7 4.3 2.9 18a1.5 1.5 0 0 0 1.3 2.2h15.6a1.5 1.5 0 0 0 1.3-2.2L13.3 4.3a1.5 1.5 0 0 0-2.6 0Z",
  tool: "M4 12h3m10 0h3M12 4v3m0 10v3m4-8a4 4 0 1 1-8 0 4 4 0 0 1 8 0Z",
};

/**
 * @typedef {keyof typeof ICONS} Icon
 * @param {Icon} name
 */
export function icon(name) {
  const namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "icon");
  const path = document.createElementNS(namespace, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}
