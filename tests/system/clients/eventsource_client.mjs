/** `eventsource-client`, which reconnects after every stream until it gets a 204. */

export async function read(packages, url, init, heard) {
  const { createEventSource } = packages("eventsource-client");
  for await (const { id, event, data } of createEventSource({ url, ...init })) {
    heard(id, event, data);
  }
}
