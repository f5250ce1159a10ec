/** Cache: what the answer cache did, its tiers, and near duplicates. */

import { Chart } from "./charts.js";
import { badge, facts, h, table } from "./dom.js";
import { UNKNOWN, bytes, count, percent } from "./format.js";

const STATES = {
  hit: "from the cache",
  near: "from the cache, for a near duplicate",
  coalesced: "shared with an identical request in flight",
  miss: "computed and cached",
  bypass: "not cacheable, or refused",
};

/** @param {import("./admin.js").Context} context */
export function open({ live }) {
  const states = h("div");
  const tiers = h("div");
  const near = h("div");
  const chart = new Chart("Answers that needed no engine", [
    { label: "of all answers", colour: "cache", read: (point) => point.reused },
  ], percent);
  return {
    element: h("div", {}, h("h1", {}, "Cache"), chart.element,
      h("section", { class: "card" }, h("h2", {}, "Requests so far"), states),
      h("section", { class: "card" }, h("h2", {}, "Tiers"), tiers),
      h("section", { class: "card" }, h("h2", {}, "Near duplicates"), near)),
    update() {
      if (!live.last) return;
      chart.draw(live.points);
      if (document.activeElement?.matches(".scroll")) return;
      states.replaceChildren(stateTable(live.last.cache));
      tiers.replaceChildren(tierTable(live.last.tiers));
      near.replaceChildren(nearFacts(live.last.near));
    },
  };
}

function stateTable(cache) {
  const all = Object.values(cache).reduce((sum, value) => sum + value, 0);
  return table("Requests by what the cache did", ["Cache", "Meaning", "Requests", "Share"],
    Object.keys(STATES).map((state) => [state, STATES[state], count(cache[state] ?? 0), percent(all && (cache[state] ?? 0) / all)]));
}

function tierTable(tiers) {
  return table("Tiers", ["Tier", "State", "Hits", "Misses", "Corrupt or stale", "Answers", "Bytes", "Evictions", "Errors", "Writes dropped"],
    Object.entries(tiers).map(([name, tier]) => [
      name,
      tier.degraded ? badge("fails", "bad") : badge("works", "good"),
      count(tier.hit), count(tier.miss), count((tier.corrupt ?? 0) + (tier.stale ?? 0)),
      count(tier.entries), tier.bytes === undefined ? UNKNOWN : bytes(tier.bytes),
      count(tier.evictions), count(tier.errors), count(tier.writes_dropped),
    ]), "The cache is off.");
}

function nearFacts(near) {
  if (Object.keys(near).length === 0) return h("p", { class: "note" }, "Off: the setting near_duplicates turns them on.");
  return facts([
    ["Images in the index", count(near.entries)],
    ["Answers reused", count(near.hits)],
    ["Checked by computing", count(near.samples)],
    ["Of these wrong", `${count(near.false_hits)} (${percent(near.samples ? near.false_hits / near.samples : NaN)})`],
  ]);
}
