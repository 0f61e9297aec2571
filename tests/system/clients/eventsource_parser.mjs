/** `eventsource-parser`, which only parses, so this code reconnects. */

export async function read(packages, url, init, heard) {
  const { createParser } = packages("eventsource-parser");
  for (let last, isOver = false; !isOver; ) {
    const parser = createParser({
      onEvent({ id, event, data }) {
        heard(id, event, data);
        last = id;
        isOver = event === "end";
      },
    });
    const headers = last ? { ...init.headers, "Last-Event-ID": last } : init.headers;
    try {
      const response = await fetch(url, { ...init, headers });
      if (response.status !== 200) throw new Refused(response.status);
      for await (const text of response.body.pipeThrough(new TextDecoderStream())) parser.feed(text);
    } catch (error) {
      if (error instanceof Refused) throw error; // and not the end of a connection
    }
  }
}

class Refused extends Error {}
