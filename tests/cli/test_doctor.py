import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from silkline.cli.main import silkline


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


def test_a_taken_port_is_bad_and_the_command_that_mends_it_is_named(taken_port: int) -> None:
    code, findings = doctor("--port", str(taken_port))
    assert code == 4
    assert findings["port"]["verdict"] == "bad"
    assert findings["port"]["remedy"] == f"silkline up --port {taken_port + 1}"


def test_a_missing_model_is_bad() -> None:
    code, findings = doctor("--port", "0", "--model", "/no/such/model")
    assert code == 4
    assert findings["model"]["verdict"] == "bad"


def test_people_get_a_table() -> None:
    result = CliRunner().invoke(silkline, ["doctor", "--port", "0"])
    assert result.exit_code == 0
    assert "good" in result.output
    assert "processor" in result.output
