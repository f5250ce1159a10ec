/** Whether the gateway answers, and which model it serves; asked gently, and not while hidden. */

import { authorization, endpoint } from "./stream.js";
import { failureFromResponse, RequestFailure } from "./failure.js";

/** @typedef {"checking" | "ready" | "starting" | "unreachable"} State */

/** Seconds until the next look, by what the last one saw. */
const PAUSES = { ready: 15, starting: 1.5, unreachable: 4 };
const PATIENCE_MS = 5000;

/**
 * The id of the served model. Throws RequestFailure, or an AbortError when the signal says so.
 * @param {string} key
 * @param {AbortSignal} [signal]
 * @returns {Promise<string>}
 */
export async function servedModel(key, signal) {
  let response;
  try {
    response = await fetch(endpoint("v1/models"), { headers: authorization(key), signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new RequestFailure({ code: "unreachable" });
  }
  if (!response.ok) throw await failureFromResponse(response);
  const id = (await response.json().catch(() => null))?.data?.[0]?.id;
  if (typeof id === "string" && id !== "") return id;
  throw new RequestFailure({
    code: "model_not_found",
    message: "The gateway lists no model.",
    requestId: response.headers.get("x-request-id"),
  });
}

/** @returns {Promise<Exclude<State, "checking">>} */
async function look() {
  try {
    const signal = AbortSignal.timeout(PATIENCE_MS);
    const response = await fetch(endpoint("ready"), { cache: "no-store", signal });
    if (response.ok) return "ready";
    return response.status === 503 ? "starting" : "unreachable";
  } catch {
    return "unreachable";
  }
}

/**
 * Watches the gateway until the page is left.
 * @param {(state: State) => void} onState called with the state after every look
 * @returns {() => void} looks at once, for when something else hints at a change
 */
export function watchGateway(onState) {
  let timer = 0;
  let looking = false;

  const lookNow = async () => {
    window.clearTimeout(timer);
    if (looking || document.hidden) return;
    looking = true;
    const state = await look();
    looking = false;
    onState(state);
    timer = window.setTimeout(lookNow, PAUSES[state] * 1000);
  };

  document.addEventListener("visibilitychange", lookNow);
  window.addEventListener("online", lookNow);
  lookNow();
  return lookNow;
}
