/* Light or dark. A classic script, so that it runs before the first paint: the page never flashes
   in the wrong colours. Without a choice of the user the system's preference holds. */
"use strict";

(() => {
  const STORE = "silkline-theme";
  const root = document.documentElement;
  const systemDark = window.matchMedia("(prefers-color-scheme: dark)");

  /** The saved choice, or null; storage may be switched off in this browser. */
  function saved() {
    try {
      return window.localStorage.getItem(STORE);
    } catch {
      return null;
    }
  }

  /** Keeps the choice; null forgets it. */
  function save(theme) {
    try {
      if (theme === null) window.localStorage.removeItem(STORE);
      else window.localStorage.setItem(STORE, theme);
    } catch {
      // Without storage the choice holds until the page is left.
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
      // Back at the system's own preference means following it again.
      const theme = dark === systemDark.matches ? null : dark ? "dark" : "light";
      save(theme);
      choose(theme);
      show();
    });
    systemDark.addEventListener("change", show);
    show();
  });
})();
