/**
 * Sends one chat request, and reads its streamed answer.
 *
 * @typedef {import("./timeline.js").Stages} Stages
 * @typedef {{cache?: string, model?: string, stages: Stages}} Account
 * @typedef {{prompt_tokens?: number, completion_tokens?: number,
 *   prompt_tokens_details?: {cached_tokens?: number, image_tokens?: number} | null}} Usage
 * @typedef {{type: "open", requestId: string | null, account: Account}
 *   | {type: "text", text: string}
 *   | {type: "finish", reason: string}
 *   | {type: "usage", usage: Usage, account: Account}} StreamEvent
 */

import { RequestFailure, failureFromBody } from "./failure.js";
import { send } from "./gateway.js";
import { events } from "./sse.js";
import { readServerTiming, readStages } from "./timeline.js";

/**
 * Sends a streaming chat request. Aborting the signal closes the connection and throws an
 * AbortError; every other failure is a RequestFailure.
 *
 * @param {object} body the request as JSON
 * @param {{key: string, signal: AbortSignal}} options
 * @returns {AsyncGenerator<StreamEvent, void, void>}
 */
export async function* chat(body, { key, signal }) {
  const response = await send("v1/chat/completions", { method: "POST", body, key, signal });
  const requestId = response.headers.get("x-request-id");
  yield { type: "open", requestId, account: accountFromHeaders(response.headers) };
  if (!response.headers.get("content-type")?.startsWith("text/event-stream") || !response.body) {
    throw new RequestFailure({ code: "not_a_stream", status: response.status, requestId });
  }
  try {
    for await (const event of events(response.body)) {
      if (event.event === "message" && event.data === "[DONE]") return;
      const chunk = parseData(event.data, requestId);
      if (event.event === "error") throw failureFromBody(chunk, { status: 0, requestId });
      yield* readChunk(chunk);
    }
  } catch (error) {
    if (error instanceof RequestFailure || signal.aborted) throw error;
    throw new RequestFailure({ code: "stream_cut", requestId });
  }
  throw new RequestFailure({ code: "stream_cut", requestId });
}

/** @returns {Account} */
function accountFromHeaders(headers) {
  return {
    cache: headers.get("x-silkline-cache") ?? undefined,
    model: headers.get("x-silkline-model") ?? undefined,
    stages: readServerTiming(headers.get("server-timing")),
  };
}

function parseData(data, requestId) {
  try {
    return JSON.parse(data);
  } catch {
    throw new RequestFailure({ code: "stream_unreadable", requestId });
  }
}

/** @returns {Generator<StreamEvent, void, void>} */
function* readChunk(chunk) {
  const choice = chunk?.choices?.[0];
  const text = choice?.delta?.content;
  if (typeof text === "string" && text !== "") yield { type: "text", text };
  if (typeof choice?.finish_reason === "string") {
    yield { type: "finish", reason: choice.finish_reason };
  }
  if (chunk?.usage || chunk?.silkline) {
    const extra = chunk.silkline ?? {};
    yield {
      type: "usage",
      usage: chunk.usage ?? {},
      account: { cache: extra.cache, model: extra.model, stages: readStages(extra.timeline) },
    };
  }
}
