"""A picture gets into the console in every way that people try."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from tests.console.driver import TIMES, Console
from tests.console.stand_in import MODEL, StandIn, sample_jpeg

pytestmark = pytest.mark.asyncio(loop_scope="session")

ADDRESS = "https://shop.example/pictures/mug.jpg?size=large&v=2"


def data_url(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def file_url(path: Path) -> str:
    kind = {".jpg": "image/jpeg", ".png": "image/png", ".tiff": "image/tiff"}[path.suffix]
    return data_url(path.read_bytes(), kind)


def sent_url(stand_in: StandIn) -> str:
    return str(stand_in.bodies[-1]["messages"][0]["content"][0]["image_url"]["url"])


async def answered(console: Console) -> None:
    await console.ask("What is this?")
    await console.until_text("#text", "A red mug.")


async def test_a_chosen_file_is_sent_as_it_is(
    console: Console, stand_in: StandIn, picture: Path
) -> None:
    await console.choose(picture)
    await console.until_text("#picture-facts", f"320 {TIMES} 240")
    assert await console.text("#picture-name") == picture.name
    await answered(console)
    image = {"type": "image_url", "image_url": {"url": file_url(picture)}}
    question = {"type": "text", "text": "What is this?"}
    assert stand_in.bodies == [
        {
            "model": MODEL,
            "messages": [{"role": "user", "content": [image, question]}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0,
            "max_tokens": 256,
        }
    ]


async def test_a_file_can_be_dropped_anywhere(
    console: Console, stand_in: StandIn, picture: Path
) -> None:
    await console.drop(picture)
    await console.until_text("#picture-facts", f"320 {TIMES} 240")
    await answered(console)
    assert sent_url(stand_in) == file_url(picture)


async def test_a_picture_can_be_pasted(console: Console, stand_in: StandIn) -> None:
    png = io.BytesIO()
    Image.new("RGB", (31, 17), (10, 120, 90)).save(png, "PNG")
    await console.paste_picture(png.getvalue())
    await console.until_text("#picture-facts", f"31 {TIMES} 17")
    await answered(console)
    kind, data = sent_url(stand_in).split(";base64,")
    assert kind == "data:image/png"
    assert Image.open(io.BytesIO(base64.b64decode(data))).getpixel((3, 3)) == (10, 120, 90)


async def test_an_address_is_left_to_the_gateway(console: Console, stand_in: StandIn) -> None:
    await console.give_address(ADDRESS)
    assert ADDRESS in await console.text("#preview-note")
    await answered(console)
    assert sent_url(stand_in) == ADDRESS
    assert console.foreign == []


async def test_an_address_can_be_pasted_or_dropped(console: Console, stand_in: StandIn) -> None:
    await console.put_on_clipboard(ADDRESS)
    await console.page.keyboard.press("Control+v")
    await console.until_text("#preview-note", ADDRESS)
    await console.page.click("#remove")
    transfer = await console.page.evaluate_handle(
        """text => {
          const transfer = new DataTransfer();
          transfer.setData("text/uri-list", text + "#dropped");
          return transfer;
        }""",
        ADDRESS,
    )
    await console.page.dispatch_event("main", "drop", {"dataTransfer": transfer})
    await console.until_text("#preview-note", f"{ADDRESS}#dropped")


async def test_text_pasted_into_the_question_stays_text(console: Console) -> None:
    await console.put_on_clipboard(ADDRESS)
    await console.page.focus("#question")
    await console.page.keyboard.press("Control+v")
    assert await console.page.input_value("#question") == ADDRESS
    assert await console.page.is_visible("#drop")


async def test_the_sample_needs_two_clicks_to_an_answer(
    console: Console, stand_in: StandIn
) -> None:
    await console.use_sample()
    assert await console.page.input_value("#question") == "What is this?"
    await console.page.click("#ask")
    await console.until_text("#text", "A red mug.")
    assert sent_url(stand_in) == data_url(sample_jpeg(), "image/jpeg")


async def test_a_picture_can_be_replaced_and_removed(
    console: Console, stand_in: StandIn, picture: Path, tmp_path: Path
) -> None:
    await console.choose(picture)
    other = tmp_path / "other.png"
    Image.new("RGB", (40, 20)).save(other)
    async with console.page.expect_file_chooser() as chooser:
        await console.page.click("#replace")
    await (await chooser.value).set_files(other)
    await console.until_text("#picture-facts", f"40 {TIMES} 20")
    await answered(console)
    assert sent_url(stand_in) == file_url(other)
    await console.page.click("#remove")
    assert await console.page.is_visible("#drop")
    assert await console.focused() == "drop"


async def test_a_file_without_preview_is_still_sent(
    console: Console, stand_in: StandIn, tmp_path: Path
) -> None:
    odd = tmp_path / "scan.tiff"
    Image.new("L", (8, 8)).save(odd)
    await console.choose(odd)
    await console.until_text("#preview-note", "No preview. The file is sent unchanged.")
    await answered(console)
    assert sent_url(stand_in) == file_url(odd)


async def test_what_is_no_picture_is_refused_at_once(console: Console, tmp_path: Path) -> None:
    for name, content, problem in (
        ("notes.txt", b"hello", "notes.txt is not a picture."),
        ("page.html", b"<p>hello</p>", "page.html is not a picture."),
        ("empty.png", b"", "empty.png is empty."),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        await console.drop(path)
        await console.until_text("#picture-problem", problem)
        assert await console.page.is_visible("#drop")
    await console.use_sample()
    assert await console.text("#picture-problem") == ""


async def test_what_is_no_address_is_refused_at_once(console: Console) -> None:
    for address in (
        "",
        "mug.jpg",
        "ftp://shop.example/a.jpg",
        "javascript:alert(1)",
        "file:///etc",
    ):
        await console.give_address(address)
        assert "Enter a full address that starts with https:// or http://." in await console.text(
            "#picture-problem"
        )
        assert await console.page.get_attribute("#url", "aria-invalid") == "true"
        assert await console.focused() == "url"
        await console.page.fill("#question", "")  # the focus is elsewhere for the next one


async def test_what_is_missing_is_asked_for(console: Console, stand_in: StandIn) -> None:
    await console.page.click("#ask")
    assert await console.text("#picture-problem") == "Choose a picture first."
    assert await console.focused() == "drop"
    await console.give_address(ADDRESS)
    await console.page.click("#ask")
    assert await console.text("#question-problem") == "Type a question first."
    assert await console.focused() == "question"
    await answered(console)
    assert await console.text("#question-problem") == ""
    assert len(stand_in.bodies) == 1
