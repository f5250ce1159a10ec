/** A picture to ask about: a file, or an address that the gateway fetches. */

import { RequestFailure } from "./failure.js";

/** A picture that cannot be used; the message is shown to the user. */
export class PictureProblem extends Error {}

const MAX_BYTES = 100_000_000;
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
    /** @type {string | null} the data URL of the thumbnail, once it exists */
    this.thumbnail = null;
  }

  /** The media type; a generic one if the system does not know the file's type. */
  get type() {
    return this.blob?.type || "application/octet-stream";
  }

  /**
   * The URL for the request: an address unchanged, a file as a data URL. Throws RequestFailure when
   * the file is missing or unreadable.
   * @returns {Promise<string>}
   */
  asUrl() {
    if (this.url !== null) return Promise.resolve(this.url);
    return new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.onload = () => resolve(String(reader.result));
      reader.onerror = () => reject(new RequestFailure({ code: "picture_unreadable" }));
      // An explicit type keeps the data URL well-formed when the system does not know the type.
      reader.readAsDataURL(new Blob([/** @type {Blob} */ (this.blob)], { type: this.type }));
    });
  }
}

/**
 * Creates a picture from a file that was chosen, dropped or pasted, or from the sample.
 * @param {File} file
 * @param {Source} source
 */
export function pictureFromFile(file, source) {
  if (file.type !== "" && !file.type.startsWith("image/")) {
    throw new PictureProblem(`${file.name} is not a picture. Choose a JPEG, PNG or WebP file.`);
  }
  if (file.size === 0) throw new PictureProblem(`${file.name} is empty. Choose another file.`);
  if (file.size > MAX_BYTES) {
    throw new PictureProblem(`${file.name} is larger than 100 MB. Choose a smaller file.`);
  }
  return new Picture(source, file.name, file, null);
}

/**
 * Creates a picture from an address. The gateway fetches it; this page never does.
 * @param {string} address
 */
export function pictureFromAddress(address) {
  const text = address.trim();
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !["http:", "https:"].includes(url.protocol)) {
    throw new PictureProblem("Enter a full address that starts with https:// or http://.");
  }
  return new Picture("url", url.hostname, null, text);
}

/**
 * Loads the sample that the gateway serves.
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
 * Creates the thumbnail from a decoded image, upright and cropped to a square.
 * @param {HTMLImageElement} image
 * @returns {string | null} a data URL of a few kB, or null if the browser cannot create one
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
