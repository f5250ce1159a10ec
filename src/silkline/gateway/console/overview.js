/** Overview: live charts of traffic, latency, errors, cache and queue, and the replicas. */

import { Chart } from "./charts.js";
import { badge, h, table } from "./dom.js";
import { UNKNOWN, bytes, count, milliseconds, percent, perSecond } from "./format.js";
import { STAGES } from "./timeline.js";

/** @param {import("./admin.js").Context} context */
export function open({ live }) {
  const tiles = h("dl", { class: "tiles" });
  const models = h("div");
  const replicas = h("div");
  const charts = [
    new Chart("Requests a second", [
      { label: "answered", colour: "good", read: (point) => point.ok },
      { label: "refused", colour: "wait", read: (point) => point.refused },
      { label: "failed", colour: "bad", read: (point) => point.failed },
    ], perSecond),
    new Chart("Latency of a request", [
      { label: "median", colour: "accent", read: (point) => point.p50 },
      { label: "95%", colour: "queue", read: (point) => point.p95 },
    ], milliseconds),
    new Chart("Mean time by stage", STAGES.map((name) => (
      { label: name, colour: name, read: (point) => point.stages[name] }
    )), milliseconds),
    new Chart("Answers that needed no engine", [
      { label: "of all answers", colour: "cache", read: (point) => point.reused },
    ], percent),
    new Chart("Queue", [
      { label: "waiting", colour: "queue", read: (point) => point.waiting },
      { label: "running", colour: "generate", read: (point) => point.running },
      { label: "capacity", colour: "other", read: (point) => point.capacity },
    ], count),
    new Chart("Completion tokens a second", [
      { label: "tokens", colour: "generate", read: (point) => point.tokens },
    ], count),
  ];
  const element = h(
    "div",
    {},
    h("h1", {}, "Overview"),
    tiles,
    h("p", { class: "note" }, "The charts begin when this page is opened, and show the last five minutes. Latency, stages and shares are over ten seconds."),
    h("div", { class: "charts" }, ...charts.map((chart) => chart.element)),
    h("section", { class: "card" }, h("h2", {}, "Models"), models),
    h("section", { class: "card" }, h("h2", {}, "Replicas"), replicas),
  );
  return {
    element,
    update() {
      drawTiles(tiles, live.points.at(-1));
      for (const chart of charts) chart.draw(live.points);
      if (live.last) {
        models.replaceChildren(modelTable(live.last));
        replaceKeepingFocus(replicas, replicaTable(live.last));
      }
    },
  };
}

/** Replaces a table; one that has the focus, to be scrolled, keeps it. */
function replaceKeepingFocus(box, content) {
  const old = box.firstElementChild;
  const focused = old !== null && old === document.activeElement;
  const left = old?.scrollLeft ?? 0;
  box.replaceChildren(content);
  content.scrollLeft = left;
  if (focused) content.focus({ preventScroll: true });
}

function drawTiles(list, point) {
  const values = [
    ["Requests", point && perSecond(point.traffic), "a second"],
    ["Median", point && milliseconds(point.p50), "of a request"],
    ["95%", point && milliseconds(point.p95), "of a request"],
    ["Errors", point && percent(point.errorShare), "of all requests"],
    ["No engine", point && percent(point.reused), "of all answers"],
    ["Waiting", point && count(point.waiting), "in the queue"],
    ["Running", point && count(point.running), "on the engines"],
    ["Tokens", point && count(point.tokens), "a second"],
  ];
  list.replaceChildren(...values.map(([name, value, unit]) =>
    h("div", {}, h("dt", {}, name), h("dd", {}, value ?? UNKNOWN), h("dd", { class: "sub" }, unit))));
}

/** @param {import("./live.js").Snapshot} snapshot */
function modelTable(snapshot) {
  const rows = Object.entries(snapshot.queues).map(([name, queue]) => [
    name || UNKNOWN,
    snapshot.loaded[name] ? badge("loaded", "good") : badge("unloaded"),
    count(queue.waiting),
    `${count(queue.running)} of ${count(queue.capacity)}`,
    milliseconds(queue.predicted_wait_seconds),
    percent(queue.pixel_ratio),
  ]);
  return table("Models", ["Model", "State", "Waiting", "Running", "Predicted wait", "Pixel budget"], rows);
}

/** @param {import("./live.js").Snapshot} snapshot */
function replicaTable(snapshot) {
  const rows = Object.entries(snapshot.replicas).flatMap(([model, replicas]) =>
    Object.entries(replicas).map(([name, replica]) => [
      name,
      model || UNKNOWN,
      state(replica),
      `${count(replica.requests)} of ${count(replica.limit)}`,
      count(replica.given_requests),
      count(replica.errors),
      count(replica.restarts),
      percent(replica.kv_cache_ratio),
      replica.resident_bytes ? bytes(replica.resident_bytes) : UNKNOWN,
    ]));
  return table("Replicas", ["Replica", "Model", "State", "In flight", "Requests", "Errors", "Restarts", "KV cache", "Memory"], rows);
}

function state(replica) {
  if (replica.ejected) return badge("ejected", "bad");
  return replica.ready ? badge("ready", "good") : badge("not ready", "bad");
}
