/** Calls the admin API. Every failure is a RequestFailure. */

import { send } from "./gateway.js";
import { events } from "./sse.js";

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
  send(path, options = {}) {
    return send(path, { ...options, key: this.key() });
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
