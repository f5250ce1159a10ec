/** Drift: windows of traffic beside their baseline, and the runs of the canary set. */

import { badge, h, table } from "./dom.js";
import { count, moment, percent, plural } from "./format.js";

const STATES = ["same", "first", "unsteady", "changed", "failed", "skipped"];
const WRONG = ["changed", "failed"];

/** @param {import("./admin.js").Context} context */
export function open({ api, attempt, announce }) {
  const traffic = h("div");
  const canary = h("div");
  attempt(async () => {
    const found = await api.json("admin/drift");
    traffic.replaceChildren(...windows(found.drift));
    canary.replaceChildren(...runs(found.canary_set));
    announce("The state of drift is loaded.");
  });
  return {
    element: h("div", {}, h("h1", {}, "Drift"),
      h("section", { class: "card" }, h("h2", {}, "Traffic beside the baseline"), traffic),
      h("section", { class: "card" }, h("h2", {}, "Canary set"), canary)),
  };
}

const note = (text) => h("p", { class: "note" }, text);

function windows(models) {
  if (models.length === 0) return [note("No baseline: the command silkline baseline takes one, the setting drift_baseline names it.")];
  return models.flatMap((one) => [
    h("h3", {}, one.model),
    note(`Baseline of ${plural(one.baseline.requests, "computed answer")}, taken ${moment(one.baseline.at)}.`),
    one.window === null
      ? note(`No window has ended; the open one has ${plural(one.open_requests, "answer")}.`)
      : findings(one),
  ]);
}

function findings({ model, window }) {
  const rows = Object.entries(window.findings).sort(([, a], [, b]) => b.index / b.limit - a.index / a.limit);
  return table(`Last window of ${model}: ${plural(window.requests, "answer")}, ended ${moment(window.at)}`,
    ["Feature", "State", "Index", "Limit", "Moved most", "Before", "Now"],
    rows.map(([name, one]) => {
      const [bin, before, now] = one.moved[0];
      return [name, one.index > one.limit ? badge("drifts", "bad") : badge("as before", "good"),
        one.index.toFixed(3), one.limit.toFixed(3), bin, percent(before), percent(now)];
    }), "The window has too few values.");
}

function runs(canary) {
  if (canary === null) return [note("No canary set: the setting canary_data names one.")];
  if (canary.runs.length === 0) return [note(`${plural(canary.items, "item")}, not asked yet.`)];
  return canary.runs.flatMap((run) => {
    const wrong = run.replies.filter((reply) => WRONG.includes(reply.state));
    return [
      table(`Runs on ${run.served}`, ["Begun", "Score", ...STATES],
        [[moment(run.at), run.score === null ? "–" : `${percent(run.score)} ${run.metric}`,
          ...STATES.map((state) => count(run.replies.filter((reply) => reply.state === state).length))]]),
      wrong.length === 0 ? note("No answer changed.") : table("Answers that are not as before",
        ["Item", "State", "Answer", "Expected"],
        wrong.map((reply) => [reply.item, badge(reply.state, "bad"), reply.answer, reply.expected])),
    ];
  });
}
