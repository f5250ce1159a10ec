import importlib.metadata
import json
import os
import platform
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from silkline.cli.main import silkline
from silkline.engines.processor import instruction_set
from tests.gateway.keyrings import write_keys
from tests.serving import served


def doctor(*arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    result = CliRunner().invoke(silkline, ["doctor", "--json", *arguments])
    return result.exit_code, {finding["what"]: finding for finding in json.loads(result.output)}


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def test_a_machine_that_can_serve_is_good() -> None:
    code, findings = doctor("--port", "0")
    assert code == 0
    assert {"processor", "memory", "disk", "openvino-genai", "model", "port"} <= set(findings)
    assert findings["model"]["verdict"] == "good"
    assert "silkline-mini" in findings["model"]["detail"]


def test_cores_that_this_process_may_not_use_are_told() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [min(allowed)])
    try:
        _, findings = doctor("--port", "0")
    finally:
        os.sched_setaffinity(0, allowed)
    said = findings["processor"]["detail"]
    assert ("(1 usable)" in said) is (os.cpu_count() != 1)


def test_the_instructions_that_engines_compute_with_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "DEFAULT")
    best = instruction_set()
    _, findings = doctor("--port", "0")
    assert findings["processor"]["detail"].endswith(f"engines compute with {best}")
    if platform.machine() == "x86_64":
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
        _, findings = doctor("--port", "0")
        assert (
            f"SSE4.1 (ONEDNN_MAX_CPU_ISA allows no more; the processor has {best})"
            in (findings["processor"]["detail"])
        )
        assert findings["processor"]["verdict"] == "note"


def test_arm64_is_told_that_it_was_never_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    code, findings = doctor("--port", "0")
    assert code == 0
    assert "never run on arm64" in findings["processor"]["detail"]


def test_a_taken_port_is_bad_and_the_command_that_mends_it_is_named(taken_port: int) -> None:
    code, findings = doctor("--port", str(taken_port))
    assert code == 4
    assert findings["port"]["verdict"] == "bad"
    assert findings["port"]["remedy"] == f"silkline up --port {taken_port + 1}"


def test_an_open_server_where_others_reach_it_is_bad(tmp_path: Path) -> None:
    elsewhere = ("--port", "0", "--host", "0.0.0.0", "--engine", "fake")
    code, findings = doctor(*elsewhere)
    assert code == 4
    assert findings["keys"]["verdict"] == "bad"
    assert doctor(*elsewhere, "--allow-anyone", "true")[0] == 0
    keys = write_keys(tmp_path)
    code, findings = doctor(*elsewhere, "--keys-file", str(keys.file))
    assert code == 0
    assert findings["keys"]["detail"] == "tenants: 2, keys: 3"


def test_a_missing_model_is_bad() -> None:
    code, findings = doctor("--port", "0", "--model", "/no/such/model")
    assert code == 4
    assert findings["model"]["verdict"] == "bad"


def test_an_unknown_engine_is_bad() -> None:
    code, findings = doctor("--port", "0", "--engine", "opnvino")
    assert code == 4
    assert findings["engine"]["verdict"] == "bad"
    assert "openvino" in findings["engine"]["detail"]


def test_the_fake_engine_needs_no_model() -> None:
    code, findings = doctor("--port", "0", "--engine", "fake", "--model", "/no/such/model")
    assert code == 0
    assert findings["model"]["verdict"] == "good"


def test_a_picture_decoder_is_started() -> None:
    _, findings = doctor("--port", "0")
    assert findings["picture decoder"]["verdict"] == "good"


def test_a_library_that_is_too_old_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = importlib.metadata.version

    def version(name: str) -> str:
        return "2025.9.1" if name == "openvino-genai" else installed(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    code, findings = doctor("--port", "0")
    assert code == 4
    assert "2025.9.1" in findings["openvino-genai"]["detail"]
    assert findings["openvino-genai"]["remedy"] == 'pip install "silkline[openvino]"'
    assert findings["openvino"]["verdict"] == "good"


def test_an_ipv6_address_is_free() -> None:
    code, findings = doctor("--host", "::1", "--port", "0")
    assert code == 0
    assert findings["port"]["detail"] == "[::1]:0 is free"


@pytest.mark.parametrize(
    ("host", "message"),
    [("no-such-host.invalid", "cannot be resolved"), ("203.0.113.1", "Cannot assign")],
)
def test_an_address_that_is_not_this_machines_is_bad(host: str, message: str) -> None:
    code, findings = doctor("--host", host, "--port", "0")
    assert code == 4
    assert message in findings["port"]["detail"]
    assert findings["port"]["remedy"] is None


def test_brackets_are_shown_as_they_are() -> None:
    result = CliRunner().invoke(silkline, ["doctor", "--port", "0", "--model", "/a[openvino]"])
    assert "There is no file or folder /a[openvino]" in result.output


def test_people_get_a_table() -> None:
    result = CliRunner().invoke(silkline, ["doctor", "--port", "0"])
    assert result.exit_code == 0
    assert "good" in result.output
    assert "processor" in result.output


def test_the_libraries_are_those_of_the_engine() -> None:
    _, findings = doctor("--port", "0", "--engine", "torch")
    assert {"torch", "transformers"} <= set(findings)
    assert "openvino" not in findings
    _, findings = doctor("--port", "0", "--engine", "vllm")
    assert "openvino" not in findings


@pytest.mark.slow
def test_a_silkline_that_runs_there_is_no_fault() -> None:
    with served("--engine", "fake") as server:
        code, findings = doctor("--port", str(server.host_and_port[1]))
    assert code == 0
    assert findings["port"]["verdict"] == "note"
    assert "a Silkline runs on" in findings["port"]["detail"]


def test_lines_into_a_pipe_are_neither_padded_nor_wrapped() -> None:
    result = CliRunner().invoke(silkline, ["doctor", "--port", "0", "--model", "/" + "long/" * 40])
    lines = result.output.splitlines()
    assert lines == [line.rstrip() for line in lines]
    assert "/" + "long/" * 40 in result.output


def test_whether_documents_are_accepted_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    _, findings = doctor("--port", "0")
    assert findings["documents"]["verdict"] == "good"
    monkeypatch.setattr("silkline.cli.doctor.is_installed", lambda name: name != "pypdfium2")
    code, findings = doctor("--port", "0")
    assert code == 0
    assert findings["documents"]["verdict"] == "note"
    assert findings["documents"]["remedy"] == 'pip install "silkline[pdf]"'
