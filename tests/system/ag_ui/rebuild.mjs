/**
 * Reads streams by threes, and prints what the client shows in the end: `{messages, ended}`.
 *
 * The second of three is read by the `HttpAgent` of CopilotKit's version, the others by version 1.
 */

import { createRequire } from "node:module";

const packages = createRequire(`${process.env.PACKAGES}/`);
const copilotkit = createRequire(packages.resolve("@copilotkit/core"));
const agents = [packages, copilotkit, packages].map((each) => each("@ag-ui/client").HttpAgent);

console.error = () => {}; // the clients print every error that they also raise
console.warn = (...warning) => {
  throw new Error(`a client warned: ${warning.join(" ")}`);
};

let input = "";
for await (const piece of process.stdin.setEncoding("utf8")) input += piece;

async function read(Agent, stream) {
  const fetch = async () =>
    new Response(stream, { headers: { "Content-Type": "text/event-stream" } });
  const agent = new Agent({ url: "http://lex.test", threadId: "thread", fetch });
  const ended = [];
  try {
    await agent.runAgent(
      { runId: "run" },
      {
        onRunFinishedEvent: ({ outcome }) => void ended.push(outcome),
        onRunErrorEvent: ({ event }) => void ended.push(event.code),
      },
    );
  } catch (error) {
    ended.push(String(error));
  }
  return { messages: agent.messages, ended };
}

const shown = [];
for (const streams of JSON.parse(input)) {
  shown.push(await Promise.all(streams.map((stream, at) => read(agents[at], stream))));
}
process.stdout.write(JSON.stringify(shown));
