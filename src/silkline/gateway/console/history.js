/** The list of this session's exchanges, newest first, to reopen and compare. */

import { wordsFor } from "./failure.js";
import { UNKNOWN, milliseconds } from "./format.js";
import { drawBar, segments } from "./timeline.js";

/** @typedef {import("./exchange.js").Exchange} Exchange */

const MAX_EXCHANGES = 20;

export class History {
  /** @type {Exchange[]} */
  #exchanges = [];
  /** @type {Exchange[]} the exchanges of the drawn rows, in order */
  #drawn = [];
  /** @type {Exchange | null} */
  #shown = null;

  /**
   * @param {{section: HTMLElement, list: HTMLElement, onOpen: (exchange: Exchange) => void}} parts
   */
  constructor({ section, list, onOpen }) {
    this.section = section;
    this.list = list;
    this.onOpen = onOpen;
  }

  /** @param {Exchange} exchange */
  add(exchange) {
    this.#exchanges.unshift(exchange);
    this.#exchanges.length = Math.min(this.#exchanges.length, MAX_EXCHANGES);
    this.open(exchange);
  }

  /** @param {Exchange} exchange */
  open(exchange) {
    this.#shown = exchange;
    this.draw();
  }

  /** The exchange in the answer panel. */
  get shown() {
    return this.#shown;
  }

  /** Draws the rows; the focused exchange keeps the focus. */
  draw() {
    const rows = [...this.list.children];
    const focused = this.#drawn[rows.findIndex((row) => row.contains(document.activeElement))];
    this.#drawn = [...this.#exchanges];
    const ended = this.#exchanges.filter((exchange) => !exchange.running);
    const scale = Math.max(...ended.map((exchange) => exchange.total), 0);
    this.section.hidden = this.#exchanges.length === 0;
    this.list.replaceChildren(...this.#exchanges.map((exchange) => this.#row(exchange, scale)));
    const row = focused && this.list.children[this.#drawn.indexOf(focused)];
    row?.querySelector("button")?.focus({ preventScroll: true });
  }

  /**
   * @param {Exchange} exchange
   * @param {number} scale seconds of the longest bar
   */
  #row(exchange, scale) {
    const button = document.createElement("button");
    button.type = "button";
    if (exchange === this.#shown) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => this.onOpen(exchange));
    button.append(thumbnail(exchange), words(exchange), measure(exchange, scale));
    const row = document.createElement("li");
    row.append(button);
    return row;
  }
}

/** @param {Exchange} exchange */
function thumbnail(exchange) {
  const address = exchange.picture.thumbnail;
  if (address !== null) {
    const image = document.createElement("img");
    image.src = address;
    image.alt = "";
    return image;
  }
  const box = span("thumbless", exchange.picture.source === "url" ? "URL" : "");
  box.setAttribute("aria-hidden", "true");
  return box;
}

/** @param {Exchange} exchange */
function words(exchange) {
  const box = span("words", "");
  box.append(span("question", exchange.question), span("reply", reply(exchange)));
  return box;
}

/** @param {Exchange} exchange */
function reply(exchange) {
  if (exchange.running) return "…";
  if (exchange.failure !== null && exchange.text === "") return wordsFor(exchange.failure).title;
  return exchange.text === "" ? UNKNOWN : exchange.text;
}

/**
 * @param {Exchange} exchange
 * @param {number} scale
 */
function measure(exchange, scale) {
  const box = span("measure", "");
  if (exchange.running) return box;
  if (exchange.text !== "" || exchange.failure === null) {
    const bar = span("stages", "");
    bar.setAttribute("aria-hidden", "true");
    drawBar(bar, segments(exchange.account.stages, exchange.total, false), scale);
    box.append(bar);
  }
  const state = exchange.failure?.code ?? (exchange.phase === "stopped" ? "stopped" : exchange.account.cache);
  const line = span("line", "");
  const badge = span("badge", state ?? "");
  badge.dataset.kind = exchange.phase;
  line.append(span("value", milliseconds(exchange.total)), badge);
  box.append(line);
  return box;
}

/**
 * @param {string} name
 * @param {string} text
 */
function span(name, text) {
  const box = document.createElement("span");
  box.className = name;
  box.textContent = text;
  if (name === "question" || name === "reply") box.dir = "auto";
  return box;
}
