/** Experiments: state, traffic by arm, intervals, decisions, and the steps that a person takes. */

import { Chart } from "./charts.js";
import { badge, carefulButton, facts, h, table } from "./dom.js";
import { UNKNOWN, count, moment, percent } from "./format.js";

const POLL_MS = 2000;

const STATES = {
  split: ["both models answer", "wait"],
  paused: ["paused: the model answers", "plain"],
  model: ["the model answers", "bad"],
  candidate: ["the candidate answers", "good"],
};

/** Each step: its label, its question, and the states in which it can be taken. */
const STEPS = {
  promote: ["Promote", (one) => `Really let ${one.candidate} answer everything?`, ["split", "paused", "model"]],
  rollback: ["Roll back", (one) => `Really let ${one.model} answer everything?`, ["split", "paused", "candidate"]],
  pause: ["Pause", (one) => `Really pause ${one.name}?`, ["split"]],
  resume: ["Resume", (one) => `Really resume ${one.name}?`, ["paused"]],
  restart: ["Begin again", (one) => `Really begin ${one.name} again?`, ["model", "candidate"]],
};

const signed = (value) => `${value > 0 ? "+" : ""}${value.toFixed(3)}`;
const ratio = (value) => value.toFixed(3);

/** @param {import("./admin.js").Context} context */
export function open({ api, attempt, announce }) {
  const listed = h("div", { class: "stack" }, note("The experiments are being read."));
  /** @type {Map<string, Card>} */
  const cards = new Map();
  let timer = 0;
  let closed = false;
  const path = (name) => `admin/experiments/${encodeURIComponent(name)}`;
  const take = (name, step) => attempt(async () => {
    const found = await api.json(path(name), { method: "POST", body: { step } });
    cards.get(name)?.show(found);
    announce(`${name}: ${found.reason}`);
  });
  const load = async () => {
    window.clearTimeout(timer);
    if (!document.hidden) {
      await attempt(async () => {
        const { experiments } = await api.json("admin/experiments");
        const found = await Promise.all(experiments.map(({ name }) => api.json(path(name))));
        if (!closed) show(found);
      });
    }
    if (!closed) timer = window.setTimeout(load, POLL_MS);
  };
  const show = (found) => {
    const names = found.map(({ name }) => name);
    if (names.join() !== [...cards.keys()].join() || names.length === 0) {
      cards.clear();
      for (const name of names) cards.set(name, new Card((step) => take(name, step), announce));
      listed.replaceChildren(...names.length === 0
        ? [note("No experiment: a table [experiments.NAME] of the settings declares one.")]
        : [...cards.values()].map((card) => card.element));
    }
    for (const one of found) cards.get(one.name)?.show(one);
  };
  load();
  return {
    element: h("div", {}, h("h1", {}, "Experiments"), listed),
    close: () => {
      closed = true;
      window.clearTimeout(timer);
    },
  };
}

const note = (text) => h("p", { class: "note" }, text);

/** One experiment; its elements stay while its figures change, so that nothing loses the focus. */
class Card {
  #head = h("h2");
  #reason = h("p");
  #facts = h("div");
  #buttons = h("div", { class: "row" });
  #arms = h("div");
  #charts = h("div", { class: "charts" });
  #decisions = h("div");
  /** @type {{chart: Chart, key: string}[]} */
  #drawn = [];
  #serving = "";
  #text = "";

