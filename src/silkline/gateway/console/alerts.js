/** Alerts: conditions that this page evaluates itself from the live figures. */

import { badge, h, table } from "./dom.js";
import { clock, count, percent } from "./format.js";

const MIN_REQUESTS = 20;
const STUCK_SECONDS = 30;
const MIN_SAMPLES = 50;
const ERROR_SHARE = 0.05;
const FALSE_SHARE = 0.01;
const LONG_WAIT_SECONDS = 10;

/**
 * The conditions that hold now.
 * @param {import("./live.js").Live} live
 * @returns {{name: string, what: string}[]}
 */
export function firing({ snapshots, last }) {
  if (!last) return [];
  return [...modelAlerts(last), ...replicaAlerts(last), ...cacheAlerts(last), ...errorAlerts(snapshots[Math.max(0, snapshots.length - 61)], last)];
}

function* modelAlerts(last) {
  for (const [model, loaded] of Object.entries(last.loaded)) {
    const replicas = Object.values(last.replicas[model] ?? {});
    if (loaded && !replicas.some((replica) => replica.ready)) yield { name: "No replica is ready", what: `model ${model}` };
    const wait = last.queues[model]?.predicted_wait_seconds ?? 0;
    if (wait > LONG_WAIT_SECONDS) yield { name: "Long queue", what: `model ${model}: a wait of ${clock(wait)} is predicted` };
  }
}

function* replicaAlerts(last) {
  for (const [model, replicas] of Object.entries(last.replicas)) {
    for (const [name, replica] of Object.entries(replicas)) {
      if (replica.ejected) yield { name: "Replica ejected", what: `${name} of ${model}` };
      if ((replica.progress_age_seconds ?? 0) > STUCK_SECONDS && replica.engine_running > 0) {
        yield { name: "Engine stuck", what: `${name} of ${model}: no step for ${clock(replica.progress_age_seconds)}` };
      }
    }
  }
}

function* cacheAlerts(last) {
  for (const [name, tier] of Object.entries(last.tiers)) {
    if (tier.degraded) yield { name: "Cache tier fails", what: `${name}: its reads miss` };
  }
  const { samples = 0, false_hits: wrong = 0 } = last.near;
  if (samples >= MIN_SAMPLES && wrong / samples > FALSE_SHARE) {
    yield { name: "False hits of near duplicates", what: `${count(wrong)} of ${count(samples)} checked answers` };
  }
}

function* errorAlerts(before, last) {
  const grown = (wanted) => Object.entries(last.requests).filter(([code]) => wanted(code))
    .reduce((sum, [code, value]) => sum + value - (before.requests[code] ?? 0), 0);
  const all = grown(() => true);
  const failed = grown((code) => code >= "500");
  if (all >= MIN_REQUESTS && failed / all > ERROR_SHARE) {
    yield { name: "Many requests fail", what: `${percent(failed / all)} of ${count(all)} requests in the last ${clock(last.at - before.at)}` };
  }
}

/** @param {import("./admin.js").Context} context */
export function open({ announce }) {
  const listed = h("div");
  let drawn = "";
  return {
    element: h("div", {}, h("h1", {}, "Alerts"), h("section", { class: "card" }, listed),
      h("p", { class: "note" }, "This page evaluates these conditions from the live figures while it is open; it wakes nobody. For alerts that page someone, use rules in Prometheus.")),
    update(live) {
      const alerts = firing(live);
      const text = JSON.stringify(alerts);
      if (text === drawn) return;
      drawn = text;
      listed.replaceChildren(table("Alerts that fire", ["Alert", "What", "State"],
        alerts.map(({ name, what }) => [name, what, badge("firing", "bad")]), "Nothing fires."));
      announce(alerts.length === 0 ? "Nothing fires." : `Firing: ${alerts.map(({ name }) => name).join(", ")}.`);
    },
  };
}
