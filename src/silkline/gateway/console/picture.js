/** A picture to ask about: a file's bytes, or an address that the gateway fetches. */

import { RequestFailure } from "./failure.js";

/** A picture that cannot be taken; its message is for the user. */
export class PictureProblem extends Error {}

const MOST_BYTES = 100_000_000;
const THUMBNAIL_PIXELS = 192;

/**
 * @typedef {"file" | "pasted" | "sample" | "url"} Source
 */
export class Picture {
  /**
   * @param {Source} source
   * @param {string} name
   * @param {Blob | null} blob
   * @param {string | null} url
   */
  constructor(source, name, blob, url) {
    this.source = source;
    this.name = name;
    this.blob = blob;
    this.url = url;
    /** @type {string | null} the address of a small copy, once it is made */
    this.thumbnail = null;
  }

  /** The media type; a name that the system does not know still gets one. */
  get type() {
    return this.blob?.type || "application/octet-stream";
  }

  /**
   * What stands in the request: an address as it is, bytes as a data URL. Throws RequestFailure
   * when the file is gone or may not be read.
   * @returns {Promise<string>}
   */
  asUrl() {
    if (this.url !== null) return Promise.resolve(this.url);
    return new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.onload = () => resolve(String(reader.result));
      reader.onerror = () => reject(new RequestFailure({ code: "picture_unreadable" }));
      // Under this type a data URL is well-formed also where the system knows none.
      reader.readAsDataURL(new Blob([/** @type {Blob} */ (this.blob)], { type: this.type }));
    });
  }
}

/**
 * A picture from a file that was chosen, dropped or pasted, or from the sample.
 * @param {File} file
 * @param {Source} source
 */
export function pictureFromFile(file, source) {
  if (file.type !== "" && !file.type.startsWith("image/")) {
    throw new PictureProblem(`${file.name} is not a picture. Choose a JPEG, PNG or WebP file.`);
  }
  if (file.size === 0) throw new PictureProblem(`${file.name} is empty. Choose another file.`);
  if (file.size > MOST_BYTES) {
    throw new PictureProblem(`${file.name} is over 100 MB, too large to send. Scale it down first.`);
  }
  return new Picture(source, file.name, file, null);
}

/**
 * A picture from an address. The gateway fetches it, this page never does.
 * @param {string} address
 */
export function pictureFromAddress(address) {
  const text = address.trim();
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !["http:", "https:"].includes(url.protocol)) {
    throw new PictureProblem("Give a whole address that begins with https:// or http://.");
  }
  return new Picture("url", url.hostname, null, text);
}

/**
 * The sample that the gateway serves.
 * @param {string} address
 */
export async function samplePicture(address) {
  const response = await fetch(address).catch(() => null);
  if (!response?.ok) {
    throw new PictureProblem("The sample picture could not be loaded. Choose one of your own.");
  }
  const blob = await response.blob();
  return pictureFromFile(new File([blob], "sample.jpg", { type: blob.type }), "sample");
}

/**
 * Makes the small copy from a decoded image, upright and cut to a square.
 * @param {HTMLImageElement} image
 * @returns {string | null} a data URL of a few kB, or null where the browser cannot make one
 */
export function thumbnailOf(image) {
  const side = Math.min(image.naturalWidth, image.naturalHeight);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = THUMBNAIL_PIXELS;
  const context = canvas.getContext("2d");
  if (side === 0 || context === null) return null;
  const left = (image.naturalWidth - side) / 2;
  const top = (image.naturalHeight - side) / 2;
  context.drawImage(image, left, top, side, side, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/webp", 0.85);
}
