/** The sign-in dialog. It exchanges the credential for a cookie and does not store it. */

import { Refused } from "./client.js";
import { the } from "./dom.js";

/** Remembers that the user signed in, because scripts cannot see the cookie. */
const SIGNED_IN = "lex.signed-in";

/**
 * Opens the dialog.
 * @param {import("./client.js").Lex} lex
 * @param {() => void} then Called after a successful sign-in.
 */
export function signIn(lex, then) {
  /** @type {HTMLDialogElement} */
  const dialog = the("sign-in");
  /** @type {HTMLInputElement} */
  const credential = the("credential");
  const wrong = the("wrong");
  wrong.textContent = "";
  the("sign-in-form").onsubmit = async (event) => {
    event.preventDefault();
    try {
      await lex.signIn(credential.value.trim());
    } catch (error) {
      const isRefused = error instanceof Refused && error.status === 401;
      wrong.textContent = isRefused ? "This token or key was not accepted." : "Sign-in failed. Please try again.";
      credential.focus();
      return;
    }
    credential.value = "";
    localStorage.setItem(SIGNED_IN, "true");
    showSignOut();
    dialog.close();
    then();
  };
  if (!dialog.open) dialog.showModal();
}

/** @param {import("./client.js").Lex} lex */
export async function signOut(lex) {
  await lex.signOut();
  localStorage.removeItem(SIGNED_IN);
  showSignOut();
}

export function showSignOut() {
  the("sign-out").hidden = localStorage.getItem(SIGNED_IN) === null;
}
