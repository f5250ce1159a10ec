/* Light or dark theme. A classic script, so that it runs before the first paint and the page never
   flashes in the wrong colours. If the user has not chosen, the system's preference applies. */
"use strict";

(() => {
  const STORE = "silkline-theme";
  const root = document.documentElement;
  const systemDark = window.matchMedia("(prefers-color-scheme: dark)");

  /** The saved choice, or null; storage may be disabled in this browser. */
  function saved() {
    try {
      return window.localStorage.getItem(STORE);
    } catch {
      return null;
    }
  }

  /** Saves the choice; null removes it. */
  function save(theme) {
    try {
      if (theme === null) window.localStorage.removeItem(STORE);
      else window.localStorage.setItem(STORE, theme);
    } catch {
      // Without storage the choice is kept until the page is closed.
    }
  }

  function isDark() {
    return root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches;
  }

  function choose(theme) {
    if (theme === "dark" || theme === "light") root.dataset.theme = theme;
    else delete root.dataset.theme;
  }

  choose(saved());

  document.addEventListener("DOMContentLoaded", () => {
    const toggle = /** @type {HTMLElement} */ (document.getElementById("theme"));
    const show = () => toggle.setAttribute("aria-pressed", String(isDark()));
    toggle.addEventListener("click", () => {
      const dark = !isDark();
      // A choice that equals the system's preference follows the system again.
      const theme = dark === systemDark.matches ? null : dark ? "dark" : "light";
      save(theme);
      choose(theme);
      show();
    });
    systemDark.addEventListener("change", show);
    show();
  });
})();
