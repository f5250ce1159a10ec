/** Models: what each can do, what its gate found, and loading and removing models. */

import { badge, carefulButton, facts, h } from "./dom.js";
import { count, moment } from "./format.js";

/** States that end by themselves: the list is read again until they have. */
const CHANGING = ["starting", "draining"];
const POLL_MS = 1000;
const VERDICTS = { passed: "good", refused: "bad" };

/** @param {import("./admin.js").Context} context */
export function open({ api, attempt, announce }) {
  const listed = h("div", { class: "cards" });
  let timer = 0;
  let closed = false;
  const load = () => attempt(async () => {
    const [{ models }, { data }] = await Promise.all([api.json("admin/models"), api.json("v1/models").catch(() => ({ data: [] }))]);
    const known = new Map(data.map((model) => [model.id, model]));
    listed.replaceChildren(...models.map((model) => card(model, known.get(model.name), remove)));
    window.clearTimeout(timer);
    if (!closed && models.some(({ state }) => CHANGING.includes(state))) timer = window.setTimeout(load, POLL_MS);
  });
  const remove = (name) => attempt(async () => {
    announce(`${name} is being removed.`);
    await api.send(`admin/models/${encodeURIComponent(name).replaceAll("%2F", "/")}`, { method: "DELETE" });
    announce(`${name} is removed; it finishes its requests.`);
    await load();
  });
  const name = h("input", { id: "model-name", name: "name", required: true, autocomplete: "off", spellcheck: "false" });
  const source = h("input", { id: "model-source", name: "model", required: true, autocomplete: "off", spellcheck: "false" });
  const add = h("button", { class: "button primary", type: "submit" }, "Load");
  const form = h("form", { class: "filters", "aria-label": "Load a model", submit: async (event) => {
    event.preventDefault();
    if (add.getAttribute("aria-disabled") === "true") return;
    add.setAttribute("aria-disabled", "true");
    add.textContent = "Loading";
    announce("The model is being loaded.");
    await attempt(async () => {
      const body = { name: value(name), model: value(source) };
      await api.send("admin/models", { method: "POST", body });
      announce(`${body.name} is loaded.`);
      /** @type {HTMLFormElement} */ (form).reset();
    });
    add.removeAttribute("aria-disabled");
    add.textContent = "Load";
    await load();
  } },
  h("div", {}, h("label", { for: "model-name" }, "Name in the API"), name),
  h("div", {}, h("label", { for: "model-source" }, "Folder or hub id"), source), add);
  load();
  return {
    element: h("div", {}, h("h1", {}, "Models"), listed,
      h("section", { class: "card" }, h("h2", {}, "Load a model"), form,
        h("p", { class: "note" }, "Only models that the setting allowed_models names can be loaded. The response comes when the model has started."))),
    close: () => {
      closed = true;
      window.clearTimeout(timer);
    },
  };
}

const value = (input) => input.value.trim();

function card(model, info, remove) {
  const state = model.state === "serving" && model.ready ? "good" : model.state === "starting" ? "wait" : model.state === "unloaded" ? "plain" : "bad";
  return h("section", { class: "card" },
    h("h2", {}, model.name || "unnamed", " ", badge(model.state, state), " ", model.default ? badge("default") : null),
    facts([
      ["Engine", info ? `${info.engine}${info.path ? ` (${info.path})` : ""}` : model.engine],
      ["Revision", info?.revision ?? model.revision],
      ["Precision", info?.precision ?? model.precision],
      ["Requests", count(model.requests)],
      ["Context", info && `${count(info.context_length)} tokens`],
      ["Image", info && `${count(info.image_tokens)} tokens, ${count(info.pixel_budget.max_pixels)} pixels`],
      ["Aliases", info?.aliases.join(", ")],
      ["Source", model.settings.model],
    ]),
    info ? capabilities(info) : null,
    info ? gate(info.gate, model.name) : null,
    model.state === "draining" ? null : carefulButton("Unload", `Really unload ${model.name}?`, () => remove(model.name)));
}

function capabilities(info) {
  return h("div", {}, h("h3", {}, "Capabilities"), h("ul", { class: "badges" },
    ...Object.entries(info.capabilities).filter(([, has]) => has).map(([name]) => h("li", {}, badge(name.replaceAll("_", " "), "good"))),
    ...info.features.filter((name) => !(name in info.capabilities)).map((name) => h("li", {}, badge(name)))));
}

function gate(found, name) {
  if (found === null) return h("p", { class: "note" }, "No gate was run for this model.");
  return h("div", { class: "gate" }, h("h3", {}, "Gate ", badge(found.verdict, VERDICTS[found.verdict] ?? "wait")),
    facts([
      ["Gated", moment(Date.parse(found.gated_at) / 1000)],
      ["On", found.gated_on],
      ["Against", found.baseline],
      ["Data", `${found.dataset}, ${count(found.items)} items`],
      ["Report", h("a", { href: `admin/gates/${encodeURI(name)}`, target: "_blank" }, "the whole report")],
    ]),
    h("ul", { class: "findings" }, ...found.requirements.map((each) =>
      h("li", {}, badge(each.verdict, VERDICTS[each.verdict] ?? "wait"), " ", each.requirement, each.reason ? h("span", { class: "sub" }, ` ${each.reason}`) : null))));
}
