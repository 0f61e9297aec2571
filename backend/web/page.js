/** The chat page: what is in it, and who is told when something happens. */

import { Lex, Refused, Turn, newId } from "./client.js";
import { base } from "./config.js";
import { TurnView } from "./conversation.js";
import { h, the } from "./dom.js";
import { Sessions } from "./sessions.js";
import { duration } from "./wording.js";

/**
 * @typedef {import("./client.js").Happened} Happened
 * @typedef {import("./client.js").Connection} Connection
 */

/** Nearer to the end than this, one reads along. */
const AT_THE_END_PX = 80;

/** A connection that is back sooner is not worth a word. */
const UNNOTICED_MS = 700;

const SUGGESTIONS = [
  "What is the weather in Paris and in Tokyo?",
  "Where is your London dealership, and when is it open?",
  "Which cars do you have?",
  "When can I drive the Apex GT in Beverly Hills tomorrow?",
];
/** The stand-in has no idea who asks, and one user. */
const SUGGESTIONS_OF_A_STANDIN = [
  ...SUGGESTIONS.slice(0, 2),
  "I am user 123. What do you know about me?",
  "I am user 123. When can I drive the Apex GT in Beverly Hills tomorrow?",
];

const lex = new Lex({ base, realtime: localStorage.getItem("lex.realtime") === "true" });
const sessions = new Sessions();

const turns = the("turns");
const scroller = the("scroller");
/** @type {HTMLTextAreaElement} */
const question = the("question");
const send = the("send");
const line = the("line");

/** The turn that is being read. @type {Turn | null} */
let running = null;
let isStopped = false;
/** The last turn of this session. @type {string | undefined} */
let lastTurn;
let readsAlong = true;

const around = { ask, speak, drawn };

/**
 * What a card offers while Lex is still talking waits in the field.
 * @param {string} query
 */
function ask(query) {
  if (running !== null) {
    question.value = query;
    question.focus();
    grow();
    return;
  }
  put(query, newId());
}

/**
 * @param {string} query
 * @param {string} key
 */
function put(query, key) {
  const { current } = sessions;
  sessions.asked(query);
  sessions.pending = { session: current, query, key, ...(lastTurn && { after: lastTurn }) };
  listSessions();
  readsAlong = true;
  const view = add(query);
  const begun = (/** @type {string} */ turn) => void (lastTurn = turn);
  const options = { key, report, begun, ...(lastTurn && { after: lastTurn }) };
  void read(lex.ask(current, query, options), view, () => {
    view.element.remove();
    ask(query);
  });
}

/** @param {string} query */
function add(query) {
  const view = new TurnView(query, around);
  the("welcome").hidden = true;
  turns.append(view.element);
  drawn();
  return view;
}

/**
 * A turn to its end, whatever that is.
 * @param {Turn} turn
 * @param {TurnView} view
 * @param {() => void} again What to do if it was refused and is to be tried again.
 */
async function read(turn, view, again) {
  running = turn;
  isStopped = false;
  view.wait();
  showState();
  try {
    for await (const event of turn) view.take(event);
    if (isStopped) view.note("You stopped this answer.");
  } catch (error) {
    if (running !== turn) return;
    if (!(error instanceof Refused)) throw error;
    if (error.status === 401 || error.failure.code === "not_authenticated") signIn(again);
    view.fail(error.failure, { again });
  } finally {
    if (running === turn) {
      running = null;
      sessions.pending = null;
      showState();
      report({ is: "open" });
      await view.end();
    }
  }
}

function stop() {
  isStopped = true;
  // If it does not get through, the turn is stopped as soon as its connection is back.
  running?.stop().catch(() => {});
}

/** Another session, or this one again from the beginning. @param {string} id */
async function open(id) {
  running?.leave();
  running = null;
  lastTurn = undefined;
  sessions.open(id);
  turns.replaceChildren();
  report({ is: "open" });
  showState();
  listSessions();
  const isKnown = sessions.all().some((each) => each.id === id);
  the("welcome").hidden = isKnown;
  if (isKnown) await restore(id);
}

