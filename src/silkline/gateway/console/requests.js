/** Requests: search in the request history, and what happened to one request. */

import { badge, carefulButton, facts, h, table } from "./dom.js";
import { bytes, count, milliseconds, moment, plural } from "./format.js";
import { describe, drawBar, drawLegend, readStages, segments } from "./timeline.js";

const REASONS = {
  only: "no other replica could take it",
  affinity: "the replica of its first image",
  overflow: "the replica of its first image had its share",
  load: "fewer requests in flight",
  trial: "to find out whether the replica works again",
};

const FILTERS = [
  ["id", "Request id", "text"],
  ["tenant", "Tenant", "text"],
  ["model", "Model", "text"],
  ["error", "Error code", "text"],
  ["slow", "At least seconds", "number"],
  ["since", "Since", "text", "10m, 2h, 1d"],
];

/** @param {import("./admin.js").Context} context */
export function open(context) {
  return context.rest === "" ? list(context) : detail(context);
}

/** @param {import("./admin.js").Context} context */
function list({ api, attempt, announce }) {
  const results = h("div", { "aria-live": "off" });
  const older = h("button", { class: "button", type: "button", hidden: true, click: () => find(true) }, "Older requests");
  const onlyErrors = h("input", { type: "checkbox", id: "filter-failed" });
  const form = h(
    "form",
    { class: "filters", "aria-label": "Filters", submit: (event) => { event.preventDefault(); find(false); } },
    ...FILTERS.map(([name, label, type, placeholder]) =>
      h("div", {}, h("label", { for: `filter-${name}` }, label),
        h("input", { id: `filter-${name}`, name, type, autocomplete: "off", spellcheck: "false", placeholder: placeholder ?? null, ...(type === "number" ? { min: 0, step: "any" } : {}) }))),
    h("div", { class: "check" }, onlyErrors, h("label", { for: "filter-failed" }, "Only errors")),
    h("button", { class: "button primary", type: "submit" }, "Find"),
  );
  let rows = [];
  let next = null;

  const find = (more) => attempt(async () => {
    const wanted = new URLSearchParams();
    for (const input of form.querySelectorAll("input[name]")) {
      const field = /** @type {HTMLInputElement} */ (input);
      if (field.value.trim() !== "") wanted.set(field.name, field.value.trim());
    }
    if (/** @type {HTMLInputElement} */ (onlyErrors).checked && !wanted.has("error")) wanted.set("error", "");
    if (more) wanted.set("cursor", next);
    const page = await api.json(`admin/requests?${wanted}`);
    rows = more ? [...rows, ...page.requests] : page.requests;
    next = page.next;
    older.hidden = next === null;
    results.replaceChildren(resultTable(rows));
    announce(`${plural(rows.length, "request")}.`);
  });

  find(false);
  return {
    element: h("div", {}, h("h1", {}, "Requests"),
      h("section", { class: "card" }, form),
      h("section", { class: "card", id: "found" }, results, older)),
  };
}

function resultTable(entries) {
  return table(
    "Requests",
    ["Request", "Arrived", "Tenant", "Model", "Outcome", "Cache", "Time", "Stages"],
    entries.map((entry) => [
      h("a", { href: `#requests/${encodeURIComponent(entry.id)}` }, entry.id),
      moment(entry.at),
      entry.tenant,
      entry.model,
      outcome(entry),
      entry.cache,
      milliseconds(entry.seconds),
      bar(entry),
    ]),
    "No request found.",
  );
}

const outcome = (entry) =>
  entry.error ? badge(`${entry.status} ${entry.error}`, "bad") : badge(String(entry.status), "good");

function bar(entry) {
  const box = h("span", { class: "stages", "aria-hidden": "true" });
  drawBar(box, segments(readStages(entry.timeline), entry.seconds, false));
  return box;
}

/** @param {import("./admin.js").Context} context */
function detail({ api, attempt, announce, rest }) {
  const body = h("div", { class: "stack" });
  /** @type {string[]} */
  const addresses = [];
  const path = `admin/requests/${encodeURIComponent(rest)}`;
  attempt(async () => {
    const entry = await api.json(path);
    body.replaceChildren(...sections(entry, remove));
    announce(`Request ${entry.id}, ${entry.error || "answered"}.`);
    if (entry.content) body.append(await contentSection(api, path, entry, addresses));
  });
  const remove = () => attempt(async () => {
    await api.send(path, { method: "DELETE" });
    announce("The request is deleted.");
    window.location.hash = "#requests";
  });
  return {
    element: h("div", {}, h("h1", {}, "Request ", h("span", { class: "id" }, rest)),
      h("p", {}, h("a", { href: "#requests" }, "All requests")), body),
    close: () => addresses.forEach((address) => URL.revokeObjectURL(address)),
  };
}

