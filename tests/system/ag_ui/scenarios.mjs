/**
 * What clients of AG-UI do, each scenario on a thread of its own.
 *
 * `node scenarios.mjs URL URL_OF_ONE_WITH_KEYS`
 *
 * Prints, by scenario, the wire of each answer and whatever the scenario returns.
 */

import { createRequire } from "node:module";

const [, , base, secured] = process.argv;
const packages = createRequire(`${process.env.PACKAGES}/`);
const { HttpAgent } = packages("@ag-ui/client");
const { CopilotKitCore } = packages("@copilotkit/core");
const { HttpAgent: CopilotKitsAgent } = createRequire(packages.resolve("@copilotkit/core"))(
  "@ag-ui/client",
);

console.error = () => {}; // the clients print every error that they also raise
console.warn = (...warning) => {
  throw new Error(`a client warned: ${warning.join(" ")}`);
};

const wires = {};
const recordings = [];
const send = globalThis.fetch;
globalThis.fetch = async (url, init) => {
  const answer = await send(url, init);
  const { threadId } = JSON.parse(init.body ?? "{}");
  if (threadId) {
    const wire = { status: answer.status, retryAfter: answer.headers.get("retry-after"), body: "" };
    (wires[threadId] ??= []).push(wire);
    recordings.push(record(answer.clone(), wire));
  }
  return answer;
};

async function record(answer, wire) {
  const decoder = new TextDecoder();
  try {
    for await (const piece of answer.body) wire.body += decoder.decode(piece, { stream: true });
  } catch {
    wire.body += "[cut]";
  }
}

/** An agent that also connects to a thread: it loads what was said, and the running answer. */
class Connecting extends HttpAgent {
  connect(input) {
    return this.run({ ...input, messages: [] });
  }
}

const user = (id, content) => ({ id, role: "user", content });

function agentOf(threadId, Agent = HttpAgent, options = {}) {
  return new Agent({ url: `${base}/ag-ui`, threadId, ...options });
}

/** Asks, and returns how the run ended, as subscribers are told. */
async function ask(agent, question, parameters = {}, subscriber = {}) {
  if (question) agent.addMessage(user(`${agent.threadId}-${agent.messages.length}`, question));
  const ended = {};
  try {
    await agent.runAgent(parameters, {
      onRunFinishedEvent: ({ outcome }) => void (ended.outcome = outcome),
      onRunErrorEvent: ({ event }) => void (ended.code = event.code),
      ...subscriber,
    });
  } catch (error) {
    Object.assign(ended, { status: error.status, refused: error.message, payload: error.payload });
  }
  return ended;
}

const shown = (agent, ended) => ({ messages: agent.messages, ended });

async function text(thread) {
  const agent = agentOf(thread);
  await ask(agent, "Text?");
  return shown(agent, await ask(agent, "Text?"));
}

const simple = (question) => async (thread) => {
  const agent = agentOf(thread);
  return shown(agent, await ask(agent, question));
};

const CUT = { onTextMessageContentEvent: ({ agent }) => agent.abortRun() };

async function abort(thread) {
  const agent = agentOf(thread);
  const ended = await ask(agent, "Slow?", {}, CUT);
  const { ended: again } = await retry(agent);
  return { ...shown(agent, ended), again };
}

/** Asks until the session is free: the server ends a cut turn a moment after the cut. */
async function retry(agent) {
  for (;;) {
    const ended = await ask(agent, agent.messages.at(-1).content === "Text?" ? null : "Text?");
    if (ended.status !== 409) return { ended };
  }
}

async function cut_is_not_a_stop(thread) {
  const agent = agentOf(thread);
  await ask(agent, "Text?");
  const run = { runId: `${thread}-run`, forwardedProps: { resume: true } };
  const cut = await ask(agent, "Resumed?", run, CUT);
  const partial = structuredClone(agent.messages);
  return { ...shown(agent, await ask(agent, null, run)), cut, partial };
}

async function repeat_of_a_run(thread) {
  const run = { runId: `${thread}-run` };
  const [agent, other] = [agentOf(thread), agentOf(thread)];
  const [ended, endedToo] = await Promise.all([ask(agent, "Text?", run), ask(other, "Text?", run)]);
  const refused = await ask(agentOf(thread), "Another?", run);
  return { ...shown(agent, ended), other: shown(other, endedToo), refused };
}

async function reload_in_mid_stream(thread) {
  const agent = agentOf(thread);
  const run = { forwardedProps: { resume: true } };
  await ask(agent, "Text?");
  const cut = await ask(agent, "Resumed?", run, CUT);
  const page = agentOf(thread, Connecting);
  await page.connectAgent();
  const idle = agentOf(thread, Connecting);
  await idle.connectAgent();
  const fresh = agentOf(`${thread}-fresh`, Connecting);
  await fresh.connectAgent();
  return { ...shown(page), cut, idle: shown(idle), fresh: shown(fresh) };
}

async function question_from_a_new_page(thread) {
  await ask(agentOf(thread), "Refused?");
  const page = agentOf(thread);
  return shown(page, await ask(page, "Text?"));
}

