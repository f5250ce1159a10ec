/** Copies text, also over plain HTTP, where browsers have no clipboard API. */

/**
 * @param {string} text
 * @returns {Promise<boolean>} whether it was copied
 */
export async function copyText(text) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // Not allowed in this context; the older API may be.
    }
  }
  return copyBySelection(text);
}

/** @param {string} text */
function copyBySelection(text) {
  const focused = document.activeElement;
  const area = document.createElement("textarea");
  area.className = "unseen";
  area.value = text;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  if (focused instanceof HTMLElement) focused.focus();
  return copied;
}

/**
 * Copies the text, and shows the result on the button for 1.6 seconds.
 * @param {HTMLElement} button its span holds its label; without one the result is only announced
 * @param {string} text
 * @param {(message: string) => void} announce
 */
export async function copyFrom(button, text, announce) {
  const copied = await copyText(text);
  const message = copied ? "Copied" : "Copying failed";
  announce(message);
  button.dataset.copied = copied ? "yes" : "no";
  const label = button.querySelector("span");
  const original = label?.dataset.original ?? label?.textContent ?? "";
  if (label) {
    label.dataset.original = original;
    label.textContent = message;
  }
  window.setTimeout(() => {
    delete button.dataset.copied;
    if (label) label.textContent = original;
  }, 1600);
}
