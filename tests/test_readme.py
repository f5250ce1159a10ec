"""The READMEs are kept: their commands run, and both languages show the same ones."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from silkline.config import load_settings
from tests.serving import Served, served

ROOT = Path(__file__).parents[1]
ENGLISH = (ROOT / "README.md").read_text(encoding="utf-8")
CHINESE = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"
KEYS = "--into keys.toml"
CI_RUNS_ITSELF = ("make ",)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    joined = "\n".join(blocks(text, "console"))
    return re.findall(r"^\$ (.*(?:\\\n.*)*)$", joined, re.MULTILINE)


RUNNABLE = [line for line in commands(ENGLISH) if not line.startswith(CI_RUNS_ITSELF)]


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served() as running:
        yield running


def run(arguments: list[str] | str, server: Served) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        arguments,
        shell=isinstance(arguments, str),
        executable="/bin/bash" if isinstance(arguments, str) else None,
        cwd=ROOT,
        env={**os.environ, "PATH": path, "SILKLINE_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("command", RUNNABLE)
def test_a_command_works(command: str, server: Served, tmp_path: Path) -> None:
    command = command.replace(KEYS, f"--into {tmp_path}/keys.toml")
    result = run(command.replace(ADDRESS, server.url), server)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()
    assert '"error"' not in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("code", blocks(ENGLISH, "python"))
def test_a_program_works(code: str, server: Served) -> None:
    result = run([sys.executable, "-c", code.replace(ADDRESS, server.url)], server)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def test_there_is_something_to_run() -> None:
    assert len(RUNNABLE) >= 3
    assert blocks(ENGLISH, "python")


@pytest.mark.parametrize("language", ["console", "python", "toml"])
def test_both_languages_show_the_same(language: str) -> None:
    assert blocks(CHINESE, language) == blocks(ENGLISH, language)


@pytest.mark.parametrize("text", blocks(ENGLISH, "toml"))
def test_settings_shown_are_settings(text: str, tmp_path: Path) -> None:
    file = tmp_path / "silkline.toml"
    file.write_text(text, encoding="utf-8")
    assert load_settings(file, {}, {}) != load_settings(None, {}, {})


PAGES = [
    *(ROOT / name for name in ("README.md", "README.zh-CN.md", "CONTRIBUTING.md")),
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("benchmarks/*.md"),
    *ROOT.glob("recipes/**/*.md"),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s:]+)\)", page.read_text("utf-8")):
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), target


def anchors(page: Path) -> set[str]:
    """The names by which links reach the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}
