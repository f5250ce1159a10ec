"""The copied command sends the very request that the page sent."""

from __future__ import annotations

import asyncio
import io
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.console.driver import TIMES, Console
from tests.console.stand_in import StandIn

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOSTILE = "It's \"$HOME\" `id` $(touch broken) \\n \\\\ !x\nJSON\n100 % 'a' é 漢"


async def run(command: str, shell: str, folder: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        shell,
        "-c",
        command,
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "SILKLINE_API_KEY": "secret-1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, err) == (0, b"")
    return out.decode()


@pytest.mark.parametrize("source", ["file", "sample", "pasted", "address"])
async def test_the_command_sends_the_same_body(
    console: Console, stand_in: StandIn, picture: Path, tmp_path: Path, source: str
) -> None:
    shells = [shell for name in ("bash", "dash") if (shell := shutil.which(name))]
    assert shells, "This test runs the copied command. Run: apt-get install -y bash curl"
    folder = tmp_path
    if source == "file":
        await console.choose(picture)
        folder = picture.parent
    elif source == "sample":
        await console.use_sample()
    elif source == "pasted":
        png = io.BytesIO()
        Image.new("RGB", (9, 9), (10, 120, 90)).save(png, "PNG")
        await console.paste_picture(png.getvalue())
        await console.until_text("#picture-facts", TIMES)
    else:
        await console.give_address("https://shop.example/a$b`c.jpg?q='x'&r=\\")
    await console.ask(HOSTILE)
    await console.ended()
    command = await console.copy("#copy-curl")
    assert await console.page.is_visible("#curl-note") == (source == "file")
    for shell in shells:
        out = await run(command, shell, folder)
        assert out.rstrip().endswith("data: [DONE]")
        assert stand_in.bodies[-1] == stand_in.bodies[0]
    assert len(stand_in.bodies) == 1 + len(shells)
    assert not (folder / "broken").exists()


async def test_the_key_is_not_copied(console: Console, stand_in: StandIn, tmp_path: Path) -> None:
    await console.page.click("#key-menu summary")
    await console.page.fill("#key", "secret-1")
    await console.page.press("#key", "Enter")
    await console.use_sample()
    await console.ask("What is this?")
    await console.ended()
    command = await console.copy("#copy-curl")
    assert "secret-1" not in command
    await run(command, "bash", tmp_path)
    assert stand_in.authorizations == ["Bearer secret-1"] * 2
