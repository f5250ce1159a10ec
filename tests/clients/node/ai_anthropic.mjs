// The AI SDK with `@ai-sdk/anthropic`.

import { createAnthropic } from "@ai-sdk/anthropic";

import { addCases } from "./ai_cases.mjs";
import { KEY, MODEL, V1, main } from "./cases.mjs";

const anthropic = createAnthropic({ baseURL: V1, apiKey: KEY });

addCases(() => anthropic(MODEL), "anthropic(model)", { topK: 5, topP: undefined });

await main("@ai-sdk/anthropic");
