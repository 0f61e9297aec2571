/**
 * Reads many streams at once with one of the published clients: `node main.mjs CLIENT STREAMS`.
 *
 * A stream is `{base, session, query}`. Its events are printed as `[id, event, data]`.
 */

import { createRequire } from "node:module";

const [, , name, streams] = process.argv;
const { read } = await import(`./${name}.mjs`);
const packages = createRequire(`${process.env.PACKAGES}/`);

const alive = setInterval(() => {}, 60_000); // some do not keep Node from ending while they wait
const seen = await Promise.all(
  JSON.parse(streams).map(async ({ base, session, query }) => {
    const events = [];
    const url = `${base}/query`;
    const init = {
      method: "POST",
      headers: { "Content-Type": "application/json", "Idempotency-Key": session },
      body: JSON.stringify({ query, session_id: session, resume: true }),
    };
    await read(packages, url, init, (id, event, data) => events.push([id, event, data]));
    return events;
  }),
);
clearInterval(alive);
process.stdout.write(JSON.stringify(seen));
