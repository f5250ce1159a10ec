/** Polls the gateway's state, except while the page is hidden, and fetches the served model. */

import { RequestFailure } from "./failure.js";
import { send } from "./gateway.js";

/** @typedef {"checking" | "ready" | "starting" | "unreachable"} State */

/** Seconds until the next check, by the state that the last one found. */
const PAUSES = { ready: 15, starting: 1.5, unreachable: 4 };
const TIMEOUT_MS = 5000;

/**
 * Fetches the id of the served model. Throws RequestFailure, or an AbortError if aborted.
 * @param {string} key
 * @param {AbortSignal} [signal]
 * @returns {Promise<string>}
 */
export async function servedModel(key, signal) {
  const response = await send("v1/models", { key, signal });
  const id = (await response.json().catch(() => null))?.data?.[0]?.id;
  if (typeof id === "string" && id !== "") return id;
  throw new RequestFailure({
    code: "model_not_found",
    message: "The gateway serves no model. Check its configuration.",
    requestId: response.headers.get("x-request-id"),
  });
}

/** @returns {Promise<Exclude<State, "checking">>} */
async function check() {
  try {
    await send("ready", { signal: AbortSignal.timeout(TIMEOUT_MS) });
    return "ready";
  } catch (error) {
    return error instanceof RequestFailure && error.status === 503 ? "starting" : "unreachable";
  }
}

/**
 * Polls the gateway's state until the page is closed.
 * @param {(state: State) => void} onState called with the state after every check
 * @returns {() => void} checks at once, for when something else hints at a change
 */
export function watchGateway(onState) {
  let timer = 0;
  let checking = false;

  const checkNow = async () => {
    window.clearTimeout(timer);
    if (checking || document.hidden) return;
    checking = true;
    const state = await check();
    checking = false;
    onState(state);
    timer = window.setTimeout(checkNow, PAUSES[state] * 1000);
  };

  document.addEventListener("visibilitychange", checkNow);
  window.addEventListener("online", checkNow);
  checkNow();
  return checkNow;
}
