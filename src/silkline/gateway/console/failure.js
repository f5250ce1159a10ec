/** What can go wrong with a request, and the words for it. */

/** A request that got no whole answer. */
export class RequestFailure extends Error {
  /**
   * @param {{code: string, message?: string, status?: number, param?: string | null,
   *   requestId?: string | null, retryAfter?: number | null}} facts
   */
  constructor({ code, message, status = 0, param = null, requestId = null, retryAfter = null }) {
    super(message ?? OWN_MESSAGES[code] ?? "The gateway gave no reason.");
    this.name = "RequestFailure";
    this.code = code;
    this.status = status;
    this.param = param;
    this.requestId = requestId;
    this.retryAfter = retryAfter;
  }
}

/** Messages of the failures that this page finds itself; the others come from the gateway. */
const OWN_MESSAGES = {
  unreachable: "The request did not reach the gateway, or its answer did not come back.",
  not_a_stream: "The gateway answered, but not with a stream of events.",
  stream_cut: "The connection closed before the answer was whole.",
  stream_unreadable: "A part of the answer was not valid JSON.",
  picture_unreadable: "The browser could not read the picture's file.",
  page_fault: "This page made a mistake; the browser's console has the details.",
};

/**
 * A title by error code, and advice where this page can add some: the gateway's own message tells
 * what to do already.
 */
const WORDS = {
  invalid_request: ["The gateway did not accept this request"],
  url_blocked: ["That address is off limits", "You can choose the picture's file instead."],
  image_fetch_failed: [
    "The picture could not be fetched",
    "You can choose the picture's file instead.",
  ],
  image_undecodable: ["The picture is damaged"],
  image_format: ["This kind of file is not supported"],
  image_too_large: ["The picture is too large"],
  request_too_large: ["The request is too large"],
  model_not_found: ["This model is not served here", "Reload the page to pick up the served model."],
  request_timeout: ["Sending took too long"],
  invalid_api_key: ["A key is needed", "Reload the page: the browser asks for it, as the password."],
  forbidden: ["This key is not for this"],
  quarantined: ["This request is set aside"],
  rate_limited: ["Your limit is reached"],
  overloaded: ["The gateway is busy"],
  shutting_down: ["The gateway is shutting down"],
  worker_lost: ["The engine stopped while it answered"],
  engine_failed: ["The engine failed at this request"],
  deadline_exceeded: ["The answer took too long"],
  internal_error: [
    "Something broke inside the gateway",
    "This is a defect. Please report it with the request id.",
  ],
  unreachable: ["The gateway cannot be reached", "Check that it is running, then ask again."],
  not_a_stream: ["That was not an answer", "Something between this page and the gateway replied."],
  stream_cut: ["The answer broke off", "What arrived so far is shown above. Ask again."],
  stream_unreadable: ["The answer could not be read", "Ask again."],
  picture_unreadable: ["The picture could not be read", "Choose the file again."],
  page_fault: ["Something broke in this page", "This is a defect. Please report it."],
};

const WORDS_BY_STATUS = {
  401: ["An API key is needed", "Enter it under API key at the top of the page."],
  403: ["This API key may not do that", "Enter another one under API key at the top of the page."],
  429: ["Too many requests", "Ask again in a moment."],
};

/**
 * The title and the advice for a failure.
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
 * The failure in an error body; what is missing or malformed in it is made up for.
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
 * The failure that a response with an error status tells of.
 * @param {Response} response
 */
export async function failureFromResponse(response) {
  const seconds = Number.parseInt(response.headers.get("retry-after") ?? "", 10);
  let body = null;
  try {
    body = await response.json();
  } catch (error) {
    // Not JSON: a proxy's own page. The status has to do.
    if (!(error instanceof SyntaxError) && !(error instanceof TypeError)) throw error;
  }
  return failureFromBody(body, {
    status: response.status,
    requestId: response.headers.get("x-request-id"),
    retryAfter: Number.isNaN(seconds) ? null : Math.max(1, seconds),
  });
}
