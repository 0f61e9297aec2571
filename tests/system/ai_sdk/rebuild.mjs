/**
 * Rebuilds messages from streams with the SDK's own parser, schemas and reader, and compares each
 * with the stored message. Reads `[{stream, stored}]`, prints `[{at, reason, got}]`.
 */

import { isDeepStrictEqual } from "node:util";
import { DefaultChatTransport, readUIMessageStream, validateUIMessages } from "./client.mjs";

const problems = [];
let input = "";
for await (const piece of process.stdin.setEncoding("utf8")) input += piece;

for (const [at, { stream, stored }] of JSON.parse(input).entries()) {
  try {
    const fetch = async () => new Response(stream);
    const chunks = await new DefaultChatTransport({ fetch }).sendMessages({ messages: [] });
    let rebuilt;
    for await (const message of readUIMessageStream({ stream: chunks })) rebuilt = message;
    const [got, kept] = [rebuilt, stored].map((each) => JSON.parse(JSON.stringify(each)));
    await validateUIMessages({ messages: [stored] });
    if (!isDeepStrictEqual(got, kept)) problems.push({ at, reason: "another message", got });
  } catch (error) {
    problems.push({ at, reason: String(error) });
  }
}
process.stdout.write(JSON.stringify(problems));