function sections(entry, remove) {
  const parts = segments(readStages(entry.timeline), entry.seconds, false);
  const stages = h("div", { class: "stages", role: "img", "aria-label": describe(parts) });
  const legend = h("ul", { class: "legend" });
  drawBar(stages, parts);
  drawLegend(legend, parts);
  const { asked, usage } = entry;
  return [
    h("section", { class: "card" }, h("h2", {}, "What happened"), facts([
      ["Outcome", outcome(entry)],
      ["Reason", entry.reason],
      ["Answer", entry.answer],
      ["Arrived", moment(entry.at)],
      ["Time", milliseconds(entry.seconds)],
      ["First token", entry.first_token_seconds === null ? "" : milliseconds(entry.first_token_seconds)],
      ["Route", `${entry.method} ${entry.path}`],
      ["Tenant", entry.tenant || "none: its key was refused"],
      ["Model", entry.model],
      ["Cache", entry.cache],
      ["Finished by", entry.finish.join(", ")],
      ["Ignored fields", entry.ignored.join(", ")],
      ["Idempotency key", entry.keyed ? "yes" : ""],
    ]), carefulButton("Delete from the history", "Really delete?", remove)),
    h("section", { class: "card" }, h("h2", {}, "Where the time went"), stages, legend),
    h("section", { class: "card" }, h("h2", {}, "Replicas"), table(
      "Attempts", ["Attempt", "Replica", "Why", "Waited", "Took", "Ended"],
      entry.attempts.map((attempt, index) => [
        index + 1, attempt.replica, REASONS[attempt.reason] ?? attempt.reason,
        milliseconds(attempt.waited_seconds), milliseconds(attempt.seconds ?? NaN),
        attempt.error ? badge(attempt.error, "bad") : badge("answered", "good"),
      ]),
      entry.error ? "It was refused before it reached a replica." : "No engine worked for it.")),
    h("section", { class: "card" }, h("h2", {}, "Sizes"), facts([
      ["Body", `${bytes(entry.received_bytes)} received, ${bytes(entry.sent_bytes)} sent`],
      ["Prompt tokens", `${count(usage.prompt_tokens)}, of which ${count(usage.image_tokens)} of images and ${count(usage.cached_tokens)} cached`],
      ["Completion tokens", count(usage.completion_tokens)],
      ["Question", asked && `${plural(asked.messages, "message")}, ${plural(asked.characters, "character")}, at most ${plural(asked.max_tokens, "token")}`],
      ["Answers", asked && `${asked.choices}${asked.stream ? ", streamed" : ""}`],
    ]), imageTable(entry)),
  ];
}

function imageTable(entry) {
  return table("Images", ["Image", "Sent as", "Original", "Budget", "Digest"], entry.images.map((image, index) => [
    index + 1, entry.asked?.images[index] ?? "", `${count(image.original_pixels)} pixels`,
    entry.pixel_budgets[index] ? `${count(entry.pixel_budgets[index])} pixels` : "", image.digest.slice(0, 16),
  ]), "No images, or they were not loaded.");
}

/** The messages, images and answers of a request whose tenant's content is retained. */
async function contentSection(api, path, entry, addresses) {
  const content = await api.json(`${path}/content`);
  const images = await Promise.all(content.images.map(async ({ index }) => {
    const address = await api.objectUrl(`${path}/images/${index}`);
    addresses.push(address);
    return h("figure", {}, h("img", { src: address, alt: `Image ${index + 1} of the request, as the model saw it` }),
      h("figcaption", {}, `Image ${index + 1}`));
  }));
  const messages = content.messages.map((message) => h("div", { class: "message" },
    h("h3", {}, message.role),
    h("p", { class: "text", dir: "auto" }, message.parts.map((part) =>
      "text" in part ? part.text : `[image ${part.index + 1}]`).join("\n"))));
  const answers = content.answers.map((answer, index) => h("div", { class: "message" },
    h("h3", {}, content.answers.length > 1 ? `answer ${index + 1}` : "answer"),
    answer.reasoning ? h("p", { class: "text note", dir: "auto" }, answer.reasoning) : null,
    h("p", { class: "text", dir: "auto" }, answer.text)));
  return h("section", { class: "card", id: "retained" }, h("h2", {}, "Content"),
    h("p", { class: "note" }, `Kept because the tenant ${entry.tenant} has its content retained.`),
    h("div", { class: "images" }, ...images), ...messages, ...answers);
}