/** @param {string} id */
async function restore(id) {
  const { pending } = sessions;
  turns.setAttribute("aria-busy", "true");
  try {
    const happened = await lex.history(id);
    if (sessions.current !== id) return;
    const unfinished = show(happened);
    the("welcome").hidden = turns.childElementCount > 0 || pending !== null;
    if (unfinished !== null) {
      const { turn, view } = unfinished;
      const again = () => void open(id);
      void read(lex.follow(id, turn, { report }), view, again);
    } else if (pending !== null && pending.after === lastTurn) {
      put(pending.query, pending.key);
    } else {
      sessions.pending = null;
    }
  } catch (error) {
    notRestored(id, error);
  } finally {
    turns.removeAttribute("aria-busy");
  }
}

/**
 * @param {string} id
 * @param {unknown} error
 */
function notRestored(id, error) {
  const again = () => void open(id);
  if (error instanceof Refused && error.status === 401) signIn(again);
  const failure = error instanceof Refused ? error.failure : null;
  const view = new TurnView("", around);
  view.element.classList.add("lone");
  const words = "What was said before cannot be shown at the moment.";
  view.fail(failure ?? { code: "", message: words, retryable: true }, { again });
  turns.append(view.element);
}

/**
 * What was said; the last turn is given back if it may still run.
 * @param {Happened[]} happened
 */
function show(happened) {
  /** @type {TurnView | null} */
  let view = null;
  let isUnfinished = false;
  for (const { type, turn_id, data } of happened) {
    if (type === "user_message") {
      void view?.end({ aloud: false });
      view = add(data.content);
      lastTurn = turn_id;
      isUnfinished = true;
      continue;
    }
    isUnfinished = false;
    if (type === "assistant_message") view?.say(data.content);
    if (type === "tool_result") view?.take({ type: "tool_output", id: "", turn: turn_id, data });
    if (type === "error") view?.fail({ code: data.code ?? "", message: "", retryable: false });
    if (type === "system") view?.note(data.outcome === "cancelled" ? "You stopped this answer." : "This answer was broken off.");
  }
  if (isUnfinished && view !== null && lastTurn !== undefined) return { turn: lastTurn, view };
  void view?.end({ aloud: false });
  return null;
}

/** @param {string} words */
function speak(words) {
  const spoken = the("spoken");
  spoken.append(h("p", {}, words));
  while (spoken.childElementCount > 4) spoken.firstElementChild?.remove();
}

function drawn() {
  if (readsAlong) scroller.scrollTop = scroller.scrollHeight;
}

