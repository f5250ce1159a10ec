"""Drives the console as a person would; it knows the page, not the server behind it."""

from __future__ import annotations

import base64
import mimetypes
from pathlib import Path

from playwright.async_api import ConsoleMessage, Page, Request, expect

HANG_MS = 10_000
"""No step takes long; this bounds a hang."""

UNKNOWN = "\N{EN DASH}"
"""Stands where a figure is not known."""

TIMES = "\N{MULTIPLICATION SIGN}"
"""Stands between width and height."""

MAKE_TRANSFER = """([name, type, data]) => {
  const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type }));
  return transfer;
}"""

COPY_PICTURE = """async (data) => {
  const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  const blob = new Blob([bytes], { type: "image/png" });
  await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
}"""


def packed(path: Path) -> list[str]:
    """Name, media type and base64 of a file, as the browser would tell them."""
    kind = mimetypes.guess_type(path.name)[0] or ""
    return [path.name, kind, base64.b64encode(path.read_bytes()).decode()]


class Console:
    """The console in a browser page, with everything that went wrong in it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.expected: tuple[str, ...] = ()
        self.problems: list[str] = []
        self.foreign: list[str] = []
        page.set_default_timeout(HANG_MS)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", self._watch)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.problems.append(message.text)

    def _watch(self, request: Request) -> None:
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.foreign.append(request.url)

    def check(self) -> None:
        """Fail on a request elsewhere and on an error with none of the `expected` texts in it."""
        wrong = [text for text in self.problems if not any(e in text for e in self.expected)]
        assert wrong == [], wrong
        assert self.foreign == [], self.foreign

    async def open(self, *, wait: bool = True) -> None:
        """Load the page and, unless told otherwise, wait until it knows the model."""
        await self.page.goto(self.url)
        if wait:
            await self.page.wait_for_selector("#status-model:not(:empty)", state="attached")

    async def choose(self, path: Path) -> None:
        """Choose a file through the browser's file dialogue."""
        async with self.page.expect_file_chooser() as chooser:
            await self.page.click("#drop")
        await (await chooser.value).set_files(path)

    async def drop(self, path: Path) -> None:
        """Drop a file on the page."""
        transfer = await self.page.evaluate_handle(MAKE_TRANSFER, packed(path))
        for name in ("dragenter", "dragover", "drop"):
            await self.page.dispatch_event("main", name, {"dataTransfer": transfer})

    async def paste_picture(self, png: bytes) -> None:
        """Put a picture on the clipboard and press the keys that paste it."""
        await self.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await self.page.evaluate(COPY_PICTURE, base64.b64encode(png).decode())
        await self.page.keyboard.press("Control+v")

    async def give_address(self, address: str) -> None:
        """Type the address of a picture."""
        await self.page.fill("#url", address)
        await self.page.press("#url", "Enter")

    async def use_sample(self) -> None:
        """Take the sample picture and wait for its preview."""
        await self.page.click("#sample")
        await self.until_text("#picture-facts", TIMES)

    async def ask(self, question: str) -> None:
        """Type a question and send it."""
        await self.page.fill("#question", question)
        await self.page.click("#ask")

    async def ended(self) -> None:
        """Wait until the running request is over."""
        await self.page.wait_for_selector("#answer[aria-busy='false']")

    async def text(self, selector: str) -> str:
        """The text of an element as it is rendered."""
        return await self.page.inner_text(selector)

    async def until_text(self, selector: str, text: str) -> None:
        """Wait until an element's text holds `text`."""
        await expect(self.page.locator(selector)).to_contain_text(text, timeout=HANG_MS)

    async def stages(self) -> dict[str, str]:
        """The stages with their times, as the legend lists them."""
        rows = await self.page.locator("#stages-legend li").all_inner_texts()
        pairs = [row.split("\n") for row in rows]
        return {name.strip(): value.strip() for name, value in pairs}

    async def copy(self, button: str) -> str:
        """Press a copy button and tell what is on the clipboard then."""
        await self.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await self.page.click(button)
        await self.page.wait_for_selector(f"{button}[data-copied='yes']")
        return str(await self.page.evaluate("navigator.clipboard.readText()"))

    async def put_on_clipboard(self, text: str) -> None:
        """Copy a text, as if in another program."""
        await self.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await self.page.evaluate("text => navigator.clipboard.writeText(text)", text)

    async def focused(self) -> str:
        """The id of the element that has the focus."""
        return str(await self.page.evaluate("document.activeElement.id"))
