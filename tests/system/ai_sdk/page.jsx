// The smallest page for `useChat`. `lex` is the example in docs/frontends.md.

import { createRoot } from "react-dom/client";
import { loadChat, useLex } from "lex";

function Page({ id, messages }) {
  const chat = useLex(id, messages);
  const ask = (event) => {
    event.preventDefault();
    chat.sendMessage({ text: event.target.elements.question.value });
    event.target.reset();
  };
  return (
    <main data-status={chat.status}>
      {chat.messages.map((message) => (
        <article key={message.id} id={message.id} className={message.role}>
          {message.parts.map((part, at) => (
            <Part key={at} part={part} />
          ))}
        </article>
      ))}
      <form onSubmit={ask}>
        <input name="question" />
      </form>
      <button onClick={chat.stop}>Stop</button>
      <button onClick={() => chat.regenerate()}>Again</button>
      <output>{chat.error?.message}</output>
    </main>
  );
}

function Part({ part }) {
  if (part.type === "text") return <p>{part.text}</p>;
  if (part.type.startsWith("tool-")) return <code>{`${part.type} ${part.state}`}</code>;
  return null;
}

const id = new URLSearchParams(location.search).get("id");
const messages = await loadChat(id);
createRoot(document.getElementById("root")).render(<Page id={id} messages={messages} />);
