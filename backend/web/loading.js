/**
 * Loads the page again when one of its files does not arrive.
 *
 * Chromium drops every request that is under way when the network changes (a laptop that joins
 * another Wi-Fi, a container that starts beside it), a busy service answers 503, and a module
 * that failed once is not fetched again by its page. This code is part of the HTML, so that it
 * is there when nothing else is.
 */
{
  const RELOADS = "lex.reloads";
  const WAITS_MS = [250, 1_000, 4_000];
  const GIVEN_UP = "This page could not be loaded completely. Please reload it in a moment.";

  const reloads = Number(sessionStorage.getItem(RELOADS));
  let isComplete = true;

  /** @param {EventTarget | null} element */
  const isNeeded = (element) =>
    element instanceof HTMLScriptElement ||
    (element instanceof HTMLLinkElement && element.rel === "stylesheet");

  const reload = () => location.reload();

  const giveUp = () => {
    sessionStorage.removeItem(RELOADS);
    addEventListener("online", reload);
    const warning = document.getElementById("warning");
    if (warning === null) return;
    warning.textContent = GIVEN_UP;
    warning.hidden = false;
  };

  // The error of an element does not bubble, so it is caught on its way down.
  addEventListener(
    "error",
    ({ target }) => {
      if (!isComplete || !isNeeded(target)) return;
      isComplete = false;
      sessionStorage.setItem(RELOADS, String(reloads + 1));
      const wait = WAITS_MS[reloads];
      if (wait !== undefined) setTimeout(reload, wait);
      else if (document.readyState === "loading") addEventListener("DOMContentLoaded", giveUp);
      else giveUp();
    },
    true,
  );
  addEventListener("load", () => {
    if (isComplete) sessionStorage.removeItem(RELOADS);
  });
}
