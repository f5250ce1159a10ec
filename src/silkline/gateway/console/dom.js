/** Builds elements. Text is always a text node: data from the network is never parsed as markup. */

/**
 * @param {string} tag
 * @param {Record<string, any>} [attributes] functions are listeners, such as `click`; false and null
 *   leave an attribute out, true sets it without a value
 * @param {...(Node | string | number | null)} children
 * @returns {HTMLElement}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child !== null).map((child) => child instanceof Node ? child : String(child)));
  return element;
}

/**
 * A table in a box that scrolls by keyboard too.
 * @param {string} caption names the table for screen readers
 * @param {string[]} heads
 * @param {(Node | string | number | null)[][]} rows the first cell of each is its head
 * @param {string} [empty] shown without rows
 */
export function table(caption, heads, rows, empty = "None.") {
  if (rows.length === 0) return h("p", { class: "note" }, empty);
  return h(
    "div",
    { class: "scroll", role: "region", tabindex: 0, "aria-label": caption },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, ...heads.map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, ...rows.map(([head, ...cells]) =>
        h("tr", {}, h("th", { scope: "row" }, head), ...cells.map((cell) => h("td", {}, cell))))),
    ),
  );
}

/**
 * A list of names and values; values that are empty are left out.
 * @param {[string, Node | string | number | null | undefined][]} pairs
 */
export function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl", { class: "facts" }, ...known.map(([name, value]) =>
    h("div", {}, h("dt", {}, name), h("dd", {}, /** @type {Node | string} */ (value)))));
}

/**
 * A word with a colour that only supports it.
 * @param {string} text
 * @param {"good" | "bad" | "wait" | "plain"} kind
 */
export const badge = (text, kind = "plain") => h("span", { class: "badge", "data-kind": kind }, text);

/**
 * A button that asks once more before it acts.
 * @param {string} label
 * @param {string} question
 * @param {() => void} act
 */
export function carefulButton(label, question, act) {
  const button = h("button", { class: "button", type: "button" }, label);
  let timer = 0;
  const calm = () => {
    window.clearTimeout(timer);
    delete button.dataset.asking;
    button.textContent = label;
  };
  button.addEventListener("click", () => {
    if (button.dataset.asking) {
      calm();
      act();
    } else {
      button.dataset.asking = "yes";
      button.textContent = question;
      timer = window.setTimeout(calm, 5000);
    }
  });
  button.addEventListener("blur", calm);
  return button;
}
