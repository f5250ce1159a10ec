"""A large machine computes as a small one: the server, with its instructions limited to AVX2.

The contract with the same limit is in tests/evaluate/contract/test_command.py.
"""

from __future__ import annotations

import platform

import httpx2
import pytest

from silkline.engines.processor import instruction_set
from tests.gateway.asking import messages
from tests.serving import served

ENGINES = [
    ("openvino", ()),
    ("torch", ("--engine-options", "dtype=float32")),
    pytest.param("torch", ("--engine-options", "dtype=bfloat16"), marks=pytest.mark.full),
    pytest.param("torch", ("--engine-options", "dtype=float16"), marks=pytest.mark.full),
]


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "options"), ENGINES)
def test_every_engine_and_type_answers_and_says_its_instructions(
    engine: str, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    asked = {"model": "silkline-mini", "messages": messages(text="Hello"), "max_tokens": 3}
    with (
        served("--engine", engine, "--model", "silkline-mini", *options) as running,
        httpx2.Client(base_url=running.url, timeout=60) as client,
    ):
        reply = client.post("/v1/chat/completions", json=asked)
        (model,) = client.get("/v1/models").json()["data"]
    assert reply.status_code == 200, reply.text
    assert reply.json()["usage"]["completion_tokens"] >= 1
    assert model["instruction_set"] == instruction_set()
    if platform.machine() == "x86_64":
        assert model["instruction_set"] == "AVX2"
