/** Where Lex is, seen from this page: by default where the page comes from. */
export const base = "";
