// The official `@anthropic-ai/sdk` package.

import Anthropic from "@anthropic-ai/sdk";

import { GREEN, KEY, MODEL, PDF, QUESTION, RED, URL, add, check, collected, differ, inBase64, main } from "./cases.mjs";

const client = new Anthropic({ baseURL: URL, apiKey: KEY, maxRetries: 0 });
const tool = {
  name: "price",
  description: "Looks up the price of a product.",
  input_schema: { type: "object", properties: { product: { type: "string" } }, required: ["product"] },
};

function ask(image) {
  const content = [{ type: "text", text: QUESTION }];
  if (image) content.unshift({ type: "image", source: { type: "base64", media_type: "image/jpeg", data: inBase64(image) } });
  return [{ role: "user", content }];
}

const wanted = (fields) => client.messages.create({ model: MODEL, max_tokens: 100, messages: ask(), ...fields });
const textOf = (message) => message.content.filter((block) => block.type === "text").map((block) => block.text).join("");

add("plain", "messages.create", async () => {
  const answer = await wanted({ system: "Be brief." });
  check(textOf(answer) && answer.usage.output_tokens > 0, answer);
});

add("plain", "models.list, messages.countTokens", async () => {
  check((await collected(client.models.list())).some((model) => model.id === MODEL));
  const counted = await client.messages.countTokens({ model: MODEL, messages: ask() });
  const { usage } = await wanted();
  check(counted.input_tokens === usage.input_tokens + usage.cache_read_input_tokens, counted);
});

add("stream", "messages.stream", async () => {
  const stream = client.messages.stream({ model: MODEL, max_tokens: 100, messages: ask() });
  check((await stream.finalText()) === textOf(await wanted()));
});

add("image", "base64 source", async () => {
  differ([textOf(await wanted({ messages: ask(RED) })), textOf(await wanted({ messages: ask(GREEN) }))]);
});

add("documents", "document block with a PDF", async () => {
  const source = { type: "base64", media_type: "application/pdf", data: PDF };
  const content = [{ type: "document", source }, { type: "text", text: QUESTION }];
  check(textOf(await wanted({ messages: [{ role: "user", content }] })));
});

add("tools", "streamed, results sent back", async () => {
  const fields = { model: MODEL, max_tokens: 100, tools: [tool] };
  const first = await client.messages.stream({ ...fields, messages: ask(), tool_choice: { type: "any" } }).finalMessage();
  check(first.stop_reason === "tool_use", first);
  const results = first.content
    .filter((block) => block.type === "tool_use")
    .map((block) => ({ type: "tool_result", tool_use_id: block.id, content: "25 EUR" }));
  const messages = [...ask(), { role: "assistant", content: first.content }, { role: "user", content: results }];
  check(textOf(await client.messages.create({ ...fields, messages })));
});

add("sampling", "top_k, top_p, stop_sequences", async () => {
  const stop = textOf(await wanted()).split(" ")[3];
  const answer = await wanted({ stop_sequences: [stop] });
  check(answer.stop_reason === "stop_sequence" && answer.stop_sequence === stop, answer);
  check(textOf(await wanted({ temperature: 0.7, top_k: 5, top_p: 0.9 })));
});

await main("@anthropic-ai/sdk");
