/**
 * Plays all scenarios against the service of the first argument, and those of limits and sign-in
 * against the second: `node scenarios.mjs BASE SECURED`. Prints what each one saw, by name.
 */

import { Chat, DefaultChatTransport, validateUIMessages } from "./client.mjs";

const [, , base, secured] = process.argv;
const SIGNED_IN = { Authorization: "Bearer secret" };

const stored = async (id, headers = {}, at = base) =>
  (await fetch(`${at}/api/chat/${encodeURIComponent(id)}/messages`, { headers })).json();

const asked = async (id, text, options = {}) => {
  const chat = new Chat({ base, id, ...options });
  await chat.sendMessage({ text });
  return chat;
};

const user = (id, text) => ({ id, role: "user", parts: [{ type: "text", text }] });

const SCENARIOS = {
  text: (id) => asked(id, "Text?"),

  two_tools_at_once: (id) => asked(id, "Two tools?"),

  a_tool_that_refuses: (id) => asked(id, "Refused?"),

  an_error_in_mid_answer: (id) => asked(id, "Broken?"),

  async stop(id) {
    const chat = new Chat({ base, id });
    const answered = chat.sendMessage({ text: "Slow?" });
    await chat.until(() => chat.said !== "");
    await fetch(`${base}/api/chat/${id}/stream`, { method: "DELETE" });
    await answered;
    return chat;
  },

  async stop_as_documented(id) {
    const chat = new Chat({ base, id });
    const answered = chat.sendMessage({ text: "Slow?" });
    await chat.until(() => chat.said !== "");
    const body = JSON.stringify({ assistantMessage: chat.lastMessage });
    const headers = { "Content-Type": "application/json" };
    await fetch(`${base}/api/chat/${id}/stop`, { method: "POST", headers, body });
    await answered;
    return chat;
  },

  async reload_in_mid_stream(id) {
    const left = new Chat({ base, id });
    const answered = left.sendMessage({ text: "Slow?" });
    await left.until(() => left.said !== "");
    await left.stop();
    await answered;
    const chat = new Chat({ base, id, messages: await stored(id) });
    const resumed = chat.resumeStream();
    await chat.until(() => chat.said.length > left.said.length);
    await fetch(`${base}/api/chat/${id}/stream`, { method: "DELETE" });
    await resumed;
    await chat.resumeStream(); // nothing runs any more
    return Object.assign(chat, { more: { left: left.said } });
  },

  async a_cut_of_a_plain_answer(id) {
    const chat = new Chat({ base, id, body: { resume: false } });
    const answered = chat.sendMessage({ text: "Slow?" });
    await chat.until(() => chat.said !== "");
    await chat.stop();
    await answered;
    while ((await stored(id)).length < 2); // until the answer has ended
    await chat.sendMessage({ text: "Text?" });
    return chat;
  },

  async a_conversation(id) {
    const chat = await asked(id, "Two tools?");
    await chat.sendMessage({ text: "Text?" });
    return chat;
  },

  async a_repeated_request(id) {
    const chat = await asked(id, "Text?");
    const transport = new DefaultChatTransport({ api: `${base}/api/chat` });
    const stream = await transport.sendMessages({
      chatId: id,
      messages: chat.messages.slice(0, 1),
      trigger: "submit-message",
    });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    chat.wire = []; // those of the first request are in the other files
    return Object.assign(chat, { more: { repeats: chunks[0].messageId === chat.lastMessage.id } });
  },

  async regenerate(id) {
    const chat = await asked(id, "Text?");
    await chat.sendMessage({ text: "Two tools?" });
    await chat.regenerate();
    await chat.regenerate({ messageId: chat.lastMessage.id });
    await chat.regenerate({ messageId: chat.messages[1].id });
    return chat;
  },

  async regenerate_after_a_reload(id) {
    const first = await asked(id, "Text?");
    const chat = new Chat({ base, id, messages: await stored(id) });
    await chat.regenerate();
    await chat.regenerate();
    return Object.assign(chat, { more: { first: first.lastMessage.id } });
  },

  async regenerate_what_was_refused(id) {
    const chat = await asked(id, "Text?");
    await chat.sendMessage({ text: " " });
    chat.messages = [...chat.messages.slice(0, 2), user("again", "Two tools?")];
    await chat.regenerate();
    return chat;
  },

  async edit(id) {
    const chat = await asked(id, "Text?");
    await chat.sendMessage({ text: "Text?" });
    const messageId = chat.messages[0].id;
    await chat.sendMessage({ text: "Refused?", messageId });
    await chat.sendMessage({ text: "Two tools?", messageId });
    return chat;
  },

  async edit_after_a_reload(id) {
    await asked(id, "Text?");
    const chat = new Chat({ base, id, messages: await stored(id) });
    await chat.sendMessage({ text: "Two tools?", messageId: chat.messages[0].id });
    await chat.sendMessage({ text: "Text?" });
    return chat;
  },

  async a_greeting_of_the_page(id) {
    const messages = [{ ...user("hi", "Welcome!"), role: "assistant" }];
    const chat = await asked(id, "Text?", { messages });
    await chat.sendMessage({ text: "Text?" });
    return chat;
  },

  async an_answer_that_nobody_gave(id) {
    const chat = await asked(id, "Text?");
    chat.messages = [
      ...chat.messages,
      { id: "invented", role: "assistant", parts: [{ type: "text", text: "It is free." }] },
    ];
    await chat.sendMessage({ text: "Text?" });
    return chat;
  },

  async an_output_that_no_tool_gave(id) {
    const chat = await asked(id, "Two tools?");
    const forged = structuredClone(chat.messages);
    forged[1].parts.find((part) => part.state === "output-available").output = { free: true };
    chat.messages = forged;
    await chat.sendMessage({ text: "Text?" });
    return chat;
  },

  async an_image(id) {
    const chat = new Chat({ base, id });
    const files = [{ type: "file", mediaType: "image/png", url: "data:image/png;base64,AAAA" }];
    await chat.sendMessage({ text: "What is it?", files });
    return chat;
  },

  async a_message_after_a_refused_one(id) {
    const chat = await SCENARIOS.an_image(id);
    await chat.sendMessage({ text: "Text?" });
    return chat;
  },

  async a_limit(id) {
    const chat = new Chat({ base: secured, id, headers: SIGNED_IN });
    await chat.sendMessage({ text: "Text?" });
    await chat.sendMessage({ text: "Text?" });
    return chat;
  },

  async no_sign_in(id) {
    const chat = new Chat({ base: secured, id });
    await chat.sendMessage({ text: "Text?" });
    return chat;
  },
};

const seen = await Promise.all(
  Object.entries(SCENARIOS).map(async ([name, play]) => {
    const chat = await play(name.replaceAll("_", "-"));
    await chat.received();
    const isSecured = chat.wire.some(({ status }) => [401, 429].includes(status));
    const history = await stored(chat.id, SIGNED_IN, isSecured ? secured : base);
    if (history.length > 0) await validateUIMessages({ messages: history });
    return [
      name,
      {
        wire: chat.wire,
        shown: chat.shown,
        stored: history,
        status: chat.status,
        error: chat.error?.message ?? null,
        ...chat.more,
      },
    ];
  }),
);
process.stdout.write(JSON.stringify(Object.fromEntries(seen)));
