// The AI SDK with `@ai-sdk/openai`, whose models use Responses unless `.chat` is asked for.

import { createOpenAI } from "@ai-sdk/openai";
import { generateText } from "ai";

import { addCases, addToolsAndForm } from "./ai_cases.mjs";
import { KEY, MODEL, PDF, QUESTION, V1, add, check, main } from "./cases.mjs";

const openai = createOpenAI({ baseURL: V1, apiKey: KEY });

addCases(() => openai(MODEL), "openai(model)");
addToolsAndForm(() => openai(MODEL), "openai(model)");
addCases(() => openai.chat(MODEL), "openai.chat(model)", { seed: 1, presencePenalty: 0.5, frequencyPenalty: 0.5 });

add("documents", "openai(model): file part with a PDF", async () => {
  const file = { type: "file", data: PDF, mediaType: "application/pdf" };
  const messages = [{ role: "user", content: [{ type: "text", text: QUESTION }, file] }];
  check((await generateText({ model: openai(MODEL), maxRetries: 0, messages })).text);
});

add("logprobs", "openai.chat(model): logprobs", async () => {
  const providerOptions = { openai: { logprobs: 2 } };
  const answer = await generateText({ model: openai.chat(MODEL), maxRetries: 0, prompt: QUESTION, providerOptions });
  check(answer.providerMetadata.openai.logprobs?.length > 0, answer.providerMetadata);
});

add("completions", "openai.completion(model)", async () => {
  const answer = await generateText({ model: openai.completion(MODEL), maxRetries: 0, prompt: QUESTION });
  check(answer.text, answer);
});

await main("@ai-sdk/openai");
