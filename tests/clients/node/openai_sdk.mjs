// The official `openai` package for Node.

import OpenAI from "openai";
import { zodFunction, zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

import { GREEN, KEY, MODEL, PDF, QUESTION, RED, TOOL_QUESTION, V1, add, check, collected, dataUrl, differ, main } from "./cases.mjs";

const client = new OpenAI({ baseURL: V1, apiKey: KEY, maxRetries: 0 });
const chat = client.chat.completions;
const Record = z.object({ category: z.string(), count: z.number().int() });
const Price = z.object({ product: z.string() });
const tool = {
  type: "function",
  function: {
    name: "price",
    description: "Looks up the price of a product.",
    parameters: { type: "object", properties: { product: { type: "string" } }, required: ["product"] },
  },
};

function ask(image) {
  const content = [{ type: "text", text: QUESTION }];
  if (image) content.unshift({ type: "image_url", image_url: { url: dataUrl(image) } });
  return [{ role: "user", content }];
}

const wanted = (fields) => chat.create({ model: MODEL, messages: ask(), ...fields });
const textOf = (answer) => answer.choices[0].message.content;

add("plain", "chat.completions.create", async () => {
  const answer = await wanted();
  check(textOf(answer) && answer.usage.total_tokens > 0, answer);
});

add("plain", "models.list", async () => {
  check((await collected(client.models.list())).some((model) => model.id === MODEL));
});

add("stream", "chat.completions.create({stream: true})", async () => {
  const chunks = await collected(await wanted({ stream: true, stream_options: { include_usage: true } }));
  const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
  check(text === textOf(await wanted()), text);
  check(chunks.at(-1).usage.completion_tokens > 0, chunks.at(-1));
});

add("stream", "chat.completions.stream", async () => {
  const stream = chat.stream({ model: MODEL, messages: ask() });
  check((await stream.finalContent()) === textOf(await wanted()));
});

add("image", "image_url part", async () => {
  differ([textOf(await wanted({ messages: ask(RED) })), textOf(await wanted({ messages: ask(GREEN) }))]);
});

add("documents", "file part with a PDF", async () => {
  const file = { filename: "page.pdf", file_data: `data:application/pdf;base64,${PDF}` };
  const content = [{ type: "file", file }, { type: "text", text: QUESTION }];
  check(textOf(await wanted({ messages: [{ role: "user", content }] })));
});

add("structured", "chat.completions.parse with Zod", async () => {
  const answer = await chat.parse({ model: MODEL, messages: ask(RED), response_format: zodResponseFormat(Record, "record") });
  Record.parse(answer.choices[0].message.parsed);
});

add("structured", "json_object", async () => {
  const answer = await wanted({ response_format: { type: "json_object" } });
  check(typeof JSON.parse(textOf(answer)) === "object", answer);
});

add("tools", "runTools", async () => {
  const seen = [];
  const price = { ...tool, function: { ...tool.function, parse: JSON.parse, function: ({ product }) => (seen.push(product), "25 EUR") } };
  const runner = chat.runTools({ model: MODEL, messages: [{ role: "user", content: TOOL_QUESTION }], tools: [price] });
  check(await runner.finalContent());
  check(seen.length > 0, seen);
});

add("tools", "results sent back", async () => {
  const first = await wanted({ tools: [tool], tool_choice: "required" });
  const { message, finish_reason: reason } = first.choices[0];
  check(reason === "tool_calls", first);
  const results = message.tool_calls.map((call) => {
    Price.parse(JSON.parse(call.function.arguments));
    return { role: "tool", tool_call_id: call.id, content: "25 EUR" };
  });
  check(textOf(await wanted({ messages: [...ask(), message, ...results], tools: [tool] })));
});

add("tools", "streamed, zodFunction (strict)", async () => {
  const stream = chat.stream({
    model: MODEL, messages: ask(), tools: [zodFunction({ name: "price", parameters: Price })], tool_choice: "required",
  });
  const final = await stream.finalChatCompletion();
  Price.parse(final.choices[0].message.tool_calls[0].function.parsed_arguments);
});

add("n", "n: 3", async () => {
  check((await wanted({ n: 3, temperature: 1 })).choices.length === 3);
});

add("logprobs", "logprobs: true, top_logprobs: 3", async () => {
  const [choice] = (await wanted({ logprobs: true, top_logprobs: 3 })).choices;
  const data = Buffer.from(choice.logprobs.content.flatMap((each) => each.bytes));
  check(data.toString() === choice.message.content, choice);
});

add("sampling", "penalties, logit_bias, top_k", async () => {
  const fields = { frequency_penalty: 0.5, presence_penalty: 0.5, logit_bias: { 5: -100 }, top_k: 5, temperature: 0.7 };
  check(textOf(await wanted(fields)));
});

add("reasoning", "reasoning_effort", async () => {
  check(textOf(await wanted({ reasoning_effort: "low" })));
});

add("unknown fields", "mood", async () => {
  const { data, response } = await wanted({ mood: "calm" }).withResponse();
  check(textOf(data) && response.headers.get("x-silkline-ignored") === "mood");
});

add("completions", "completions.create", async () => {
  const answer = await client.completions.create({ model: MODEL, prompt: "A red", max_tokens: 5 });
  check(answer.choices[0].text, answer);
});

add("responses", "responses.create, input_image", async () => {
  const texts = [];
  for (const image of [RED, GREEN]) {
    const content = [{ type: "input_text", text: QUESTION }, { type: "input_image", image_url: dataUrl(image) }];
    texts.push((await client.responses.create({ model: MODEL, input: [{ role: "user", content }] })).output_text);
  }
  differ(texts);
});

add("responses", "responses.stream", async () => {
  const stream = client.responses.stream({ model: MODEL, input: QUESTION });
  const kinds = (await collected(stream)).map((event) => event.type);
  check(kinds[0] === "response.created" && kinds.at(-1) === "response.completed", kinds);
  check((await stream.finalResponse()).output_text);
});

add("responses", "responses.parse with Zod", async () => {
  const answer = await client.responses.parse({ model: MODEL, input: QUESTION, text: { format: zodTextFormat(Record, "record") } });
  Record.parse(answer.output_parsed);
});

add("responses", "tools, results sent back", async () => {
  const tools = [{ type: "function", strict: false, ...tool.function }];
  const first = await client.responses.create({ model: MODEL, input: QUESTION, tools, tool_choice: "required" });
  const results = first.output
    .filter((item) => item.type === "function_call")
    .map((item) => ({ type: "function_call_output", call_id: item.call_id, output: "25 EUR" }));
  check(results.length, first);
  const input = [{ role: "user", content: QUESTION }, ...first.output, ...results];
  check((await client.responses.create({ model: MODEL, input, tools })).output_text);
});

await main("openai");
