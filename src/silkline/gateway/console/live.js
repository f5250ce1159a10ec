/**
 * The live figures: keeps the stream open while the page is visible, and turns snapshots of counters
 * into rates.
 *
 * @typedef {{at: number, requests: Record<string, number>, cache: Record<string, number>,
 *   errors: Record<string, number>, latency: Record<string, number>,
 *   stages: Record<string, [number, number]>, tokens: Record<string, number>,
 *   open_requests: number, queues: Record<string, Record<string, number>>,
 *   replicas: Record<string, Record<string, Record<string, number>>>,
 *   loaded: Record<string, boolean>, tiers: Record<string, Record<string, number>>,
 *   near: Record<string, number>, tenants: Record<string, Record<string, number>>}} Snapshot
 */

import { RequestFailure } from "./failure.js";

/** Snapshots that are kept: five minutes. */
const KEPT = 300;

/** Snapshots over which quantiles and means are taken; one second has too few requests. */
const WINDOW = 10;

const RETRY_MS = 2000;

export class Live {
  /** @type {Snapshot[]} oldest first */
  snapshots = [];
  /** @type {ReturnType<typeof derive>[]} one for each snapshot after the first */
  points = [];
  /** @type {AbortController | null} */
  #abort = null;
  #timer = 0;

  /**
   * @param {import("./api.js").Api} api
   * @param {(live: Live) => void} onSnapshot
   * @param {(failure: RequestFailure | null) => void} onState null while the stream runs
   */
  constructor(api, onSnapshot, onState) {
    this.api = api;
    this.onSnapshot = onSnapshot;
    this.onState = onState;
    document.addEventListener("visibilitychange", () => this.restart());
  }

  /** The newest snapshot; undefined before the first. */
  get last() {
    return this.snapshots.at(-1);
  }

  /** Opens the stream again, with the key of this moment; closes it while the page is hidden. */
  restart() {
    this.#abort?.abort();
    window.clearTimeout(this.#timer);
    if (!document.hidden) this.#run();
  }

  async #run() {
    const abort = new AbortController();
    this.#abort = abort;
    /** @type {RequestFailure} */
    let failure = new RequestFailure({ code: "unreachable" });
    try {
      for await (const snapshot of this.api.live(abort.signal)) {
        if (abort.signal.aborted) return;
        this.#take(snapshot);
        this.onState(null);
        this.onSnapshot(this);
      }
    } catch (error) {
      if (abort.signal.aborted) return;
      if (error instanceof RequestFailure) failure = error;
    }
    if (abort.signal.aborted) return;
    this.onState(failure);
    this.#timer = window.setTimeout(() => this.restart(), RETRY_MS);
  }

  /** @param {Snapshot} snapshot */
  #take(snapshot) {
    const before = this.last;
    if (before && restarted(before, snapshot)) this.snapshots = [];
    this.snapshots.push(snapshot);
    if (this.snapshots.length > 1) {
      const older = this.snapshots[Math.max(0, this.snapshots.length - 1 - WINDOW)];
      this.points.push(derive(/** @type {Snapshot} */ (before), snapshot, older));
    }
    if (this.snapshots.length > KEPT) this.snapshots.shift();
    if (this.points.length > KEPT) this.points.shift();
  }
}

const total = (values) => Object.values(values).reduce((sum, value) => sum + value, 0);

/** Whether the counters began anew between two snapshots, as after a restart. */
const restarted = (before, now) => total(now.requests) < total(before.requests);

/**
 * Rates and gauges between two snapshots; means and quantiles are over a longer window.
 * @param {Snapshot} before
 * @param {Snapshot} now
 * @param {Snapshot} older the start of the window
 */
export function derive(before, now, older) {
  const seconds = Math.max(0.001, now.at - before.at);
  const rate = (field, wanted) => grown(before[field], now[field], wanted) / seconds;
  const queues = Object.values(now.queues);
  const sum = (name) => queues.reduce((all, queue) => all + (queue[name] ?? 0), 0);
  const answered = grown(older.cache, now.cache);
  const reused = grown(older.cache, now.cache, (state) => ["hit", "near", "coalesced"].includes(state));
  return {
    at: now.at,
    traffic: rate("requests"),
    ok: rate("requests", (code) => code < "400"),
    refused: rate("requests", (code) => code >= "400" && code < "500"),
    failed: rate("requests", (code) => code >= "500"),
    errorShare: share(grown(older.errors, now.errors), grown(older.requests, now.requests)),
    p50: quantile(older.latency, now.latency, 0.5),
    p95: quantile(older.latency, now.latency, 0.95),
    stages: Object.fromEntries(Object.entries(now.stages).map(([name, [spent, count]]) => {
      const [spentBefore, countBefore] = older.stages[name] ?? [0, 0];
      return [name, share(spent - spentBefore, count - countBefore)];
    })),
    tokens: rate("tokens", (kind) => kind === "completion"),
    reused: share(reused, answered),
    waiting: sum("waiting"),
    running: sum("running"),
    capacity: sum("capacity"),
    open: now.open_requests,
  };
}

/** How much counters grew, of those whose name is wanted. */
function grown(before, now, wanted = () => true) {
  return Object.entries(now)
    .filter(([name]) => wanted(name))
    .reduce((sum, [name, value]) => sum + value - (before[name] ?? 0), 0);
}

/** A share; null of nothing. */
const share = (part, whole) => (whole > 0 ? part / whole : null);

/**
 * A quantile from histogram buckets, interpolated within its bucket; null without requests.
 * @param {Record<string, number>} before
 * @param {Record<string, number>} now
 * @param {number} wanted 0 to 1
 */
export function quantile(before, now, wanted) {
  const bounds = Object.keys(now)
    .map((text) => ({ bound: text === "+Inf" ? Infinity : Number(text), count: now[text] - (before[text] ?? 0) }))
    .sort((one, other) => one.bound - other.bound);
  const all = bounds.at(-1)?.count ?? 0;
  if (all <= 0) return null;
  let low = 0;
  let below = 0;
  for (const { bound, count } of bounds) {
    if (count >= wanted * all) {
      if (bound === Infinity) return low;
      return low + ((bound - low) * (wanted * all - below)) / Math.max(1e-9, count - below);
    }
    low = bound;
    below = count;
  }
  return low;
}
