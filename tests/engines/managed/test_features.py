"""Which features vLLM and llama.cpp have with a model, and the flags that turn them on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from silkline.core import Feature
from silkline.engines.base import EngineOptions
from silkline.engines.managed.llamacpp import LlamaServer
from silkline.engines.managed.options import ManagedOptions
from silkline.engines.managed.vllm import VllmServer
from tests.engines.managed.models import gguf_folder, llava_folder

SOCKET = Path("/run/x.sock")
CACHE = 16 * 1024 * 1024
TOOLS = {Feature.TOOLS, Feature.STRICT_TOOLS}
REASONING = {Feature.THINKING, Feature.EFFORT}
CALLS = "{% if tools %}<tool_call>{{ tools | tojson }}{% endif %}"
SWITCH = "{% if enable_thinking %}<think>{% endif %}"


@pytest.fixture(autouse=True)
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("vllm", "llama-server"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def vllm(folder: Path, template: str | None, flags: str = "") -> VllmServer:
    model = llava_folder(folder / "model")
    if template is not None:
        (model / "chat_template.jinja").write_text(template)
    options = EngineOptions(model=model, kv_cache_bytes=CACHE)
    return VllmServer(options, ManagedOptions(flags=flags))


def chosen(server: VllmServer) -> dict[str, str]:
    """The parsers in the command."""
    words = server.command(SOCKET)
    flags = ("--tool-call-parser", "--reasoning-parser")
    return {flag: words[words.index(flag) + 1] for flag in flags if flag in words}


@pytest.mark.parametrize(("template", "tools", "reasoning"), [
    (None, None, None),
    ("{{ messages }}", None, None),
    (CALLS, "hermes", None),
    ("{{ tools }}<tool_call><function=f><parameter=a>", "qwen3_coder", None),
    ("{{ tools }}<tool_call>f<arg_key>a</arg_key>", "glm45", None),
    ("{{ tools }}[TOOL_CALLS]", "mistral", None),
    ("{{ tools }}<|python_tag|>", "llama3_json", None),
    ("{{ tools }}<|python_start|>", "llama4_pythonic", None),
    ("<tool_call>", None, None),
    (SWITCH, None, "qwen3"),
    (CALLS + SWITCH, "hermes", "qwen3"),
    ("<|im_start|>assistant\\n<think>\\n", None, "qwen3"),
    ("[gMASK]" + SWITCH, None, "glm45"),
    ("{{ tools }}[TOOL_CALLS][THINK]", "mistral", "mistral"),
    ("{{ content.split('</think>')[-1] }}<think>", None, None),
])  # fmt: skip
def test_parsers_follow_from_the_template(
    tmp_path: Path, template: str | None, tools: str | None, reasoning: str | None
) -> None:
    server = vllm(tmp_path, template)
    expected = {"--tool-call-parser": tools, "--reasoning-parser": reasoning}
    assert chosen(server) == {flag: name for flag, name in expected.items() if name}
    assert ("--enable-auto-tool-choice" in server.command(SOCKET)) is bool(tools)
    lacking = (set() if tools else TOOLS) | (set() if reasoning else REASONING)
    assert set(Feature) - server.features == lacking | {Feature.EXTRA}


@pytest.mark.parametrize("flags", [
    "--enable-auto-tool-choice --tool-call-parser xlam --reasoning-parser holo2",
    "--tool_call_parser=xlam --reasoning-parser=holo2",
])  # fmt: skip
@pytest.mark.parametrize("template", [None, CALLS + SWITCH])
def test_the_users_own_parsers_count(tmp_path: Path, flags: str, template: str | None) -> None:
    server = vllm(tmp_path, template, flags)
    words = server.command(SOCKET)
    assert not {"hermes", "qwen3"} & set(words)
    assert words[-len(flags.split()) :] == flags.split()
    assert set(Feature) - server.features == {Feature.EXTRA}


def test_vllm_knows_the_flags(tmp_path: Path) -> None:
    recorded = Path(__file__).parent / "recorded" / "vllm-0.32.0.txt"
    known = set(re.split(r"[,\s]+", recorded.read_text()))
    words = vllm(tmp_path, CALLS + SWITCH).command(SOCKET)
    assert {word for word in words[3:] if word.startswith("--")} <= known


def test_what_llamacpp_has(tmp_path: Path) -> None:
    options = EngineOptions(model=gguf_folder(tmp_path / "gguf"), kv_cache_bytes=CACHE)
    server = LlamaServer(options, ManagedOptions())
    assert "--jinja" in server.command(SOCKET)
    assert set(Feature) - server.features == {
        Feature.MIN_TOKENS, Feature.STOP_TOKEN_IDS, Feature.INCLUDE_STOP, Feature.REGEX,
        Feature.EXTRA, Feature.RAW, Feature.TOKENIZE,
    }  # fmt: skip