/** Whether one can ask or stop. */
function showState() {
  send.textContent = running === null ? "Send" : "Stop";
  send.classList.toggle("stops", running !== null);
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let ticking;
let wasLost = false;

/** How the connection is. @param {Connection} state */
function report(state) {
  clearTimeout(ticking);
  if (state.is === "lost") {
    const until = performance.now() + state.seconds * 1000;
    const tick = () => {
      tellLost(Math.max(0, until - performance.now()) / 1000);
      ticking = setTimeout(tick, 500);
    };
    ticking = setTimeout(tick, wasLost || !navigator.onLine ? 0 : UNNOTICED_MS);
    wasLost = true;
  } else if (state.is === "open") {
    wasLost = false;
    if (navigator.onLine) line.replaceChildren();
    else tellOffline();
  }
}

/** @param {number} seconds */
function tellLost(seconds) {
  if (!navigator.onLine) {
    tellOffline();
    return;
  }
  const words = seconds > 0.5 ? `trying again in ${duration(seconds)}.` : "trying again…";
  const text = `The connection was lost: ${words}`;
  const shown = line.querySelector(".lost");
  if (shown !== null) shown.textContent = text;
  else {
    const now = h("button", { type: "button", class: "action", onclick: () => running?.hurry() }, "Now");
    line.replaceChildren(h("p", {}, h("span", { class: "lost", "aria-hidden": "true" }, text), h("span", { class: "unseen" }, "The connection was lost.")), now);
  }
}

function tellOffline() {
  const words = "You are offline. Lex goes on as soon as you are back.";
  if (line.textContent !== words) line.replaceChildren(h("p", {}, words));
}

function listSessions() {
  const rows = sessions.all().map(({ id, title }) => {
    const isCurrent = id === sessions.current;
    const go = () => {
      showPast(false);
      void open(id);
    };
    const forget = async () => {
      await lex.forget(id).catch((error) => {
        if (!(error instanceof Refused && error.status === 404)) throw error;
      });
      sessions.forget(id);
      if (isCurrent) void open(newId());
      else listSessions();
    };
    return h(
      "li",
      {},
      h("button", { type: "button", class: "session", "aria-current": isCurrent && "true", onclick: go }, h("bdi", {}, title)),
      h("button", { type: "button", class: "forget", "aria-label": `Forget: ${title}`, onclick: forget }, "×"),
    );
  });
  the("sessions").replaceChildren(...rows);
  the("none").hidden = rows.length > 0;
}

/** @param {boolean} isShown On a narrow page, where the list of sessions is not always there. */
function showPast(isShown) {
  the("past").classList.toggle("shown", isShown);
  the("menu").setAttribute("aria-expanded", String(isShown));
}

/** @param {() => void} then */
function signIn(then) {
  /** @type {HTMLDialogElement} */
  const dialog = the("sign-in");
  /** @type {HTMLInputElement} */
  const credential = the("credential");
  const wrong = the("wrong");
  wrong.textContent = "";
  the("sign-in-form").onsubmit = async (event) => {
    event.preventDefault();
    try {
      await lex.signIn(credential.value.trim());
    } catch (error) {
      const isRefused = error instanceof Refused && error.status === 401;
      wrong.textContent = isRefused ? "This is not accepted." : "That did not work. Please try again.";
      credential.focus();
      return;
    }
    credential.value = "";
    the("sign-out").hidden = false;
    localStorage.setItem("lex.signed-in", "true");
    dialog.close();
    then();
  };
  if (!dialog.open) dialog.showModal();
}

async function signOut() {
  await lex.signOut();
  localStorage.removeItem("lex.signed-in");
  the("sign-out").hidden = true;
  await open(newId());
}

/** As high as what is written in it. */
function grow() {
  question.rows = Math.min(6, question.value.split("\n").length);
}

async function tellWhoAnswers() {
  const readiness = await lex.readiness().catch(() => null);
  const isStandin = readiness?.models.some(({ name }) => name.startsWith("groq-standin")) ?? false;
  the("badge").hidden = !isStandin;
  if (isStandin) suggest(SUGGESTIONS_OF_A_STANDIN);
}

/** @param {string[]} queries */
function suggest(queries) {
  const buttons = queries.map((query) =>
    h("li", {}, h("button", { type: "button", onclick: () => ask(query) }, query)),
  );
  the("suggestions").replaceChildren(...buttons);
}

the("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (running !== null) {
    stop();
    return;
  }
  const query = question.value.trim();
  if (!query) return;
  question.value = "";
  grow();
  ask(query);
});
question.addEventListener("input", grow);
question.addEventListener("keydown", (event) => {
  // While a word is being composed, Enter ends the composition.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  if (running === null) /** @type {HTMLFormElement} */ (the("ask")).requestSubmit();
});
scroller.addEventListener("scroll", () => {
  const below = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;
  readsAlong = below < AT_THE_END_PX;
  the("latest").hidden = readsAlong;
});
the("latest").addEventListener("click", () => {
  readsAlong = true;
  drawn();
});
the("new").addEventListener("click", () => {
  showPast(false);
  void open(newId());
  question.focus();
});
the("menu").addEventListener("click", () => showPast(!the("past").classList.contains("shown")));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") showPast(false);
});
the("realtime").addEventListener("click", () => {
  lex.realtime = !lex.realtime;
  localStorage.setItem("lex.realtime", String(lex.realtime));
  showRealtime();
});
the("sign-out").addEventListener("click", () => void signOut());
window.addEventListener("offline", tellOffline);
window.addEventListener("online", () => report({ is: "open" }));

function showRealtime() {
  the("realtime").setAttribute("aria-checked", String(lex.realtime));
}

showRealtime();
suggest(SUGGESTIONS);
the("sign-out").hidden = localStorage.getItem("lex.signed-in") === null;
void tellWhoAnswers();
void open(sessions.current);
question.focus();
