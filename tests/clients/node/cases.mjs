// Runs the cases of a client's program, and prints the outcome of each as a line of JSON.
// See programs/cases.py, which does the same for Python: the environment and arguments are the same.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

export const URL = process.env.SILKLINE_URL;
export const V1 = `${URL}/v1`;
export const KEY = "none";
export const MODEL = "silkline-mini";
export const QUESTION = "Describe this product.";
// The fake engine calls a tool that is named in the question.
export const TOOL_QUESTION = "What does it cost? Ask price.";
export const RED = readFileSync(process.env.RED);
export const GREEN = readFileSync(process.env.GREEN);
export const PDF = process.env.PDF ?? "";

const cases = [];

/** Marks a function as a case: it throws if the client does not get what it asked for. */
export function add(feature, way, run) {
  cases.push({ feature, way, run });
}

/** Throws if the condition is false, with what was seen instead. */
export function check(condition, seen) {
  if (!condition) throw new Error(`seen: ${JSON.stringify(seen)}`.slice(0, 600));
}

export function inBase64(image) {
  return image.toString("base64");
}

export function dataUrl(image) {
  return `data:image/jpeg;base64,${inBase64(image)}`;
}

/** Two texts about two images, which must differ. */
export function differ(texts) {
  check(texts.every(Boolean) && new Set(texts).size === texts.length, texts);
}

export async function collected(parts) {
  const all = [];
  for await (const part of parts) all.push(part);
  return all;
}

/** The server's message, if the error is an answer with a status from 400 to 499. */
function refusal(error) {
  for (let each = error; each; each = each.cause ?? each.lastError) {
    const status = each.status ?? each.statusCode;
    if (status >= 400 && status < 500) {
      const body = each.responseBody ? JSON.parse(each.responseBody) : (each.error ?? {});
      return body.error?.message ?? body.message ?? each.message;
    }
  }
  return null;
}

/** Runs the cases that the command line chooses, and prints their outcomes. */
export async function main(name) {
  const { version } = createRequire(import.meta.url)(`./node_modules/${name}/package.json`);
  const chosen = process.argv.slice(2);
  for (const { feature, way, run } of cases) {
    if (chosen.length && !chosen.includes(feature)) continue;
    const line = { version, feature, way, outcome: "works", message: "" };
    try {
      await run();
    } catch (error) {
      const refused = refusal(error);
      line.outcome = refused === null ? "broken" : "refused";
      line.message = refused ?? String(error).slice(0, 2000);
      if (refused === null) console.error(error);
    }
    console.log(JSON.stringify(line));
  }
}
