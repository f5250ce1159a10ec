/**
 * One question and its outcome. Times come from the page's own clock, because the gateway cannot
 * measure the network; the stages come from the gateway.
 *
 * @typedef {import("./stream.js").StreamEvent} StreamEvent
 * @typedef {"sending" | "reading" | "answering" | "done" | "stopped" | "failed"} Phase
 */

import { RequestFailure } from "./failure.js";

const now = () => performance.now() / 1000;

export class Exchange {
  /** @type {Phase} */
  phase = "sending";
  text = "";
  model = "";
  /** @type {string | null} */
  finishReason = null;
  /** @type {string | null} */
  requestId = null;
  /** @type {import("./stream.js").Account} */
  account = { stages: {} };
  /** @type {import("./stream.js").Usage} */
  usage = {};
  /** @type {RequestFailure | null} */
  failure = null;
  #started = now();
  /** @type {number | null} */
  #first = null;
  /** @type {number | null} */
  #last = null;
  /** @type {number | null} */
  #ended = null;

  /**
   * @param {import("./picture.js").Picture} picture
   * @param {string} question
   * @param {boolean} withKey whether the request is sent with an API key
   */
  constructor(picture, question, withKey) {
    this.picture = picture;
    this.question = question;
    this.withKey = withKey;
  }

  /** Resets the clock when the request is sent. */
  start() {
    this.#started = now();
  }

  /** @param {StreamEvent} event */
  take(event) {
    if (event.type === "open") {
      this.phase = "reading";
      this.requestId = event.requestId;
      this.account = event.account;
    } else if (event.type === "text") {
      this.phase = "answering";
      this.#last = now();
      this.#first ??= this.#last;
      this.text += event.text;
    } else if (event.type === "finish") {
      this.finishReason = event.reason;
    } else {
      this.usage = event.usage;
      const { cache, model, stages } = event.account;
      this.account = {
        cache: cache ?? this.account.cache,
        model: model ?? this.account.model,
        stages: { ...this.account.stages, ...stages },
      };
    }
  }

  /** @param {"done" | "stopped"} phase */
  end(phase) {
    this.phase = phase;
    this.#ended = now();
  }

  /** @param {RequestFailure} failure */
  fail(failure) {
    this.phase = "failed";
    this.failure = failure;
    this.requestId = failure.requestId ?? this.requestId;
    this.#ended = now();
  }

  get running() {
    return this.#ended === null;
  }

  /** Seconds from sending to the end, or until now while running. */
  get total() {
    return (this.#ended ?? now()) - this.#started;
  }

  /** Seconds from sending to the first text; undefined before it. */
  get firstToken() {
    return this.#first === null ? undefined : this.#first - this.#started;
  }

  /**
   * Tokens per second after the first token, from the gateway's generate stage if known, else from
   * the arrival times of the text; undefined for fewer than two tokens.
   */
  get speed() {
    const tokens = this.usage.completion_tokens;
    if (tokens === undefined || tokens < 2 || this.#first === null) return undefined;
    const seconds = this.account.stages.generate ?? Number(this.#last) - this.#first;
    return seconds > 0 ? (tokens - 1) / seconds : undefined;
  }

  /** The model's name and its bundle's digest; an empty string for one that is unknown. */
  get identity() {
    const tag = this.account.model ?? "";
    const at = tag.lastIndexOf("@");
    if (at < 0) return { name: tag || this.model, bundle: "" };
    return { name: tag.slice(0, at), bundle: tag.slice(at + 1) };
  }
}
