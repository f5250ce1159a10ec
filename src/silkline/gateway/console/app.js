/** The console's entry point: connects the picture field, question, answer and history. */

import { showProgress, showExchange, spoken } from "./answer.js";
import { copyFrom } from "./clipboard.js";
import { RequestFailure, wordsFor } from "./failure.js";
import { History } from "./history.js";
import { PictureField } from "./intake.js";
import { KeyMenu } from "./key.js";
import { Exchange } from "./exchange.js";
import { endpoint } from "./gateway.js";
import { chatBody, curlCommand } from "./request.js";
import { servedModel, watchGateway } from "./status.js";
import { chat } from "./stream.js";

const STATES = {
  ready: "Ready",
  starting: "Starting",
  unreachable: "Unreachable",
};

/** @param {string} id */
const element = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
const question = /** @type {HTMLTextAreaElement} */ (element("question"));
const sample = endpoint("sample.jpg");

/** @type {AbortController | null} the running request */
let running = null;
let model = "";

const keyMenu = new KeyMenu(() => nameModel());

const announce = (message) => {
  element("announce").textContent = message;
};

const history = new History({
  section: element("history"),
  list: element("history-list"),
  onOpen: (exchange) => {
    history.open(exchange);
    showExchange(exchange);
    bringAnswer();
  },
});

const field = new PictureField({
  sample,
  onSample: () => {
    if (question.value.trim() === "") question.value = element("chips").children[0].textContent ?? "";
    element("ask").focus();
  },
  onThumbnail: () => history.draw(),
});

const checkNow = watchGateway((state) => {
  const status = element("status");
  // A gateway that was unreachable may now serve another model.
  if (state === "ready" && (status.dataset.state !== "ready" || model === "")) nameModel();
  if (status.dataset.state === state) return;
  status.dataset.state = state;
  element("status-text").textContent = STATES[state];
});

/** Fetches and shows the served model's name; empty if that fails, as without a valid key. */
async function nameModel() {
  try {
    model = await servedModel(keyMenu.key);
  } catch (error) {
    if (!(error instanceof RequestFailure)) throw error;
    model = "";
  }
  element("status-model").textContent = model;
}

/** Checks the form and sends the request; does nothing while another request is running. */
function ask() {
  const text = question.value.trim();
  if (running !== null) return;
  element("question-problem").textContent = text === "" ? "Type a question first." : "";
  if (field.picture === null) field.demand();
  else if (text === "") question.focus();
  else run(new Exchange(field.picture, text, keyMenu.key !== ""));
}

/** @param {Exchange} exchange */
async function run(exchange) {
  const abort = new AbortController();
  running = abort;
  setRunning(true);
  element("alarm").textContent = "";
  announce("Sending the request.");
  history.add(exchange);
  showExchange(exchange);
  bringAnswer();
  const stopDrawing = drawWhile(exchange);
  try {
    await converse(exchange, abort.signal);
    exchange.end("done");
  } catch (error) {
    if (abort.signal.aborted) exchange.end("stopped");
    else exchange.fail(error instanceof RequestFailure ? error : ownFault(error));
  } finally {
    stopDrawing();
    running = null;
    setRunning(false);
  }
  history.draw();
  if (history.shown === exchange) showExchange(exchange);
  conclude(exchange);
}

/** Logs a bug of this page in the browser's console; returns the failure for the exchange. */
function ownFault(error) {
  window.reportError(error);
  return new RequestFailure({ code: "page_fault" });
}

/** Sends the request and adds each event of the response to the exchange. */
async function converse(exchange, signal) {
  const pictureUrl = await exchange.picture.asUrl();
  if (model === "") {
    model = await servedModel(keyMenu.key, signal);
    element("status-model").textContent = model;
  }
  signal.throwIfAborted();
  exchange.model = model;
  const body = chatBody({ model, pictureUrl, question: exchange.question });
  exchange.start();
  for await (const event of chat(body, { key: keyMenu.key, signal })) exchange.take(event);
}

/** Draws the exchange while it is shown: at new text, else at most ten times a second. */
function drawWhile(exchange) {
  let frame = 0;
  let drawn = -Infinity;
  let length = 0;
  const draw = (time) => {
    if (history.shown === exchange && (exchange.text.length !== length || time - drawn > 100)) {
      drawn = time;
      length = exchange.text.length;
      showProgress(exchange);
    }
    frame = requestAnimationFrame(draw);
  };
  frame = requestAnimationFrame(draw);
  return () => cancelAnimationFrame(frame);
}

/** Announces the end to screen readers; some errors open the key menu or check the status. */
function conclude(exchange) {
  if (exchange.failure === null) {
    announce(spoken(exchange));
    return;
  }
  announce("");
  const { failure } = exchange;
  element("alarm").textContent = `${wordsFor(failure).title}. ${failure.message}`;
  if (failure.code === "model_not_found") model = "";
  if (failure.status === 401 || failure.status === 403) keyMenu.open();
  if (failure.code === "unreachable" || failure.status === 503) checkNow();
}

/** Scrolls to the answer if it is below the question, as on a phone. */
function bringAnswer() {
  const { top } = element("answer").getBoundingClientRect();
  if (top >= 0 && top < window.innerHeight / 2) return;
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  element("answer").scrollIntoView({ behavior: calm ? "auto" : "smooth" });
}

/** @param {boolean} busy */
function setRunning(busy) {
  // A disabled button would lose the focus, so only aria-disabled is set.
  element("ask").setAttribute("aria-disabled", String(busy));
  const stop = element("stop");
  if (!busy && document.activeElement === stop) element("ask").focus({ preventScroll: true });
  stop.hidden = !busy;
}

function wireForm() {
  element("ask-form").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  element("stop").addEventListener("click", () => running?.abort());
  element("chips").addEventListener("click", (event) => {
    if (!(event.target instanceof HTMLButtonElement)) return;
    question.value = event.target.textContent ?? "";
    element("question-problem").textContent = "";
    question.focus();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      ask();
    } else if (event.key === "Escape") {
      if (running !== null) running.abort();
      else if (keyMenu.isOpen) keyMenu.close();
    }
  });
  if (/Mac|iPhone|iPad/.test(navigator.userAgent)) {
    const key = element("keys").querySelector("kbd");
    if (key) key.textContent = "Cmd";
  }
}

function wireAnswer() {
  const shown = () => /** @type {Exchange} */ (history.shown);
  const copyAnswer = element("copy-answer");
  copyAnswer.addEventListener("click", () => copyFrom(copyAnswer, shown().text, announce));
  const copyId = element("copy-id");
  copyId.addEventListener("click", () => copyFrom(copyId, shown().requestId ?? "", announce));
  const copyCurl = element("copy-curl");
  copyCurl.addEventListener("click", async () => {
    const exchange = shown();
    const command = await curlCommand({
      ...exchange,
      model: exchange.model || model,
      endpoint: endpoint("v1/chat/completions"),
      sample,
    });
    const note = element("curl-note");
    note.hidden = exchange.picture.source !== "file";
    note.textContent = `Run it in the folder that contains ${exchange.picture.name}.`;
    await copyFrom(copyCurl, command, announce);
  });
  element("again").addEventListener("click", () => {
    const exchange = shown();
    field.set(exchange.picture);
    question.value = exchange.question;
    ask();
  });
}

wireForm();
wireAnswer();
