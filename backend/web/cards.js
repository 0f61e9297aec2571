/** Tool outputs as cards. The buttons of a card ask Lex a question in words, as a person would. */

import { calendarFile } from "./calendar.js";
import { foreign, h, icon } from "./dom.js";
import { day, isBroken, place } from "./wording.js";

/**
 * @typedef {import("./dom.js").Icon} Icon
 * @typedef {import("./client.js").ToolOutput} ToolOutput
 * @typedef {(query: string) => void} Ask
 * @typedef {Record<string, any>} Output
 */

/** @type {Record<string, (output: Output, ask: Ask) => HTMLElement>} */
const CARDS = {
  get_weather: weather,
  get_dealership_address: dealership,
  check_appointment_availability: slots,
  schedule_appointment: confirmation,
  fetch_user_profile: profile,
};

/**
 * The card of a tool output. Never throws: an unknown or malformed output is shown as JSON.
 * @param {ToolOutput} result
 * @param {Ask} ask
 */
export function card({ name, output }, ask) {
  if (output.error) return unsuccessful(output.error, ask);
  const made = CARDS[name];
  if (made === undefined) return anything(name, output);
  try {
    return made(output, ask);
  } catch {
    // The output does not have this tool's usual shape. The conversation must go on.
    return anything(name, output);
  }
}

/**
 * @param {string} kind
 * @param {Icon} symbol
 * @param {string} title
 * @param {...import("./dom.js").Child} children
 */
function framed(kind, symbol, title, ...children) {
  const heading = h("h3", {}, icon(symbol), foreign(title));
  return h("section", { class: `card ${kind}`, "aria-label": title }, heading, ...children);
}

/**
 * @param {Icon} symbol
 * @param {string} name
 * @param {import("./dom.js").Child} value
 */
function fact(symbol, name, value) {
  return h("div", {}, h("dt", {}, icon(symbol), h("span", { class: "unseen" }, name)), h("dd", {}, value));
}

/** @param {Output} output */
function weather({ city, temperature, conditions, source }) {
  return framed(
    "weather",
    sky(String(conditions)),
    String(city),
    h("p", { class: "figure" }, foreign(temperature)),
    h("p", {}, foreign(conditions)),
    source === "sample" && h("p", { class: "aside" }, "Sample data, not an observation"),
  );
}

/**
 * @param {string} conditions
 * @returns {Icon}
 */
function sky(conditions) {
  if (/snow|sleet|ice/i.test(conditions)) return "snow";
  if (/rain|drizzle|shower|storm|thunder/i.test(conditions)) return "rain";
  return /sun|clear/i.test(conditions) ? "sun" : "cloud";
}

/**
 * @param {Output} output
 * @param {Ask} ask
 */
function dealership({ dealership_id, name, address, phone, hours, map_link }, ask) {
  const number = String(phone).replace(/[^+\d]/g, "");
  const days = String(hours).split(", ");
  return framed(
    "dealership",
    "place",
    String(name),
    h(
      "dl",
      { class: "facts" },
      fact("place", "Address", link(map_link, address)),
      fact("phone", "Phone", h("a", { href: `tel:${number}` }, foreign(phone))),
      fact("clock", "Hours", h("ul", {}, ...days.map((entry) => h("li", {}, foreign(entry))))),
    ),
    actions([["Free slots tomorrow", wantsSlots(dealership_id)]], ask),
  );
}

/**
 * A link to another site. Anything but an http(s) URL stays text, so that no script can be linked.
 * @param {unknown} url
 * @param {unknown} text
 */
