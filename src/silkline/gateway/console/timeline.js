/**
 * The timeline of a request: the stages that the gateway reports, and the bar that shows them.
 *
 * @typedef {Record<string, number>} Stages seconds by stage; a stage that did not happen is absent
 * @typedef {{name: string, seconds: number}} Segment
 */

import { UNKNOWN, milliseconds } from "./format.js";

/** The stages, in the order in which a request passes them. */
export const STAGES = ["fetch", "decode", "resize", "cache", "queue", "prefill", "generate"];

/** The time outside all stages: the network, the gateway, this page. */
const REST = "other";
const RUNNING = "running";

/** Seconds to flex factors: factors that sum to less than 1 would not fill the bar. */
const GROWTH = 1000;

/** A rest below this (seconds) is the resolution of the clocks, not time spent elsewhere. */
const MIN_REST = 0.0005;

/**
 * The known stages in an object of seconds by name; ignores everything else.
 * @param {unknown} timeline
 * @returns {Stages}
 */
export function readStages(timeline) {
  /** @type {Stages} */
  const stages = {};
  for (const name of STAGES) {
    const seconds = /** @type {any} */ (timeline)?.[name];
    if (typeof seconds === "number" && Number.isFinite(seconds) && seconds >= 0) {
      stages[name] = seconds;
    }
  }
  return stages;
}

/**
 * The known stages in a Server-Timing header, whose durations are milliseconds.
 * @param {string | null} header
 * @returns {Stages}
 */
export function readServerTiming(header) {
  /** @type {Record<string, number>} */
  const seconds = {};
  for (const entry of (header ?? "").split(",")) {
    const [name, ...parameters] = entry.split(";").map((part) => part.trim());
    const duration = parameters.find((part) => /^dur\s*=/i.test(part));
    if (name && duration) {
      seconds[name] = Number(duration.split("=")[1].trim().replaceAll('"', "")) / 1000;
    }
  }
  return readStages(seconds);
}

/** Seconds of all stages together. */
export const sum = (stages) => Object.values(stages).reduce((total, seconds) => total + seconds, 0);

/**
 * The segments of a bar: the stages that happened, then the rest of the total.
 * @param {Stages} stages
 * @param {number} total seconds
 * @param {boolean} running whether the request is still running
 * @returns {Segment[]}
 */
export function segments(stages, total, running) {
  const parts = STAGES.filter((name) => name in stages).map((name) => ({
    name,
    seconds: stages[name],
  }));
  const rest = total - sum(stages);
  if (rest > MIN_REST) parts.push({ name: running ? RUNNING : REST, seconds: rest });
  return parts;
}

/**
 * Draws the bar. Its width is its share of the scale (seconds); without a scale it is full.
 * @param {HTMLElement} bar
 * @param {Segment[]} parts
 * @param {number} [scale]
 */
export function drawBar(bar, parts, scale) {
  const total = parts.reduce((seconds, part) => seconds + part.seconds, 0);
  while (bar.children.length > parts.length) bar.lastElementChild?.remove();
  parts.forEach((part, index) => {
    const box = bar.children[index] ?? bar.appendChild(document.createElement("span"));
    const segment = /** @type {HTMLElement} */ (box);
    segment.dataset.stage = part.name;
    segment.style.flexGrow = String(part.seconds * GROWTH);
  });
  bar.style.width = scale ? `${Math.max(1, Math.min(100, (100 * total) / scale))}%` : "";
}

/**
 * Lists every stage with its time, including those that did not happen.
 * @param {HTMLElement} list
 * @param {Segment[]} parts
 */
export function drawLegend(list, parts) {
  const known = new Map(parts.map((part) => [part.name, part.seconds]));
  const names = [...STAGES, known.has(RUNNING) ? RUNNING : REST];
  names.forEach((name, index) => {
    const item = /** @type {HTMLElement} */ (list.children[index] ?? newLegendItem(list));
    const [label, value] = item.children;
    item.dataset.stage = name;
    item.classList.toggle("absent", !known.has(name));
    label.textContent = name;
    value.textContent = known.has(name) ? milliseconds(known.get(name)) : UNKNOWN;
  });
}

/** @param {HTMLElement} list */
function newLegendItem(list) {
  const item = document.createElement("li");
  const value = document.createElement("span");
  value.className = "value";
  item.append(document.createElement("span"), value);
  return list.appendChild(item);
}

/**
 * Describes the bar in words for screen readers.
 * @param {Segment[]} parts
 */
export function describe(parts) {
  return parts.map((part) => `${part.name} ${milliseconds(part.seconds)}`).join(", ");
}
