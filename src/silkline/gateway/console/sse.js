/**
 * Server-sent events, parsed as the HTML standard's "event stream interpretation" says.
 * https://html.spec.whatwg.org/multipage/server-sent-events.html
 *
 * @typedef {{event: string, data: string}} ServerEvent
 */

/** Parses text in chunks of any size into complete events; does no I/O. */
export class EventParser {
  #line = "";
  #afterReturn = false;
  #atStart = true;
  #event = "";
  /** @type {string[]} */
  #data = [];

  /**
   * Parses the next chunk; keeps an incomplete line or event for the chunk after it.
   * @param {string} text
   * @returns {ServerEvent[]} the events that this chunk completes
   */
  push(text) {
    if (text === "") return [];
    if (this.#atStart) {
      this.#atStart = false;
      if (text.startsWith("\uFEFF")) text = text.slice(1);
    }
    // CRLF may be split between chunks: its CR has already ended the line, so its LF is dropped.
    if (this.#afterReturn && text.startsWith("\n")) text = text.slice(1);
    this.#afterReturn = text === "" ? false : text.endsWith("\r");

    const lines = (this.#line + text).split(/\r\n|\r|\n/);
    this.#line = lines.pop() ?? "";
    /** @type {ServerEvent[]} */
    const events = [];
    for (const line of lines) {
      if (line === "") this.#dispatch(events);
      else this.#field(line);
    }
    return events;
  }

  /** @param {ServerEvent[]} events */
  #dispatch(events) {
    if (this.#data.length > 0) {
      events.push({ event: this.#event || "message", data: this.#data.join("\n") });
    }
    this.#event = "";
    this.#data = [];
  }

  /** @param {string} line */
  #field(line) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (name === "data") this.#data.push(value);
    else if (name === "event") this.#event = value;
    // Comments (an empty name), "id" and "retry" have no use for a single response.
  }
}

/**
 * Yields the events of a response body. Characters may be split between chunks.
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<ServerEvent, void, void>}
 */
export async function* events(body) {
  const parser = new EventParser();
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield* parser.push(decoder.decode(value, { stream: true }));
    }
  } finally {
    // Stopping early closes the connection, so that the engine's slot is freed.
    await reader.cancel().catch(() => undefined);
  }
}
