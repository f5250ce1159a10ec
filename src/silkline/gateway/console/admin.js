/** The entry point of the operators' pages: chooses the page, and passes it the live figures. */

import { Api } from "./api.js";
import { RequestFailure, wordsFor } from "./failure.js";
import { KeyMenu } from "./key.js";
import { Live } from "./live.js";

/** What each page's module exports as `open`; loaded when it is first shown. */
const PAGES = {
  overview: () => import("./overview.js"),
  requests: () => import("./requests.js"),
  models: () => import("./models.js"),
  playground: () => import("./playground.js"),
  tenants: () => import("./tenants.js"),
  cache: () => import("./caches.js"),
  drift: () => import("./drift.js"),
  experiments: () => import("./experiments.js"),
  settings: () => import("./settings.js"),
  alerts: () => import("./alerts.js"),
};
const DEFAULT_PAGE = "overview";

/**
 * @typedef {{api: Api, live: Live, announce: (text: string) => void, rest: string,
 *   attempt: (work: () => Promise<void>) => Promise<void>}} Context
 *   `attempt` shows the failure of some work; `rest` follows the page's name in the address
 * @typedef {{element: HTMLElement, update?: (live: Live) => void, close?: () => void}} Page
 */

/** @param {string} id */
const element = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** @type {Page | null} */
let shown = null;
let shownName = "";
/** Counts the pages that were opened: a module that loads late must not replace a later page. */
let openings = 0;

const keyMenu = new KeyMenu(() => {
  live.restart();
  route();
});
const api = new Api(() => keyMenu.key);
const live = new Live(api, () => shown?.update?.(live), showState);

const announce = (text) => {
  element("announce").textContent = text;
};

/** Shows whether the live figures arrive. */
function showState(failure) {
  const state = failure === null ? "ready" : failure.code === "unreachable" ? "unreachable" : "starting";
  const status = element("status");
  if (status.dataset.state === state) return;
  status.dataset.state = state;
  element("status-text").textContent = failure === null ? "Live" : wordsFor(failure).title;
  if (failure !== null && (failure.status === 401 || failure.status === 403)) showTrouble(failure);
}

/** @param {RequestFailure | null} failure */
function showTrouble(failure) {
  element("trouble").hidden = failure === null;
  if (failure === null) return;
  element("trouble-title").textContent = wordsFor(failure).title;
  element("trouble-message").textContent = failure.message;
  element("alarm").textContent = `${wordsFor(failure).title}. ${failure.message}`;
  if (failure.status === 401 || failure.status === 403) keyMenu.open();
}

/** Runs some work of a page; shows its failure instead of throwing it. */
async function attempt(work) {
  try {
    await work();
    showTrouble(null);
  } catch (error) {
    if (error instanceof RequestFailure) showTrouble(error);
    else if (/** @type {any} */ (error)?.name !== "AbortError") {
      window.reportError(error);
      showTrouble(new RequestFailure({ code: "page_fault" }));
    }
  }
}

/** Shows the page that the address names, such as `#requests/ID`. */
async function route() {
  const [wanted, ...rest] = decodeURIComponent(window.location.hash.slice(1)).split("/");
  const name = Object.hasOwn(PAGES, wanted) ? wanted : DEFAULT_PAGE;
  const opening = ++openings;
  const moved = shownName !== "" && shownName !== name;
  shownName = name;
  for (const link of element("tabs").querySelectorAll("a")) {
    if (link.hash === `#${name}`) {
      link.setAttribute("aria-current", "page");
      link.scrollIntoView({ block: "nearest", inline: "center" });
    } else link.removeAttribute("aria-current");
  }
  await attempt(async () => {
    const { open } = await PAGES[name]();
    if (opening !== openings) return;
    shown?.close?.();
    const page = /** @type {Page} */ (open({ api, live, announce, attempt, rest: rest.join("/") }));
    shown = page;
    element("content").replaceChildren(page.element);
    const title = page.element.querySelector("h1")?.textContent ?? "";
    document.title = `${title} – Silkline console`;
    if (moved) {
      element("page").focus({ preventScroll: true });
      announce(title);
    }
    if (live.last) page.update?.(live);
  });
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && keyMenu.isOpen) keyMenu.close();
});
// The address names the page, so the skip link must not change it.
document.querySelector(".skip")?.addEventListener("click", (event) => {
  event.preventDefault();
  element("page").focus();
});
window.addEventListener("hashchange", () => route());
live.restart();
route();
