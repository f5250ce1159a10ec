// The cases of the AI SDK, which are the same for each of its providers.

import { Output, generateObject, generateText, stepCountIs, streamObject, streamText, tool } from "ai";
import { z } from "zod";

import { GREEN, QUESTION, RED, TOOL_QUESTION, add, check, collected, differ } from "./cases.mjs";

const RECORD = z.object({ category: z.string(), count: z.number().int() });

const ask = (image) => [
  { role: "user", content: [{ type: "text", text: QUESTION }, { type: "image", image }] },
];

const price = (seen) =>
  tool({
    description: "Looks up the price of a product.",
    inputSchema: z.object({ product: z.string() }),
    execute: async ({ product }) => (seen.push(product), `${product}: 25 EUR`),
  });

/**
 * Adds the cases of a model that `create` makes; `prefix` is what the user writes for it, `sampling`
 * the settings that it has. `record` is the schema of its structured output.
 */
export function addCases(create, prefix, sampling = {}, record = RECORD) {
  const given = { model: create(), maxRetries: 0 };
  const where = (way) => `${prefix}: ${way}`;

  add("plain", where("generateText"), async () => {
    const answer = await generateText({ ...given, prompt: QUESTION, instructions: "Be brief." });
    check(answer.text && answer.usage.totalTokens > 0 && answer.finishReason === "stop", answer);
  });

  add("stream", where("streamText"), async () => {
    const errors = [];
    const answer = streamText({ ...given, prompt: QUESTION, onError: ({ error }) => errors.push(error) });
    const text = (await collected(answer.textStream)).join("");
    if (errors.length) throw errors[0];
    check(text === (await generateText({ ...given, prompt: QUESTION })).text, text);
  });

  add("image", where("image part"), async () => {
    const texts = [];
    for (const image of [RED, GREEN]) texts.push((await generateText({ ...given, messages: ask(image) })).text);
    differ(texts);
  });

  add("structured", where("generateObject"), async () => {
    record.parse((await generateObject({ ...given, schema: record, messages: ask(RED) })).object);
  });

  add("structured", where("generateText with Output.object"), async () => {
    const output = Output.object({ schema: record });
    record.parse((await generateText({ ...given, output, messages: ask(RED) })).output);
  });

  add("structured", where("streamObject"), async () => {
    const errors = [];
    const answer = streamObject({ ...given, schema: record, prompt: QUESTION, onError: ({ error }) => errors.push(error) });
    const parts = await collected(answer.partialObjectStream);
    if (errors.length) throw errors[0];
    record.parse(parts.at(-1));
  });

  add("tools", where("generateText, several steps"), async () => {
    const seen = [];
    const answer = await generateText({
      ...given, prompt: QUESTION, tools: { price: price(seen) }, stopWhen: stepCountIs(3),
      prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? "required" : "none" }),
    });
    check(seen.length > 0 && answer.text, [seen, answer.text]);
  });

  add("tools", where("streamText, several steps"), async () => {
    const seen = [];
    const errors = [];
    const answer = streamText({
      ...given, prompt: QUESTION, tools: { price: price(seen) }, stopWhen: stepCountIs(3),
      prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? "required" : "none" }),
      onError: ({ error }) => errors.push(error),
    });
    const kinds = (await collected(answer.fullStream)).map((part) => part.type);
    if (errors.length) throw errors[0];
    check(seen.length > 0 && kinds.includes("tool-result") && (await answer.text), kinds);
  });

  add("sampling", where("temperature, topP, seed, ..."), async () => {
    const answer = await generateText({ ...given, prompt: QUESTION, temperature: 0.7, topP: 0.9, ...sampling });
    check(answer.text, answer);
  });
}

/** Adds a case for providers that send a schema beside tools, instead of making a tool of it. */
export function addToolsAndForm(create, prefix) {
  add("tools", `${prefix}: generateText with Output.object, several steps`, async () => {
    const seen = [];
    const answer = await generateText({
      model: create(), maxRetries: 0, prompt: TOOL_QUESTION, tools: { price: price(seen) },
      stopWhen: stepCountIs(3), output: Output.object({ schema: RECORD }),
    });
    RECORD.parse(answer.output);
    check(seen.length > 0, answer.output);
  });
}
