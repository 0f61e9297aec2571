/** `eventsource`, which reconnects after every stream until it gets a 204. */

const NAMES = ["tool_use", "tool_call", "tool_output", "chunk", "error", "outcome", "end"];

export async function read(packages, url, init, heard) {
  const { EventSource } = packages("eventsource");
  const source = new EventSource(url, {
    fetch(input, own) {
      return fetch(input, { ...own, ...init, headers: { ...own.headers, ...init.headers } });
    },
  });
  await new Promise((resolve) => {
    for (const name of NAMES) {
      source.addEventListener(name, ({ lastEventId, data }) => {
        // A broken connection is reported as `error` as well, but without data.
        if (data !== undefined) heard(lastEventId, name, data);
        if (source.readyState === source.CLOSED) resolve();
      });
    }
  });
}
