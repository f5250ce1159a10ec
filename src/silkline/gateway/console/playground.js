/** Playground: two models answer the same question about the same picture, side by side. */

import { difference } from "./difference.js";
import { facts, h } from "./dom.js";
import { Exchange } from "./exchange.js";
import { RequestFailure, wordsFor } from "./failure.js";
import { UNKNOWN, count, milliseconds, rate } from "./format.js";
import { endpoint } from "./gateway.js";
import { PictureProblem, pictureFromFile, samplePicture } from "./picture.js";
import { chatBody } from "./request.js";
import { chat } from "./stream.js";

const SIDES = ["left", "right"];

/** @param {import("./admin.js").Context} context */
export function open({ api, attempt, announce }) {
  /** @type {import("./picture.js").Picture | null} */
  let picture = null;
  /** @type {AbortController | null} */
  let running = null;

  const problem = h("p", { class: "problem", role: "alert" });
  const preview = /** @type {HTMLImageElement} */ (h("img", { alt: "The picture to ask about", hidden: true, class: "preview" }));
  const file = /** @type {HTMLInputElement} */ (h("input", { type: "file", accept: "image/*", id: "play-file", change: () => file.files?.[0] && take(() => pictureFromFile(/** @type {File} */ (file.files?.[0]), "file")) }));
  const sample = h("button", { class: "button", type: "button", click: () => take(() => samplePicture(endpoint("sample.jpg"))) }, "Use the sample picture");
  const question = /** @type {HTMLTextAreaElement} */ (h("textarea", { id: "play-question", rows: 2, required: true }));
  const choices = SIDES.map((side) => /** @type {HTMLSelectElement} */ (h("select", { id: `play-${side}` })));
  const ask = h("button", { class: "button primary", type: "submit" }, "Ask both");
  const panels = SIDES.map((side, index) => new Panel(side, index));
  const summary = h("p", { class: "note", id: "play-summary" });

  const take = async (make) => {
    problem.textContent = "";
    try {
      picture = await make();
      if (preview.src) URL.revokeObjectURL(preview.src);
      preview.src = URL.createObjectURL(/** @type {Blob} */ (picture?.blob));
      preview.hidden = false;
    } catch (error) {
      if (!(error instanceof PictureProblem)) throw error;
      problem.textContent = error.message;
    }
  };
  const run = async () => {
    if (running !== null) return;
    if (picture === null) {
      problem.textContent = "Choose a picture first.";
      file.focus();
      return;
    }
    problem.textContent = summary.textContent = "";
    running = new AbortController();
    const { signal } = running;
    ask.setAttribute("aria-disabled", "true");
    announce("Both models are asked.");
    const chosen = picture;
    const exchanges = await Promise.all(panels.map((panel, index) =>
      panel.run(new Exchange(chosen, question.value, api.key() !== ""), choices[index].value, api.key(), signal)));
    running = null;
    ask.removeAttribute("aria-disabled");
    if (!signal.aborted) announce(summary.textContent = compare(panels, exchanges));
  };
  attempt(async () => {
    const { data } = await api.json("v1/models");
    choices.forEach((choice, index) => {
      choice.replaceChildren(...data.map((model) => h("option", { value: model.id }, model.id)));
      choice.selectedIndex = Math.min(index, data.length - 1);
    });
  });
  const form = h("form", { class: "card play", "aria-label": "Question", submit: (event) => { event.preventDefault(); run(); } },
    h("div", {}, h("label", { for: "play-file" }, "Picture"), file, sample, problem, preview),
    h("div", {}, h("label", { for: "play-question" }, "Question"), question,
      h("div", { class: "row" }, ...choices.map((choice, index) =>
        h("div", { class: "choice" }, h("label", { for: choice.id }, index === 0 ? "Left model" : "Right model"), choice))),
      ask));
  return {
    element: h("div", {}, h("h1", {}, "Playground"), form, summary, h("div", { class: "sides" }, ...panels.map((panel) => panel.element))),
    close: () => running?.abort(),
  };
}

/** One side: its answer while it streams, then with the words that differ marked. */
class Panel {
  /**
   * @param {string} side
   * @param {number} index
   */
  constructor(side, index) {
    this.title = h("h2", {}, index === 0 ? "Left" : "Right");
    this.text = h("p", { class: "text", dir: "auto" });
    this.figures = h("div");
    this.element = h("section", { class: "card", id: `side-${side}` }, this.title, this.text, this.figures);
  }

  /** Asks the model, and returns the ended exchange. */
  async run(exchange, model, key, signal) {
    this.title.textContent = model;
    this.text.textContent = "";
    this.figures.replaceChildren();
    exchange.model = model;
    try {
      const body = chatBody({ model, pictureUrl: await exchange.picture.asUrl(), question: exchange.question });
      exchange.start();
      for await (const event of chat(body, { key, signal })) {
        exchange.take(event);
        if (event.type === "text") this.text.textContent = exchange.text;
      }
      exchange.end("done");
    } catch (error) {
      if (signal.aborted) exchange.end("stopped");
      else if (error instanceof RequestFailure) exchange.fail(error);
      else throw error;
    }
    this.#show(exchange);
    return exchange;
  }

  #show(exchange) {
    const { failure } = exchange;
    if (failure !== null) this.text.textContent = `${wordsFor(failure).title}. ${failure.message}`;
    this.figures.replaceChildren(facts([
      ["First token", milliseconds(exchange.firstToken)],
      ["Total", milliseconds(exchange.total)],
      ["Speed", rate(exchange.speed)],
      ["Tokens", `${count(exchange.usage.prompt_tokens)} prompt, ${count(exchange.usage.completion_tokens)} completion`],
      ["Cache", exchange.account.cache ?? UNKNOWN],
      ["Request", exchange.requestId && h("a", { href: `#requests/${encodeURIComponent(exchange.requestId)}` }, exchange.requestId)],
    ]));
  }

  /** @param {{text: string, differs: boolean}[]} words */
  mark(words) {
    this.text.replaceChildren(...words.map(({ text, differs }) => differs ? h("mark", {}, text) : document.createTextNode(text)));
  }
}

/** Marks the words that differ; returns what is to be said about them. */
function compare(panels, [left, right]) {
  if (left.failure !== null || right.failure !== null) return "Not compared: a model gave no answer.";
  const found = difference(left.text, right.text);
  panels[0].mark(found.left);
  panels[1].mark(found.right);
  const differing = (words) => words.filter(({ differs }) => differs).length;
  const counts = [differing(found.left), differing(found.right)];
  if (counts[0] + counts[1] === 0) return "Both answers are the same, word by word.";
  return `Marked are the words that differ: ${counts[0]} of ${found.left.length} on the left, ${counts[1]} of ${found.right.length} on the right.`;
}
