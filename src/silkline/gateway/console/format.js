/** Formats numbers for display. A value that is not known becomes an en dash. */

export const UNKNOWN = "–";

const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const oneDecimal = new Intl.NumberFormat("en-US", {
  minimumFractionDigits: 1,
  maximumFractionDigits: 1,
});

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** Seconds as milliseconds, one decimal below 10 ms: "0.4 ms", "84 ms", "1,240 ms". */
export function milliseconds(seconds) {
  if (!isNumber(seconds)) return UNKNOWN;
  const value = seconds * 1000;
  return `${value < 9.95 ? oneDecimal.format(value) : grouped.format(value)} ms`;
}

/** Elapsed seconds: "1.2 s". */
export function clock(seconds) {
  return `${oneDecimal.format(seconds)} s`;
}

/** A whole number with group separators. */
export function count(value) {
  return isNumber(value) ? grouped.format(value) : UNKNOWN;
}

/** Tokens per second: "92.4 tok/s". */
export function rate(value) {
  if (!isNumber(value)) return UNKNOWN;
  return `${value < 99.95 ? oneDecimal.format(value) : grouped.format(value)} tok/s`;
}

/** Bytes with decimal units, as file managers show them: "82 kB". */
export function bytes(value) {
  if (value < 1000) return `${value} B`;
  if (value < 999_500) return `${grouped.format(value / 1000)} kB`;
  if (value < 999_950_000) return `${oneDecimal.format(value / 1_000_000)} MB`;
  return `${oneDecimal.format(value / 1_000_000_000)} GB`;
}

/** A share of 1 as a percentage: "0.4%", "37%". */
export function percent(share) {
  if (!isNumber(share)) return UNKNOWN;
  const value = share * 100;
  return `${value !== 0 && value < 9.95 ? oneDecimal.format(value) : grouped.format(value)}%`;
}

/** How often a second: "0.4", "1,240". */
export function perSecond(value) {
  if (!isNumber(value)) return UNKNOWN;
  return value !== 0 && value < 9.95 ? oneDecimal.format(value) : grouped.format(value);
}

/** A moment as local date and time: "2026-11-30 19:02:11". */
export function moment(unixSeconds) {
  if (!isNumber(unixSeconds)) return UNKNOWN;
  const date = new Date(unixSeconds * 1000);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19).replace("T", " ");
}

/** A number of things: "1 message", "3 messages". */
export const plural = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;

/** Whole days, hours, minutes or seconds, whichever is the largest that fits: "7 days". */
export function duration(seconds) {
  const [unit, word] = [[86_400, "day"], [3600, "hour"], [60, "minute"]].find(([size]) => seconds >= size && seconds % size === 0) ?? [1, "second"];
  return plural(seconds / unit, word);
}
