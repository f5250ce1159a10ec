/** The key menu: the API key of this tab, for all pages of the console. */

const STORE = "silkline-api-key";

/** @param {string} id */
const element = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

export class KeyMenu {
  #field = /** @type {HTMLInputElement} */ (element("key"));
  #menu = /** @type {HTMLDetailsElement} */ (element("key-menu"));

  /** @param {() => void} onChange called when the user sets or forgets the key */
  constructor(onChange) {
    this.#keep(stored());
    const use = (key) => {
      this.#keep(key.trim());
      this.close();
      onChange();
    };
    element("key-form").addEventListener("submit", (event) => {
      event.preventDefault();
      use(this.#field.value);
    });
    element("key-forget").addEventListener("click", () => use(""));
    document.addEventListener("pointerdown", (event) => {
      if (event.target instanceof Node && !this.#menu.contains(event.target)) {
        this.#menu.open = false;
      }
    });
  }

  /** The key; empty without one. */
  get key() {
    return this.#field.value;
  }

  get isOpen() {
    return this.#menu.open;
  }

  open() {
    this.#menu.open = true;
  }

  /** Closes the menu and returns the focus to the button that opened it. */
  close() {
    this.#menu.open = false;
    this.#menu.querySelector("summary")?.focus();
  }

  /** Keeps the key in the field and, where allowed, in this tab's session storage. */
  #keep(key) {
    this.#field.value = key;
    this.#menu.classList.toggle("set", key !== "");
    try {
      if (key === "") window.sessionStorage.removeItem(STORE);
      else window.sessionStorage.setItem(STORE, key);
    } catch {
      // Without storage the key is kept until the page is closed.
    }
  }
}

function stored() {
  try {
    return window.sessionStorage.getItem(STORE) ?? "";
  } catch {
    return "";
  }
}
