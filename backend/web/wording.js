/** What the page says: of tools while they run, of failures, of days. */

/**
 * @typedef {import("./client.js").Failure} Failure
 * @typedef {import("./client.js").ToolCall} ToolCall
 */

/** @type {Record<string, string>} */
const FAILURES = {
  not_authenticated: "Please sign in to talk to Lex.",
  session_not_found: "This session does not exist any more. A new one does.",
  turn_not_found: "This answer does not exist any more.",
  log_gone: "This answer was given too long ago to be shown again.",
  session_busy: "Lex is still answering in this session, perhaps in another window.",
  body_too_large: "That is longer than Lex can read at once.",
  too_many_requests: "That was a lot of questions. Lex needs a moment.",
  overloaded: "Lex is talking to too many people at the moment.",
  draining: "Lex is just being restarted. Someone else takes over in a moment.",
  identity_unavailable: "Nobody can check who you are at the moment.",
  storage_unavailable: "Lex cannot take notes at the moment, and so does not answer.",
  internal_error: "Something went wrong on our side.",
  upstream_unavailable: "The model behind Lex cannot be reached.",
  upstream_busy: "The model behind Lex has too much to do at the moment.",
  upstream_connect_timeout: "The model behind Lex cannot be reached.",
  upstream_first_byte_timeout: "The model behind Lex did not answer in time.",
  upstream_gap_timeout: "The model behind Lex fell silent in the middle of the answer.",
  upstream_refused: "The model behind Lex would not take this question.",
  upstream_request_too_large: "This session has become too long. A new one helps.",
  upstream_garbled: "The answer broke off.",
  upstream_tool_use_failed: "Lex could not put into words what it wanted to look up.",
  too_many_rounds: "Lex kept looking things up without coming to an answer.",
  turn_timed_out: "The answer took too long.",
  server_draining: "Lex was restarted before the answer was complete.",
  interrupted: "The answer was broken off, since nobody was reading it.",
  worker_lost: "The server that wrote this answer was lost.",
};

/** @param {Failure} failure */
export function sentence({ code, message }) {
  // Of a field that is wrong, the service knows best what is wrong with it.
  return FAILURES[code] ?? (message || "Something went wrong.");
}

/** @type {Record<string, string>} */
const ENDINGS = {
  cancelled: "This answer was stopped.",
  disconnected: "This answer was broken off.",
  timed_out: "The answer took too long.",
  failed: "Something went wrong.",
};

/** @type {Record<string, string>} By why a completion finished. */
const CUTS = {
  length: "This answer was cut off, since it became too long.",
  content_filter: "The rest of this answer was withheld.",
};

/**
 * What is to be said of how a turn ended; nothing of a whole answer.
 * @param {{outcome: string, finish_reason?: string | null}} ended
 */
export function ending({ outcome, finish_reason }) {
  return outcome === "completed" ? CUTS[finish_reason ?? ""] : ENDINGS[outcome];
}

/** Codes of tools that broke, or were asked in a way they cannot be; with any other they said no. */
const BROKEN = ["failed", "timed_out", "unknown_tool", "invalid_arguments"];

/** @param {string} code */
export const isBroken = (code) => BROKEN.includes(code);

/** @type {Record<string, (given: Record<string, any>) => string>} */
const WORKING = {
  get_weather: ({ city }) => `Looking up the weather in ${city}`,
  get_dealership_address: ({ dealership_id }) => `Finding the dealership in ${place(dealership_id)}`,
  check_appointment_availability: ({ dealership_id, date }) =>
    `Checking free slots in ${place(dealership_id)} on ${day(date)}`,
  schedule_appointment: ({ dealership_id, car_model }) =>
    `Booking the ${car_model} in ${place(dealership_id)}`,
  fetch_user_profile: () => "Looking up your profile",
};

/** @param {ToolCall} call */
export function working({ name, arguments: given }) {
  const known = WORKING[name];
  if (known === undefined || typeof given === "string") return `Using ${name}`;
  return known(given);
}

/**
 * A dealership by its id, which is what tools are told.
 * @param {unknown} id
 */
export function place(id) {
  const words = String(id ?? "").split("-");
  return words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join(" ");
}

/**
 * "Thursday 26 November 2026"; what is no date stays what it is.
 * @param {unknown} date as YYYY-MM-DD
 */
export function day(date) {
  const parsed = new Date(`${date}T00:00:00Z`);
  if (!/^\d{4}-\d\d-\d\d$/.test(String(date)) || Number.isNaN(parsed.getTime())) return String(date);
  const weekday = parsed.toLocaleDateString("en-GB", { weekday: "long", timeZone: "UTC" });
  const rest = { day: "numeric", month: "long", year: "numeric", timeZone: "UTC" };
  return `${weekday} ${parsed.toLocaleDateString("en-GB", /** @type {any} */ (rest))}`;
}

/** @param {number} seconds */
export function duration(seconds) {
  const whole = Math.ceil(seconds);
  if (whole < 90) return `${whole} s`;
  return whole < 5400 ? `${Math.ceil(whole / 60)} min` : `${Math.ceil(whole / 3600)} h`;
}
