/** Sends requests to the gateway: the one place that calls fetch for its API. */

import { RequestFailure, failureFromResponse } from "./failure.js";

/** The URL of a gateway path, also when the gateway is served below a path prefix. */
export const endpoint = (path) => new URL(path, document.baseURI).href;

/**
 * Returns the response with a status below 400. Aborting the signal throws an AbortError; every
 * other failure is a RequestFailure.
 *
 * @param {string} path without a slash at its start
 * @param {{key?: string, method?: string, body?: object, signal?: AbortSignal}} [options]
 *   key: the API key, empty without one; body: sent as JSON
 * @returns {Promise<Response>}
 */
export async function send(path, { key = "", method = "GET", body, signal } = {}) {
  /** @type {Record<string, string>} */
  const headers = key === "" ? {} : { authorization: `Bearer ${key}` };
  if (body !== undefined) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(endpoint(path), {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      signal,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new RequestFailure({ code: "unreachable" });
  }
  if (!response.ok) throw await failureFromResponse(response);
  return response;
}
