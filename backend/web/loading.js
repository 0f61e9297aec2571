/**
 * Reloads the page when one of its files fails to load.
 *
 * Chromium cancels all running requests when the network changes (a laptop joins another Wi-Fi, a
 * container starts on the same machine), and a busy service answers 503. Browsers do not fetch a
 * failed module again. The server inlines this script into the HTML, so that it is always there.
 */
{
  const RELOADS = "lex.reloads";
  const WAITS_MS = [250, 1_000, 4_000];
  const GIVEN_UP = "This page did not load completely. Please reload it in a moment.";

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

  // Error events of elements do not bubble, so they are caught in the capture phase.
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
