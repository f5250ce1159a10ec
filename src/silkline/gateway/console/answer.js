/** The panel that shows one exchange: its answer or failure, its timeline and its metrics. */

import { wordsFor } from "./failure.js";
import { UNKNOWN, clock, count, milliseconds, rate } from "./format.js";
import { describe, drawBar, drawLegend, segments } from "./timeline.js";

/** @typedef {import("./exchange.js").Exchange} Exchange */

const PHASES = {
  sending: "Sending",
  reading: "Looking at the picture",
  answering: "Answering",
};

const CACHE_STATES = {
  hit: "from the cache",
  miss: "computed and cached",
  coalesced: "shared with an identical request",
  near: "near duplicate",
  bypass: "not cached",
};

/** @param {string} id */
const element = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** Sets the text of an element; data from the network is never parsed as markup. */
function write(id, text) {
  const target = element(id);
  if (target.textContent !== text) target.textContent = text;
}

/** Sets the text of an element, or hides the element when the text is empty. */
function writeOrHide(id, text) {
  write(id, text);
  element(id).hidden = text === "";
}

/**
 * Shows the whole exchange.
 * @param {Exchange} exchange
 */
export function showExchange(exchange) {
  element("empty").hidden = true;
  element("result").hidden = false;
  const image = /** @type {HTMLImageElement} */ (element("asked-image"));
  const thumbnail = exchange.picture.thumbnail;
  image.hidden = thumbnail === null;
  if (thumbnail !== null) image.src = thumbnail;
  element("asked-icon").toggleAttribute("hidden", thumbnail !== null);
  write("asked-text", exchange.question);
  element("again").hidden = exchange.running;
  element("copy-answer").hidden = exchange.text === "" && !exchange.running;
  writeOrHide("curl-note", "");
  showText(exchange);
  showNote(exchange);
  showFailure(exchange);
  showProgress(exchange);
}

/**
 * Updates the parts that change while the request runs.
 * @param {Exchange} exchange
 */
export function showProgress(exchange) {
  const parts = segments(exchange.account.stages, exchange.total, exchange.running);
  drawBar(element("stages-bar"), parts);
  drawLegend(element("stages-legend"), parts);
  const phase = PHASES[exchange.phase];
  writeOrHide("phase", phase ? `${phase} · ${clock(exchange.total)}` : "");
  element("answer").setAttribute("aria-busy", String(exchange.running));
  showFigures(exchange);
  if (exchange.running) showText(exchange);
}

/** @param {Exchange} exchange */
function showText(exchange) {
  const pretty = exchange.phase === "done" ? prettyJson(exchange.text) : null;
  const target = element("text");
  target.dataset.kind = pretty === null ? "prose" : "json";
  target.classList.toggle("growing", exchange.running);
  target.hidden = exchange.text === "" && !exchange.running;
  write("text", pretty ?? exchange.text);
}

/** Formats a JSON object or array with indents; null when the text is neither. */
function prettyJson(text) {
  if (!/^\s*[[{]/.test(text)) return null;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return null;
  }
}

/** @param {Exchange} exchange */
function showNote(exchange) {
  let note = "";
  if (exchange.phase === "stopped") {
    note = exchange.text === "" ? "Stopped before the first token." : "Stopped here.";
  } else if (exchange.phase === "done" && exchange.finishReason === "length") {
    note = "Cut off at this page's limit on the length of an answer.";
  } else if (exchange.phase === "done" && exchange.text === "") {
    note = "The model returned an empty answer.";
  } else if (exchange.phase === "done" && element("text").dataset.kind === "json") {
    note = "Valid JSON, formatted.";
  }
  writeOrHide("note", note);
}

/** @param {Exchange} exchange */
function showFailure(exchange) {
  const { failure } = exchange;
  element("failure").hidden = failure === null;
  if (failure === null) return;
  const { title, advice } = wordsFor(failure);
  write("failure-title", title);
  write("failure-message", failure.message);
  writeOrHide("failure-advice", advice);
  write("failure-code", failure.code);
  const status = failure.status > 0 ? `HTTP ${failure.status}` : "";
  write("failure-status", [status, failure.param ?? ""].filter(Boolean).join(" · "));
}

/** @param {Exchange} exchange */
function showFigures(exchange) {
  const { usage, account, identity } = exchange;
  // A refused request has no useful times and counts, only its id.
  const refused = exchange.failure !== null && exchange.text === "";
  for (const id of ["timeline", "times", "tokens"]) element(id).hidden = refused;
  write("first-token", milliseconds(exchange.firstToken));
  write("total", exchange.running ? UNKNOWN : milliseconds(exchange.total));
  write("speed", rate(exchange.speed));
  write("cache", account.cache ?? UNKNOWN);
  write("cache-note", CACHE_STATES[account.cache ?? ""] ?? "");
  write("tokens-prompt", count(usage.prompt_tokens));
  write("tokens-image", count(usage.prompt_tokens_details?.image_tokens));
  write("tokens-cached", count(usage.prompt_tokens_details?.cached_tokens));
  write("tokens-completion", count(usage.completion_tokens));
  write("model", identity.name || UNKNOWN);
  write("bundle", identity.bundle || UNKNOWN);
  write("request-id", exchange.requestId ?? UNKNOWN);
  element("copy-id").hidden = exchange.requestId === null;
}

/**
 * The text for screen readers when the request is over.
 * @param {Exchange} exchange
 */
export function spoken(exchange) {
  if (exchange.phase === "stopped") return "Stopped.";
  const parts = segments(exchange.account.stages, exchange.total, false);
  return `Answer: ${exchange.text} Took ${milliseconds(exchange.total)}: ${describe(parts)}.`;
}
