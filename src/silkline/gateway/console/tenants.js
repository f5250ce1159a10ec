/** Tenants and keys: names, limits, roles and expiry, and what each tenant sent; never a secret. */

import { badge, h, table } from "./dom.js";
import { UNKNOWN, count, duration, moment } from "./format.js";

const DAY = 86_400;

/** @param {import("./admin.js").Context} context */
export function open({ api, attempt, live }) {
  const listed = h("div");
  let tenants = [];
  const draw = () => listed.replaceChildren(tenantTable(tenants, live.last?.tenants ?? {}));
  const note = h("p", { class: "note" });
  attempt(async () => {
    const found = await api.json("admin/tenants");
    tenants = found.tenants;
    note.textContent = found.keys
      ? "silkline key NAME --into FILE adds a key; the server reads the keys file again when it changes."
      : "This server has no keys: all requests are those of the tenant anyone.";
    draw();
  });
  return {
    element: h("div", {}, h("h1", {}, "Tenants and keys"), h("section", { class: "card" }, listed), note),
    // Redrawn only when it has no focus: a table that is scrolled by keyboard stays.
    update: () => listed.contains(document.activeElement) || draw(),
  };
}

function tenantTable(tenants, counted) {
  return table(
    "Tenants",
    ["Tenant", "Weight", "Requests a minute", "Tokens a minute", "Paths", "Keys", "Content kept", "Admitted", "Refused"],
    tenants.map((tenant) => {
      const { admitted = 0, ...refused } = counted[tenant.name] ?? {};
      return [
        tenant.name,
        tenant.weight,
        limit(tenant.requests_per_minute),
        limit(tenant.tokens_per_minute),
        tenant.paths.join(" "),
        keys(tenant.keys),
        tenant.content_seconds === null ? "no" : duration(tenant.content_seconds),
        count(admitted),
        Object.entries(refused).map(([reason, times]) => `${reason} ${count(times)}`).join(", ") || "0",
      ];
    }),
    "The keys file has no tenants.",
  );
}

const limit = (value) => (value === null ? "no limit" : count(value));

function keys(found) {
  if (found.length === 0) return UNKNOWN;
  return h("ul", { class: "badges" }, ...found.map(({ role, expires }) => {
    const left = expires === null ? Infinity : expires - Date.now() / 1000;
    const kind = left < 0 ? "bad" : left < 14 * DAY ? "wait" : "plain";
    const end = expires === null ? "" : left < 0 ? ", expired" : `, until ${moment(expires).slice(0, 10)}`;
    return h("li", {}, badge(`${role}${end}`, kind));
  }));
}