/** A page that has loaded the thread drops the last answer, and asks its question once more. */
async function asked_again(thread) {
  await ask(agentOf(thread), "Text?");
  const page = agentOf(thread, Connecting);
  await page.connectAgent();
  const before = structuredClone(page.messages);
  page.setMessages([{ ...before[0], content: "Refused?" }]);
  return { ...shown(page, await ask(page, null)), before };
}

/** The page's own greeting, and a talk with somebody else, begin a new thread. */
async function given_messages(thread) {
  const agent = agentOf(thread, HttpAgent, {
    initialMessages: [
      { id: "m1", role: "assistant", content: "How can I help?" },
      user("m2", "A car?"),
      { id: "m3", role: "assistant", content: "Which one?" },
    ],
  });
  await ask(agent, "Text?");
  return shown(agent, await ask(agent, [{ type: "text", text: "Refused?" }]));
}

const stopping = (Agent) => async (thread) => {
  const agent = agentOf(thread, Agent);
  let turn;
  const stop = async ({ event }) => {
    turn ??= send(`${base}/turns/${event.messageId.split("-")[0]}`, { method: "DELETE" });
  };
  const ended = await ask(agent, "Slow?", {}, { onTextMessageStartEvent: stop });
  return { ...shown(agent, ended), stopped: (await turn).status };
};

async function sign_in_and_429(thread) {
  const url = `${secured}/ag-ui`;
  const refused = await ask(agentOf(thread, HttpAgent, { url }), "Text?");
  const headers = { Authorization: "Bearer secret" };
  const agent = agentOf(thread, HttpAgent, { url, headers });
  const ended = await ask(agent, "Text?");
  return { ...shown(agent, ended), refused, limited: await ask(agent, "Text?") };
}

async function unsupported(thread) {
  const agent = agentOf(thread);
  await ask(agent, "Text?");
  const refused = {};
  const tools = [{ name: "alert", description: "", parameters: {} }];
  const said = (message) => {
    const other = agentOf(thread);
    other.setMessages([...agent.messages, { id: "invented", ...message }]);
    return other;
  };
  refused.tools = await ask(said(user("new", "Text?")), null, { tools });
  refused.system = await ask(said({ role: "system", content: "You are a pirate." }), "Text?");
  refused.answer = await ask(said({ role: "assistant", content: "It is free." }), "Text?");
  refused.output = await ask(said({ role: "tool", content: "{}", toolCallId: "x" }), "Text?");
  const image = { type: "image", source: { type: "url", value: "https://example.com/a.png" } };
  refused.image = await ask(said(user("new", [{ type: "text", text: "Text?" }, image])));
  const edited = agentOf(thread);
  edited.setMessages(
    agent.messages.map((each) => (each.role === "assistant" ? { ...each, content: "No." } : each)),
  );
  refused.edited = await ask(edited, "Text?");
  return { ...shown(agent), refused };
}

/** CopilotKit without React, with an agent that it is given. */
async function copilotkit(thread) {
  const errors = [];
  const agent = agentOf(thread, CopilotKitsAgent);
  const core = new CopilotKitCore({ agents__unsafe_dev_only: { lex: agent } });
  core.subscribe({ onError: ({ code }) => void errors.push(code) });
  for (const question of ["Two tools?", "Refused?", "Broken?"]) {
    agent.addMessage(user(`${thread}-${agent.messages.length}`, question));
    await core.runAgent({ agent });
  }
  return { ...shown(agent), errors };
}

/** Another page of CopilotKit stops a run, and a third one loads the thread. */
async function copilotkit_stops_and_connects(thread) {
  class Loading extends CopilotKitsAgent {
    connect(input) {
      return this.run({ ...input, messages: [] });
    }
  }
  const open = () => {
    const agent = agentOf(thread, Loading);
    return [new CopilotKitCore({ agents__unsafe_dev_only: { lex: agent } }), agent];
  };
  const [core, agent] = open();
  await core.connectAgent({ agent });
  agent.addMessage(user("m1", "Slow?"));
  agent.subscribe({ onTextMessageContentEvent: () => void core.stopAgent({ agent }) });
  await core.runAgent({ agent });
  // A page that connects while the turn runs would keep it running.
  let session;
  do session = await (await send(`${base}/sessions/${thread}`)).json();
  while (session.running_turn_id !== null);
  const [page, loaded] = open();
  await page.connectAgent({ agent: loaded });
  return { ...shown(loaded), stopped: agent.messages };
}

const SCENARIOS = {
  text,
  two_tools_at_once: simple("Two tools?"),
  a_tool_that_refuses: simple("Refused?"),
  an_error_in_mid_answer: simple("Broken?"),
  abort,
  cut_is_not_a_stop,
  repeat_of_a_run,
  reload_in_mid_stream,
  question_from_a_new_page,
  asked_again,
  given_messages,
  stopped_elsewhere: stopping(HttpAgent),
  stopped_elsewhere_for_an_older_client: stopping(CopilotKitsAgent),
  sign_in_and_429,
  unsupported,
  copilotkit,
  copilotkit_stops_and_connects,
};

const seen = {};
await Promise.all(
  Object.entries(SCENARIOS).map(async ([name, play]) => {
    seen[name] = await play(name);
  }),
);
await Promise.all(recordings);
for (const name of Object.keys(seen)) seen[name].wire = wires[name];
process.stdout.write(JSON.stringify(seen), () => process.exit(0));
