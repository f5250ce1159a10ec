/** Calls the admin API. Every failure is a RequestFailure. */

import { RequestFailure, failureFromResponse } from "./failure.js";
import { events } from "./sse.js";
import { authorization, endpoint } from "./stream.js";

export class Api {
  /** @param {() => string} key returns the API key; empty without one */
  constructor(key) {
    this.key = key;
  }

  /**
   * @param {string} path without a slash at its start
   * @param {{method?: string, body?: object, signal?: AbortSignal}} [options]
   * @returns {Promise<Response>}
   */
  async send(path, { method = "GET", body, signal } = {}) {
    const headers = authorization(this.key());
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

  /** The JSON body of the response; parameters as of `send`. */
  async json(path, options) {
    return (await this.send(path, options)).json();
  }

  /** The body as an object URL, which the caller revokes. */
  async objectUrl(path) {
    return URL.createObjectURL(await (await this.send(path)).blob());
  }

  /**
   * Yields the live snapshots until the stream ends.
   * @param {AbortSignal} signal
   */
  async *live(signal) {
    const response = await this.send("admin/live", { signal });
    for await (const event of events(/** @type {ReadableStream} */ (response.body))) {
      yield JSON.parse(event.data);
    }
  }
}
