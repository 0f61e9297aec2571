/** `@microsoft/fetch-event-source`, which expects the globals of a browser. */

globalThis.window = globalThis;
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };

export async function read(packages, url, init, heard) {
  const { fetchEventSource } = packages("@microsoft/fetch-event-source");
  const everything = new AbortController();
  await fetchEventSource(url, {
    ...init,
    signal: everything.signal,
    async onopen(response) {
      if (response.status === 204) everything.abort();
      else if (!response.ok) throw new Refused(response.status);
    },
    onmessage({ id, event, data }) {
      if (event) heard(id, event, data); // a comment is a message, too
    },
    onerror(error) {
      if (error instanceof Refused) throw error;
    },
  });
}

class Refused extends Error {}