  /**
   * @param {(step: string) => void} take
   * @param {(text: string) => void} announce
   */
  constructor(take, announce) {
    this.take = take;
    this.announce = announce;
    this.element = h("section", { class: "card experiment" }, this.#head, this.#reason, this.#facts,
      this.#buttons, this.#arms, this.#charts, this.#decisions);
  }

  show(found) {
    const { at: _, ...rest } = found;
    const text = JSON.stringify(rest);
    if (text === this.#text) return;
    this.#text = text;
    const [state, kind] = STATES[found.serving];
    this.#head.replaceChildren(`${found.name} `, badge(state, kind));
    this.#reason.textContent = found.reason;
    this.#facts.replaceChildren(describe(found));
    if (found.serving !== this.#serving) this.#offer(found);
    if (!this.element.contains(document.activeElement) || !document.activeElement?.matches(".scroll")) {
      this.#arms.replaceChildren(arms(found));
      this.#decisions.replaceChildren(decisions(found));
    }
    this.#draw(found);
  }

  /** The buttons for what can be done in this state. */
  #offer(found) {
    if (this.#serving !== "") this.announce(`${found.name}: ${STATES[found.serving][0]}.`);
    this.#serving = found.serving;
    const hadFocus = this.#buttons.contains(document.activeElement);
    this.#buttons.replaceChildren(...Object.entries(STEPS)
      .filter(([, [, , states]]) => states.includes(found.serving))
      .map(([step, [label, question]]) => carefulButton(label, question(found), () => this.take(step))));
    if (hadFocus) /** @type {HTMLElement} */ (this.#buttons.firstElementChild)?.focus();
  }

  #draw(found) {
    if (this.#drawn.length === 0) {
      this.#drawn = metrics(found.settings).map(({ key, title, limit, format }) => ({ key, chart: chart(key, title, limit, format) }));
    }
    const shown = this.#drawn.map(({ key, chart }) => ({ chart, points: found.course.filter((point) => point[key] !== null) }))
      .filter(({ points }) => points.length > 1);
    const elements = shown.length === 0 ? [note("Too few requests for an interval.")] : shown.map(({ chart }) => chart.element);
    if (elements.length !== this.#charts.childElementCount || elements[0] !== this.#charts.firstElementChild) {
      this.#charts.replaceChildren(...elements);
    }
    for (const { chart, points } of shown) chart.draw(points);
  }
}

function describe({ model, candidate, share, settings, expectation, evidence }) {
  return facts([
    ["Compares", `${candidate} with ${model}`],
    ["Share of the candidate", percent(share)],
    ["Assigned by", settings.unit],
    ["Decides", settings.decides === "person" ? "a person" : "the evidence"],
    ["Expected", expectation.told],
    ["Split of the arms", evidence.split.evidence > evidence.split.limit ? "unequal: nothing is concluded" : "even"],
  ]);
}

function arms({ name, evidence }) {
  return table(`Arms of ${name}`, ["Arm", "Requests", "Failed", "Feedback", "Mean reward", "P99"],
    Object.entries(evidence.arms).map(([arm, one]) => [
      arm, count(one.requests), count(one.failures), count(one.rewards),
      one.rewards > 0 ? one.mean_reward.toFixed(3) : UNKNOWN,
      evidence.p99_seconds[arm] ? `${evidence.p99_seconds[arm].estimate.toFixed(2)} s` : UNKNOWN,
    ]));
}

function decisions({ name, decisions: taken }) {
  return table(`Decisions of ${name}`, ["Decided", "Then", "Share", "By", "Why", "Requests: control, candidate"],
    taken.map(({ at, serving, share, by, reason, evidence }) => [
      moment(at), STATES[serving][0], percent(share), by, reason,
      `${count(evidence.arms.control.requests)}, ${count(evidence.arms.candidate.requests)}`,
    ]).reverse());
}

/** What is drawn: the key of a point, the limit that must be kept, and how values are written. */
function metrics({ goal, latency_margin: slower, max_failures: failures, reward_margin: loss }) {
  return [
    { key: "gain", title: "Reward: candidate minus control", limit: goal === "better" ? 0 : -loss, format: signed },
    { key: "latency", title: "Latency: candidate over control", limit: 1 + slower, format: ratio },
    { key: "failures", title: "Failed requests of the candidate", limit: failures, format: percent },
  ];
}

function chart(key, title, limit, format) {
  return new Chart(title, [
    { label: "high", colour: "prefill", read: (point) => point[key].high },
    { label: "low", colour: "prefill", read: (point) => point[key].low },
    { label: "estimate", colour: "accent", read: (point) => point[key].estimate },
    { label: "accepted", colour: "bad", read: () => limit, dash: [7, 4] },
  ], format, {
    at: (point) => point.requests,
    tick: count,
    isTime: false,
    band: [0, 1],
    range: (points) => {
      const settled = points.slice(Math.floor(points.length / 4)).map((point) => point[key]);
      const low = Math.min(limit, ...settled.map((one) => one.low));
      const high = Math.max(limit, ...settled.map((one) => one.high));
      const room = (high - low || 1) * 0.08;
      return [low - room, high + room];
    },
  });
}
