/** The base URL of Lex; empty means the origin that serves this page. */
export const base = "";
