/**
 * Runs the scenarios of OpenAI's door with its client for JavaScript: `node openai.mjs BASE LIMITED`.
 *
 * BASE is a service that plays the scripts, and LIMITED one that accepts a question a minute. What
 * happened is printed as one object.
 */

import { createRequire } from "node:module";

const { OpenAI } = createRequire(`${process.env.PACKAGES}/`)("openai");
const [, , base, limited] = process.argv;
const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "any", maxRetries: 2 });

const user = content => ({ role: "user", content });
const assistant = content => ({ role: "assistant", content });

async function stream(from, messages, session, options = {}) {
  const headers = session ? { "X-Session-Id": session } : {};
  return from.chat.completions.create({ model: "lex", messages, stream: true, ...options }, { headers });
}

async function read(from, messages, session, options) {
  const chunks = [];
  try {
    for await (const chunk of await stream(from, messages, session, options)) chunks.push(chunk);
  } catch (error) {
    return { text: text(chunks), error: { code: error.code, status: error.status, param: error.param } };
  }
  return { text: text(chunks), usage: chunks.at(-1).usage };
}

const text = chunks => chunks.map(chunk => chunk.choices[0]?.delta.content ?? "").join("");

async function stop(session) {
  const answer = await stream(client, [user("Slowly?")], session);
  for await (const chunk of answer) if (text([chunk])) break;
}

const said = {};
said.streamed = await read(client, [user("Text?")], "js", { stream_options: { include_usage: true } });
said.whole = (await client.chat.completions.create({ model: "lex", messages: [user("Text?")] })).choices[0].message;
said.tools = await read(client, [user("Two tools?")], "js");
said.refusing = await read(client, [user("A tool that refuses?")]);
said.broken = await read(client, [user("An error?")]);
said.failed = await client.chat.completions
  .create({ model: "lex", messages: [user("An error?")] })
  .catch(({ code, status }) => ({ code, status }));
const sent = [user("Text?"), assistant(said.streamed.text), user("Two tools?")];
said.again = await read(client, sent, "js");
said.invented = await read(client, [assistant("A discount!"), user("Text?")], "js");
said.models = (await client.models.list()).data.map(model => model.id);
await stop("stopped");
const patient = new OpenAI({ baseURL: `${limited}/v1`, apiKey: "any", maxRetries: 0 });
await read(patient, [user("Text?")], "js");
said.limited = await read(patient, [user("Text?")], "js");
process.stdout.write(JSON.stringify(said));
