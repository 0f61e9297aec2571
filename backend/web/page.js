/** The chat page: connects its elements, the client and the stored sessions. */

import { Lex, Refused, Turn, newId } from "./client.js";
import { base } from "./config.js";
import { ConnectionLine } from "./connection.js";
import { TurnView } from "./conversation.js";
import { h, the } from "./dom.js";
import { Past } from "./past.js";
import { Sessions } from "./sessions.js";
import { showSignOut, signIn, signOut } from "./signing.js";

/** @typedef {import("./client.js").Happened} Happened */

/** The page scrolls along with the answer while the reader is this close to the end. */
const AT_THE_END_PX = 80;

const STOPPED = "You stopped this answer.";

const SUGGESTIONS = [
  "What is the weather in Paris and in Tokyo?",
  "Where is your London dealership, and when is it open?",
  "Which cars do you have?",
  "When can I drive the Apex GT in Beverly Hills tomorrow?",
];
/** The stand-in for Groq knows one user, and only if the question names it. */
const SUGGESTIONS_OF_A_STANDIN = [
  ...SUGGESTIONS.slice(0, 2),
  "I am user 123. What do you know about me?",
  "I am user 123. When can I drive the Apex GT in Beverly Hills tomorrow?",
];

const lex = new Lex({ base, realtime: localStorage.getItem("lex.realtime") === "true" });
const sessions = new Sessions();
const past = new Past(lex, sessions, (id) => void open(id));
const connection = new ConnectionLine(the("line"), () => running?.hurry());

const turns = the("turns");
const scroller = the("scroller");
/** @type {HTMLTextAreaElement} */
const question = the("question");
const send = the("send");

/** The turn that is being read. @type {Turn | null} */
let running = null;
let isStopped = false;
/** The last turn of this session. @type {string | undefined} */
let lastTurn;
let readsAlong = true;

/** @type {import("./client.js").Options["report"]} */
const report = (state) => connection.report(state);
const around = { ask, speak, drawn };

/**
 * Asks a question. While Lex is answering or the history is loading, it stays in the field instead.
 * @param {string} query
 */
function ask(query) {
  if (running !== null || turns.hasAttribute("aria-busy")) {
    question.value = query;
    question.focus();
    grow();
    return;
  }
  put(query, newId());
}

/**
 * Sends a question and shows its turn.
 * @param {string} query
 * @param {string} key
 */
function put(query, key) {
  const { current } = sessions;
  sessions.asked(query);
  sessions.pending = { session: current, query, key, ...(lastTurn && { after: lastTurn }) };
  past.list();
  readsAlong = true;
  const view = add(query);
  const begun = (/** @type {string} */ turn) => void (lastTurn = turn);
  const options = { key, report, begun, ...(lastTurn && { after: lastTurn }) };
  const turn = lex.ask(current, query, options);
  void read(turn, view, () => {
    // A turn that has begun is read on instead of asked again.
    if (turn.id !== null) return void open(current);
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
 * Shows the events of a turn until it ends or fails.
 * @param {Turn} turn
 * @param {TurnView} view
 * @param {() => void} again Called to retry after a refusal.
 */
async function read(turn, view, again) {
  running = turn;
  isStopped = false;
  view.wait();
  showState();
  try {
    let hasOutcome = false;
    for await (const event of turn) {
      if (event.type === "outcome") {
        hasOutcome = true;
        if (isStopped && event.data.outcome === "cancelled") view.note(STOPPED);
      }
      view.take(event);
    }
    // A turn that was stopped before it began has no events.
    if (isStopped && !hasOutcome) view.note(STOPPED);
  } catch (error) {
    if (running !== turn) return;
    if (!(error instanceof Refused)) throw error;
    if (error.status === 401 || error.failure.code === "not_authenticated") signIn(lex, again);
    view.fail(error.failure, { again });
  } finally {
    if (running === turn) {
      running = null;
      sessions.pending = null;
      showState();
      connection.report({ is: "open" });
      await view.end();
    }
  }
}

function stop() {
  isStopped = true;
  // If this fails, the turn stops as soon as its connection is back.
  running?.stop().catch(() => {});
}

/** Opens a session, or loads the current one again. @param {string} id */
async function open(id) {
  running?.leave();
  running = null;
  lastTurn = undefined;
  sessions.open(id);
  turns.replaceChildren();
  connection.report({ is: "open" });
  showState();
  past.list();
  const isKnown = sessions.all().some((each) => each.id === id);
  the("welcome").hidden = isKnown;
  if (isKnown) await restore(id);
}

/** Shows the history of a session, and reads on a turn that still runs. @param {string} id */
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
  if (error instanceof Refused && error.status === 401) signIn(lex, again);
  const failure = error instanceof Refused ? error.failure : null;
  const view = new TurnView("", around);
  view.element.classList.add("lone");
  const words = "Earlier messages cannot be shown at the moment.";
  view.fail(failure ?? { code: "", message: words, retryable: true }, { again });
  turns.append(view.element);
}

/**
 * Shows the history. Returns the last turn if it may still run.
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
    if (type === "system") view?.close(data);
  }
  if (isUnfinished && view !== null && lastTurn !== undefined) return { turn: lastTurn, view };
  void view?.end({ aloud: false });
  return null;
}

/** Adds words to the live region that screen readers read out. @param {string} words */
function speak(words) {
  const spoken = the("spoken");
  spoken.append(h("p", {}, words));
  while (spoken.childElementCount > 4) spoken.firstElementChild?.remove();
}

function drawn() {
  if (readsAlong) scroller.scrollTop = scroller.scrollHeight;
}

/** Makes the button say "Send" or "Stop". */
function showState() {
  send.textContent = running === null ? "Send" : "Stop";
  send.classList.toggle("stops", running !== null);
}

/** Fits the question field to its number of lines. */
function grow() {
  question.rows = Math.min(6, question.value.split("\n").length);
}

async function tellWhoAnswers() {
  const readiness = await lex.readiness().catch(() => null);
  const isStandin = readiness?.models.some(({ name }) => name.startsWith("groq-standin")) ?? false;
  the("badge").hidden = !isStandin;
  warn(readiness?.warnings ?? []);
  if (isStandin) suggest(SUGGESTIONS_OF_A_STANDIN);
}

/** Shows warnings for the operator of this service. @param {string[]} warnings */
function warn(warnings) {
  the("warning").textContent = warnings.join(" ");
  the("warning").hidden = warnings.length === 0;
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
  // With an input method editor, Enter confirms the word that is being composed.
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
  past.show(false);
  void open(newId());
  question.focus();
});
the("realtime").addEventListener("click", () => {
  lex.realtime = !lex.realtime;
  localStorage.setItem("lex.realtime", String(lex.realtime));
  showRealtime();
});
the("sign-out").addEventListener("click", async () => {
  await signOut(lex);
  await open(newId());
});

function showRealtime() {
  the("realtime").setAttribute("aria-checked", String(lex.realtime));
}

showRealtime();
suggest(SUGGESTIONS);
showSignOut();
void tellWhoAnswers();
void open(sessions.current);
question.focus();
