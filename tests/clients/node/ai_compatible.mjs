// The AI SDK with `@ai-sdk/openai-compatible`.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { z } from "zod";

import { addCases, addToolsAndForm } from "./ai_cases.mjs";
import { KEY, MODEL, V1, main } from "./cases.mjs";

const silkline = createOpenAICompatible({
  name: "silkline", baseURL: V1, apiKey: KEY, supportsStructuredOutputs: true, includeUsage: true,
});
const without = createOpenAICompatible({ name: "silkline", baseURL: V1, apiKey: KEY });

addCases(() => silkline(MODEL), "supportsStructuredOutputs", { seed: 1, frequencyPenalty: 0.5 });
addToolsAndForm(() => silkline(MODEL), "supportsStructuredOutputs");
// Without schemas it asks for JSON, and for its form in words: every object is the record.
addCases(() => without(MODEL), "defaults", {}, z.object({}).loose());

await main("@ai-sdk/openai-compatible");
