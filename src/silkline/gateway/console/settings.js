/** Settings in force: the value of each, and where it came from. */

import { h, table } from "./dom.js";
import { plural } from "./format.js";

/** @param {import("./admin.js").Context} context */
export function open({ api, attempt, announce }) {
  /** @type {any[]} */
  let settings = [];
  const listed = h("div");
  const words = /** @type {HTMLInputElement} */ (h("input", { id: "setting-words", type: "search", autocomplete: "off", input: () => draw() }));
  const set = /** @type {HTMLInputElement} */ (h("input", { id: "setting-set", type: "checkbox", change: () => draw() }));
  const draw = () => {
    const wanted = words.value.trim().toLowerCase();
    const rows = settings.filter((row) => (!set.checked || row.source !== "default") &&
      `${row.section} ${row.name} ${row.description}`.toLowerCase().includes(wanted));
    listed.replaceChildren(table("Settings", ["Setting", "Value", "From", "Default", "Meaning"],
      rows.map((row) => [
        `${row.section}.${row.name}`, h("code", {}, shown(row.value)), row.source, h("code", {}, shown(row.default)), row.description,
      ]), "No setting matches."));
    announce(`${plural(rows.length, "setting")}.`);
  };
  attempt(async () => {
    ({ settings } = await api.json("admin/settings"));
    draw();
  });
  return {
    element: h("div", {}, h("h1", {}, "Settings in force"),
      h("form", { class: "card filters", "aria-label": "Filters", submit: (event) => event.preventDefault() },
        h("div", {}, h("label", { for: "setting-words" }, "Contains"), words),
        h("div", { class: "check" }, set, h("label", { for: "setting-set" }, "Only those that are set"))),
      h("section", { class: "card" }, listed),
      h("p", { class: "note" }, "Users and passwords of URLs, and values that are named like a secret, are masked. With several gateway processes these are the settings of one of them.")),
  };
}

const shown = (value) => (typeof value === "string" ? value || '""' : JSON.stringify(value));