function link(url, text) {
  if (!/^https?:\/\//i.test(String(url))) return foreign(text);
  const properties = { href: String(url), target: "_blank", rel: "noopener noreferrer" };
  return h("a", properties, foreign(text), h("span", { class: "unseen" }, " (map, opens a new tab)"));
}

/**
 * @param {Output} output
 * @param {Ask} ask
 */
function slots({ dealership_id, date, slots, time_zone }, ask) {
  const free = Array.isArray(slots) ? slots : [];
  return framed(
    "slots",
    "calendar",
    `${place(dealership_id)}, ${day(date)}`,
    free.length > 0
      ? h("div", { class: "times" }, ...free.map((time) => slot(String(time), dealership_id, date, ask)))
      : h("p", {}, "No slots are free on this day."),
    h("p", { class: "aside" }, "Local time, ", foreign(time_zone)),
  );
}

/**
 * @param {string} time
 * @param {unknown} dealership_id
 * @param {unknown} date
 * @param {Ask} ask
 */
function slot(time, dealership_id, date, ask) {
  const query = `Please book a test drive in ${place(dealership_id)} on ${day(date)} at ${time}.`;
  const properties = { type: "button", "aria-label": `Book ${time}`, onclick: () => ask(query) };
  return h("button", properties, foreign(time));
}

/** @param {Output} output */
function confirmation(output) {
  const { confirmation_id, dealership, date, time, car_model } = output;
  const file = new Blob([calendarFile(/** @type {any} */ (output))], { type: "text/calendar" });
  const name = `test-drive-${String(confirmation_id).replace(/[^\w-]/g, "")}.ics`;
  return framed(
    "confirmation",
    "check",
    "Your test drive is booked",
    h("p", { class: "figure" }, foreign(car_model)),
    h(
      "dl",
      { class: "facts" },
      fact("clock", "When", foreign(`${day(date)}, ${time}`)),
      fact("place", "Where", foreign(dealership)),
    ),
    h("p", { class: "ticket" }, "Confirmation ", h("code", {}, foreign(confirmation_id))),
    h(
      "div",
      { class: "actions" },
      h("a", { class: "action", href: URL.createObjectURL(file), download: name }, "Add to calendar"),
    ),
  );
}

/**
 * @param {Output} output
 * @param {Ask} ask
 */
function profile({ user_id, name, preferred_dealership, coming_test_drives, past_test_drives }, ask) {
  const preferred = preferred_dealership?.name;
  return framed(
    "profile",
    "person",
    String(name ?? user_id),
    h("p", {}, preferred ? foreign(`Usually at ${preferred}`) : "No preferred dealership yet"),
    drives("Upcoming test drives", coming_test_drives),
    drives("Past test drives", past_test_drives),
    preferred && actions([["Free slots tomorrow", wantsSlots(preferred_dealership.dealership_id)]], ask),
  );
}

/**
 * @param {string} title
 * @param {Output[]} list
 */
function drives(title, list) {
  if (!Array.isArray(list) || list.length === 0) return null;
  const rows = list.map(({ car_model, dealership, date, time }) =>
    h(
      "li",
      {},
      foreign(car_model),
      h("span", { class: "aside" }, foreign(`${day(date)}, ${time}`)),
      foreign(dealership),
    ),
  );
  return h("div", { class: "drives" }, h("h4", {}, title), h("ul", {}, ...rows));
}

/** @param {unknown} dealership_id */
const wantsSlots = (dealership_id) => `Which test drive slots are free in ${place(dealership_id)} tomorrow?`;

/**
 * @param {[label: string, query: string][]} offered
 * @param {Ask} ask
 */
function actions(offered, ask) {
  const buttons = offered.map(([label, query]) =>
    h("button", { type: "button", class: "action", onclick: () => ask(query) }, label),
  );
  return h("div", { class: "actions" }, ...buttons);
}

/**
 * The card of a tool that refused, with other times if it offers some, or that failed.
 * @param {Output} error
 * @param {Ask} ask
 */
function unsuccessful(error, ask) {
  if (isBroken(String(error.code))) {
    const said = error.code === "timed_out" ? "That took too long" : "That did not work";
    return framed("failed", "warning", said, h("p", {}, foreign(error.message)));
  }
  const nearest = Array.isArray(error.nearest_slots) ? error.nearest_slots : [];
  /** @type {[string, string][]} */
  const offered = nearest.map((time) => [String(time), `Then at ${time}, please.`]);
  return framed(
    "refused",
    "no",
    "Not possible",
    h("p", {}, foreign(error.message)),
    offered.length > 0 && actions(offered, ask),
  );
}

/**
 * The output of a tool that this page does not know, as JSON.
 * @param {string} name
 * @param {Output} output
 */
function anything(name, output) {
  return framed("other", "tool", name, h("pre", { tabindex: "0" }, foreign(JSON.stringify(output, null, 2))));
}
