/** Failures of a request, and their titles and advice for the user. */

/** A request that did not get a complete answer. */
export class RequestFailure extends Error {
  /**
   * @param {{code: string, message?: string, status?: number, param?: string | null,
   *   requestId?: string | null, retryAfter?: number | null}} facts
   */
  constructor({ code, message, status = 0, param = null, requestId = null, retryAfter = null }) {
    super(message ?? OWN_MESSAGES[code] ?? "The gateway sent no error message.");
    this.name = "RequestFailure";
    this.code = code;
    this.status = status;
    this.param = param;
    this.requestId = requestId;
    this.retryAfter = retryAfter;
  }
}

/** Messages for failures that this page detects; the gateway sends the others. */
const OWN_MESSAGES = {
  unreachable: "The request did not reach the gateway, or its response was lost.",
  not_a_stream: "The response was not an event stream.",
  stream_cut: "The connection closed before the answer was complete.",
  stream_unreadable: "A part of the answer was not valid JSON.",
  picture_unreadable: "The browser could not read the picture file.",
  page_fault: "Internal error in this page. The browser's developer console has the details.",
};

/**
 * A title for each error code, and advice where this page can add to the gateway's own message,
 * which already says what to do.
 */
const WORDS = {
  invalid_request: ["The gateway did not accept this request"],
  url_blocked: ["This address is not allowed", "You can choose a picture file instead."],
  image_fetch_failed: [
    "The picture could not be fetched",
    "You can choose a picture file instead.",
  ],
  image_undecodable: ["The picture file is damaged"],
  image_format: ["This file format is not supported"],
  unsupported_encoding: ["The request's encoding is not supported"],
  image_too_large: ["The picture is too large"],
  request_too_large: ["The request is too large"],
  model_not_found: ["This model is not served here", "Reload the page to use the served model."],
  request_timeout: ["Sending the request took too long"],
  invalid_api_key: ["An API key is needed", "Reload the page and enter the key as the password."],
  forbidden: ["This API key does not allow this request"],
  response_not_found: ["This response is not stored here"],
  request_not_found: ["This request is not kept here"],
  file_not_found: ["This file is not stored here"],
  batch_not_found: ["There is no such batch"],
  insufficient_storage: ["The server's disk is full"],
  quarantined: ["This request is quarantined"],
  rate_limited: ["Your rate limit is reached"],
  overloaded: ["The gateway is busy"],
  shutting_down: ["The gateway is shutting down"],
  worker_lost: ["The engine stopped while answering"],
  engine_failed: ["The engine failed on this request"],
  deadline_exceeded: ["The answer took too long"],
  internal_error: [
    "Internal error in the gateway",
    "This is a bug. Please report it with the request id.",
  ],
  unreachable: ["The gateway cannot be reached", "Check that it is running, then ask again."],
  not_a_stream: ["Unexpected response", "A proxy before the gateway may have sent it."],
  stream_cut: ["The answer is incomplete", "The text received so far is shown above. Ask again."],
  stream_unreadable: ["The answer could not be read", "Ask again."],
  picture_unreadable: ["The picture could not be read", "Choose the file again."],
  page_fault: ["Internal error in this page", "This is a bug. Please report it."],
};

const WORDS_BY_STATUS = {
  401: ["An API key is needed", "Enter it under API key at the top of the page."],
  403: ["This request is not allowed", "Enter another key under API key at the top of the page."],
  429: ["Too many requests", "Ask again in a moment."],
};

/**
 * Returns the title and the advice for a failure.
 * @param {RequestFailure} failure
 * @returns {{title: string, advice: string}}
 */
export function wordsFor(failure) {
  const words = WORDS_BY_STATUS[failure.status] ??
    (Object.hasOwn(WORDS, failure.code) ? WORDS[failure.code] : ["The request failed"]);
  let advice = words[1] ?? "";
  if (failure.retryAfter !== null) {
    const unit = failure.retryAfter === 1 ? "second" : "seconds";
    advice = `Ask again in ${failure.retryAfter} ${unit}.`;
  }
  return { title: words[0], advice };
}

/**
 * Builds the failure from an error body, with defaults for missing or malformed fields.
 * @param {unknown} body
 * @param {{status: number, requestId: string | null, retryAfter?: number | null}} facts
 */
export function failureFromBody(body, facts) {
  const error = /** @type {any} */ (body)?.error ?? {};
  const text = (value) => (typeof value === "string" && value !== "" ? value : undefined);
  return new RequestFailure({
    code: text(error.code) ?? text(error.type) ?? `http_${facts.status}`,
    message: text(error.message),
    param: text(error.param) ?? null,
    ...facts,
  });
}

/**
 * Builds the failure from a response with an error status.
 * @param {Response} response
 */
export async function failureFromResponse(response) {
  const seconds = Number.parseInt(response.headers.get("retry-after") ?? "", 10);
  let body = null;
  try {
    body = await response.json();
  } catch (error) {
    // Not JSON, perhaps a proxy's own page: use the status alone.
    if (!(error instanceof SyntaxError) && !(error instanceof TypeError)) throw error;
  }
  return failureFromBody(body, {
    status: response.status,
    requestId: response.headers.get("x-request-id"),
    retryAfter: Number.isNaN(seconds) ? null : Math.max(1, seconds),
  });
}
