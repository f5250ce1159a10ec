/** The picture field: takes one picture by file, drop, paste, address or sample. */

import { bytes } from "./format.js";
import {
  PictureProblem,
  pictureFromAddress,
  pictureFromFile,
  samplePicture,
  thumbnailOf,
} from "./picture.js";

/** @typedef {import("./picture.js").Picture} Picture */

/** @param {string} id */
const element = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** Whether a text is a single web address, such as a pasted link. */
const isAddress = (text) => /^https?:\/\/\S+$/i.test(text.trim());

export class PictureField {
  /** @type {Picture | null} */
  picture = null;
  #file = /** @type {HTMLInputElement} */ (element("file"));
  #url = /** @type {HTMLInputElement} */ (element("url"));
  #image = /** @type {HTMLImageElement} */ (element("preview-image"));
  /** @type {string | null} */
  #preview = null;
  #dragDepth = 0;

  /**
   * @param {{sample: string, onSample: () => void, onThumbnail: () => void}} options
   */
  constructor(options) {
    this.options = options;
    element("drop").addEventListener("click", () => this.#file.click());
    element("replace").addEventListener("click", () => this.#file.click());
    element("remove").addEventListener("click", () => {
      this.set(null);
      element("drop").focus();
    });
    this.#file.addEventListener("change", () => {
      this.#takeFile(this.#file.files?.[0], "file");
      this.#file.value = ""; // so that choosing the same file again fires a change event
    });
    element("url-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#try(() => pictureFromAddress(this.#url.value), this.#url);
    });
    element("sample").addEventListener("click", async () => {
      if (await this.#try(() => samplePicture(this.options.sample))) this.options.onSample();
    });
    document.addEventListener("paste", (event) => this.#paste(event));
    this.#acceptDrops();
  }

  /** Reports that a picture is missing, and focuses the field. */
  demand() {
    this.#say("Choose a picture first.");
    element("drop").focus();
  }

  /**
   * Sets the picture to ask about, or clears the field.
   * @param {Picture | null} picture
   */
  set(picture) {
    this.#say("");
    if (picture === this.picture) return;
    this.picture = picture;
    if (this.#preview !== null) URL.revokeObjectURL(this.#preview);
    this.#preview = picture?.blob ? URL.createObjectURL(picture.blob) : null;
    element("drop").hidden = picture !== null;
    element("url-form").hidden = picture !== null;
    element("sample").hidden = picture !== null;
    element("preview").hidden = picture === null;
    if (picture !== null) this.#show(picture);
  }

  /** @param {Picture} picture */
  #show(picture) {
    this.#url.value = "";
    element("picture-name").textContent = picture.name;
    element("picture-facts").textContent = picture.blob ? bytes(picture.blob.size) : "";
    this.#showNote(picture.url === null ? "" : `The gateway will fetch ${picture.url}`);
    if (this.#preview === null) this.#image.removeAttribute("src");
    else {
      this.#image.src = this.#preview;
      this.#measure(picture);
    }
  }

  /** Adds the size in pixels and the thumbnail after the browser has decoded the picture. */
  async #measure(picture) {
    const image = this.#image;
    try {
      await image.decode();
    } catch {
      // A format that this browser does not support, such as TIFF, or a damaged file: the gateway
      // decides. A decode that a newer picture interrupted also ends here.
      if (this.picture === picture) this.#showNote("No preview. The file is sent unchanged.");
      return;
    }
    if (this.picture !== picture) return;
    const size = `${image.naturalWidth} × ${image.naturalHeight}`;
    element("picture-facts").textContent = `${size} · ${bytes(picture.blob?.size ?? 0)}`;
    picture.thumbnail ??= thumbnailOf(image);
    this.options.onThumbnail();
  }

  /** @param {string} text shown instead of the picture; if empty, the picture is shown */
  #showNote(text) {
    element("preview-note").hidden = text === "";
    this.#image.hidden = text !== "";
    element("preview-note-text").textContent = text;
  }

  /**
   * Sets the picture that `make` returns, or shows its error.
   * @param {() => Picture | Promise<Picture>} make
   * @param {HTMLElement} [field] gets the focus on an error
   */
  async #try(make, field) {
    try {
      this.set(await make());
    } catch (error) {
      if (!(error instanceof PictureProblem)) throw error;
      this.#say(error.message);
      field?.setAttribute("aria-invalid", "true");
      field?.focus();
      return false;
    }
    if (field) element("question").focus();
    return true;
  }

  /** @param {string} problem */
  #say(problem) {
    element("picture-problem").textContent = problem;
    this.#url.removeAttribute("aria-invalid");
  }

  /**
   * @param {File | undefined} file
   * @param {import("./picture.js").Source} source
   */
  #takeFile(file, source) {
    if (file) this.#try(() => pictureFromFile(file, source));
  }

  /** @param {ClipboardEvent} event */
  #paste(event) {
    const file = event.clipboardData?.files[0];
    const inField = event.target instanceof HTMLElement && event.target.matches("input, textarea");
    const text = event.clipboardData?.getData("text/plain") ?? "";
    // Office programs also copy an image of the copied text: in a text field, paste the text.
    if (inField && text !== "") return;
    if (file) {
      event.preventDefault();
      this.#takeFile(file, "pasted");
    } else if (isAddress(text)) {
      event.preventDefault();
      this.#try(() => pictureFromAddress(text));
    }
  }

  /** Accepts drops anywhere: a picture dropped beside the field must not replace the page. */
  #acceptDrops() {
    const show = (depth) => {
      this.#dragDepth = depth;
      document.body.classList.toggle("dragging", depth > 0);
    };
    window.addEventListener("dragenter", (event) => {
      event.preventDefault();
      show(this.#dragDepth + 1);
    });
    window.addEventListener("dragleave", () => show(Math.max(0, this.#dragDepth - 1)));
    window.addEventListener("dragover", (event) => event.preventDefault());
    window.addEventListener("drop", (event) => {
      event.preventDefault();
      show(0);
      const file = event.dataTransfer?.files[0];
      const text = event.dataTransfer?.getData("text/uri-list").split(/\r?\n/)[0] ?? "";
      if (file) this.#takeFile(file, "file");
      else if (isAddress(text)) this.#try(() => pictureFromAddress(text));
      else this.#say("That is not a picture. Drop an image file or the address of one.");
    });
  }
}
