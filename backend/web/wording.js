/** The texts of the page: failures by code, endings of turns, running tools, dates, durations. */

/**
 * @typedef {import("./client.js").Failure} Failure
 * @typedef {import("./client.js").ToolCall} ToolCall
 */

/** @type {Record<string, string>} */
const FAILURES = {
  not_authenticated: "Please sign in to talk to Lex.",
  session_not_found: "This session no longer exists. Please start a new one.",
  turn_not_found: "This answer no longer exists.",
  log_gone: "This answer is too old to be shown again.",
  session_busy: "Lex is still answering in this session, perhaps in another window.",
  body_too_large: "Your question is too long. Please shorten it.",
  too_many_requests: "You have asked many questions in a short time. Please wait a moment.",
  budget_exhausted: "You have used up what you may ask for now. Please come back later.",
  overloaded: "Lex is talking to too many people at the moment.",
  draining: "This server is restarting. Another one takes over in a moment.",
  identity_unavailable: "Lex cannot check who you are at the moment.",
  storage_unavailable: "Lex cannot save conversations at the moment, so it cannot answer.",
  internal_error: "Something went wrong on our side.",
  upstream_unavailable: "The model behind Lex cannot be reached.",
  upstream_busy: "The model behind Lex is overloaded at the moment.",
  upstream_connect_timeout: "The model behind Lex cannot be reached.",
  upstream_first_byte_timeout: "The model behind Lex did not answer in time.",
  upstream_gap_timeout: "The model behind Lex stopped in the middle of the answer.",
  upstream_refused: "The model behind Lex refused this question.",
  upstream_request_too_large: "This session has become too long. Please start a new one.",
  upstream_garbled: "The answer broke off.",
  upstream_tool_use_failed: "Lex could not look up something that it needed for the answer.",
  too_many_rounds: "Lex kept looking things up without reaching an answer.",
  turn_timed_out: "The answer took too long.",
  server_draining: "Lex was restarted before the answer was complete.",
  interrupted: "The answer was stopped because nobody was reading it.",
  worker_lost: "The server failed while it was writing this answer.",
};

/**
 * The page's sentence for a failure, or else the service's message.
 * @param {Failure} failure
 */
export function sentence({ code, message }) {
  // `invalid_field` has no sentence here: only the service's message names the field.
  return FAILURES[code] ?? (message || "Something went wrong.");
}

/** @type {Record<string, string>} */
const ENDINGS = {
  cancelled: "This answer was stopped.",
  disconnected: "This answer was stopped because nobody was reading it.",
  timed_out: "The answer took too long.",
  failed: "Something went wrong.",
};

/** @type {Record<string, string>} By the `finish_reason` of the last completion. */
const CUTS = {
  length: "This answer was cut off because it became too long.",
  content_filter: "The rest of this answer was withheld.",
};

/**
 * The note about how a turn ended; undefined for a complete answer.
 * @param {{outcome: string, finish_reason?: string | null}} ended
 */
export function ending({ outcome, finish_reason }) {
  return outcome === "completed" ? CUTS[finish_reason ?? ""] : ENDINGS[outcome];
}

/** Error codes of tools that failed or could not be called; with any other code the tool refused. */
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

/**
 * What Lex is doing while a tool runs.
 * @param {ToolCall} call
 */
export function working({ name, arguments: given }) {
  const known = WORKING[name];
  if (known === undefined || typeof given === "string") return `Using ${name}`;
  return known(given);
}

/**
 * The name of a dealership, made from its id: "beverly-hills" is "Beverly Hills".
 * @param {unknown} id
 */
export function place(id) {
  const words = String(id ?? "").split("-");
  return words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join(" ");
}

/**
 * A date such as "Thursday 26 November 2026"; text that is not a date is returned unchanged.
 * @param {unknown} date as YYYY-MM-DD
 */
export function day(date) {
  const parsed = new Date(`${date}T00:00:00Z`);
  if (!/^\d{4}-\d\d-\d\d$/.test(String(date)) || Number.isNaN(parsed.getTime())) return String(date);
  const weekday = parsed.toLocaleDateString("en-GB", { weekday: "long", timeZone: "UTC" });
  const rest = { day: "numeric", month: "long", year: "numeric", timeZone: "UTC" };
  return `${weekday} ${parsed.toLocaleDateString("en-GB", /** @type {any} */ (rest))}`;
}

/**
 * Seconds, minutes or hours, rounded up.
 * @param {number} seconds
 */
export function duration(seconds) {
  const whole = Math.ceil(seconds);
  if (whole < 90) return `${whole} s`;
  return whole < 5400 ? `${Math.ceil(whole / 60)} min` : `${Math.ceil(whole / 3600)} h`;
}
