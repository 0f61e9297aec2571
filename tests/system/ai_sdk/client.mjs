/** The AI SDK's chat without a framework: what `useChat` does, and a record of what it received. */

import { createRequire } from "node:module";

const packages = createRequire(`${process.env.PACKAGES}/`);
export const { AbstractChat, DefaultChatTransport, readUIMessageStream, validateUIMessages } =
  packages("ai");

class State {
  status = "ready";
  error = undefined;
  #messages;
  #waiting = [];

  constructor(messages) {
    this.#messages = messages;
  }

  get messages() {
    return this.#messages;
  }

  set messages(messages) {
    this.#messages = messages;
    this.#waiting = this.#waiting.filter(({ holds, resolve }) => !holds() || resolve());
  }

  pushMessage = (message) => {
    this.messages = [...this.messages, message];
  };

  popMessage = () => {
    this.messages = this.messages.slice(0, -1);
  };

  replaceMessage = (index, message) => {
    this.messages = this.messages.with(index, this.snapshot(message));
  };

  snapshot = (thing) => structuredClone(thing);

  /** Waits until something is true of the messages. */
  until = (holds) =>
    new Promise((resolve) => {
      if (holds()) resolve();
      else this.#waiting.push({ holds, resolve });
    });
}

export class Chat extends AbstractChat {
  wire = [];

  constructor({ base, id, messages = [], body, headers, ...options }) {
    const wire = [];
    const transport = new DefaultChatTransport({
      api: `${base}/api/chat`,
      fetch: (url, init) => recorded(url, init, wire),
      body,
      headers,
    });
    super({ id, transport, state: new State(messages), ...options });
    this.wire = wire;
  }

  /** The text of the answer that is being read. */
  get said() {
    const last = this.lastMessage;
    return last?.role === "assistant" ? textOf(last) : "";
  }

  until = (holds) => this.state.until(holds);

  received = () => Promise.all(this.wire.map((entry) => entry.received));

  /** What the page shows, as a reload would get it. */
  get shown() {
    return JSON.parse(JSON.stringify(this.messages));
  }
}

export const textOf = (message) =>
  message.parts.map((part) => (part.type === "text" ? part.text : "")).join("");

/** Keeps everything that the service sends, also what the chat does not read after an error. */
async function recorded(url, init, wire) {
  const response = await fetch(url, init);
  const entry = {
    method: init.method,
    status: response.status,
    protocol: response.headers.get("x-vercel-ai-ui-message-stream"),
    retryAfter: response.headers.get("retry-after"),
  };
  const body = response.clone().text();
  entry.received = body.then(
    (text) => (entry.body = text),
    () => (entry.body = "cut"),
  );
  wire.push(entry);
  return response;
}
