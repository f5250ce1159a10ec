/** The difference between two texts, word by word. */

/** Words beyond this are compared as one: the time grows with the product of both lengths. */
const MAX_WORDS = 2000;

/**
 * Words with the white space after them; those of both texts that are not in their longest common
 * subsequence differ.
 * @param {string} left
 * @param {string} right
 * @returns {{left: {text: string, differs: boolean}[], right: {text: string, differs: boolean}[]}}
 */
export function difference(left, right) {
  const [a, b] = [words(left), words(right)];
  const lengths = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      lengths[i][j] = same(a[i], b[j]) ? lengths[i + 1][j + 1] + 1 : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
    }
  }
  const found = { left: a.map((text) => ({ text, differs: true })), right: b.map((text) => ({ text, differs: true })) };
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    if (same(a[i], b[j])) found.left[i++].differs = found.right[j++].differs = false;
    else if (lengths[i + 1][j] >= lengths[i][j + 1]) i++;
    else j++;
  }
  return found;
}

function words(text) {
  const found = text.match(/\s*\S+\s*/g) ?? [];
  if (found.length <= MAX_WORDS) return found;
  return [...found.slice(0, MAX_WORDS - 1), found.slice(MAX_WORDS - 1).join("")];
}

const same = (one, other) => one.trim() === other.trim();
