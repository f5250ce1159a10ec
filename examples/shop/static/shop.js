// Everything works without this file; it adds the theme's button and the editor's keys.
const root = document.documentElement;
const button = document.querySelector("#theme");
const isDark = () =>
  (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
const show = () => button.setAttribute("aria-pressed", String(isDark()));
button.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  localStorage.setItem("shop-theme", root.dataset.theme);
  show();
});
show();

const items = [...document.querySelectorAll(".item")];
let current = -1;
const go = (index) => {
  current = Math.max(0, Math.min(items.length - 1, index));
  items[current]?.focus({ preventScroll: true });
  items[current]?.scrollIntoView({ block: "nearest" });
};
items.forEach((item, index) => item.addEventListener("focusin", () => { current = index; }));
const press = (decision) => items[Math.max(0, current)]?.querySelector(`form.row [value="${decision}"]`)?.click();
const keys = {
  j: () => go(current + 1),
  k: () => go(current - 1),
  a: () => press("accept"),
  t: () => press("table"),
  i: () => press("image"),
  e: () => {
    const details = items[Math.max(0, current)]?.querySelector("details");
    if (!details) return;
    details.open = true;
    details.querySelector("input").focus();
  },
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea")) return;
  const action = items.length ? keys[event.key.toLowerCase()] : undefined;
  if (!action) return;
  event.preventDefault();
  action();
});
