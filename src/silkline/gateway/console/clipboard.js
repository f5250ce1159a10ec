/** Copying, also where the page is served over plain HTTP and the clipboard API is missing. */

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
      // Not allowed in this context; the older way may be.
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
 * Copies and says so on the button for a moment.
 * @param {HTMLElement} button its last span carries its label; without one its name is told only
 * @param {string} text
 * @param {(message: string) => void} announce
 */
export async function copyFrom(button, text, announce) {
  const copied = await copyText(text);
  const message = copied ? "Copied" : "Copying failed";
  announce(message);
  button.dataset.copied = copied ? "yes" : "no";
  const label = button.querySelector("span");
  const usual = label?.dataset.usual ?? label?.textContent ?? "";
  if (label) {
    label.dataset.usual = usual;
    label.textContent = message;
  }
  window.setTimeout(() => {
    delete button.dataset.copied;
    if (label) label.textContent = usual;
  }, 1600);
}
