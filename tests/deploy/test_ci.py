"""The jobs of `silkline render ci`, held to the schemas of GitHub Actions and GitLab CI."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from tests.cli.commands import invoked

JOBS = {"github": "github-workflows", "gitlab": "gitlab-ci"}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ci")
    (folder / "silkline.toml").write_text('[engine]\nmodel = "/models/my shop"\n')
    found = invoked("render", "ci", "-o", folder, "--config", folder / "silkline.toml")
    assert found.code == 0, found.error
    return folder / "ci"


def jobs(folder: Path, kind: str) -> dict[str, Any]:
    """The jobs; YAML takes GitHub's key `on` for true."""
    found: dict[Any, Any] = yaml.safe_load((folder / kind / "silkline.yml").read_text())
    return {"on" if name is True else str(name): each for name, each in found.items()}


def texts(value: Any) -> Iterator[str]:
    """All texts in a document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from texts(each)


@pytest.mark.parametrize("kind", JOBS)
def test_they_have_the_form_that_is_published(rendered: Path, kind: str) -> None:
    vendored = files("check_jsonschema") / "builtin_schemas" / "vendor" / f"{JOBS[kind]}.json"
    schema = json.loads(vendored.read_text("utf-8"))
    found = jobs(rendered, kind)
    jsonschema_rs.validator_for(schema).validate(found)
    broken = json.loads(json.dumps(found).replace('"runs-on"', '"runs"').replace('"script"', '"x"'))
    assert not jsonschema_rs.validator_for(schema).is_valid(broken)


@pytest.mark.parametrize("kind", JOBS)
def test_their_commands_are_commands_of_silkline(rendered: Path, kind: str) -> None:
    commands = [text for text in texts(jobs(rendered, kind)) if "$SHIP_MODEL" in text]
    assert len(commands) == 2
    help_ = invoked("ship", "start", "--help").output
    for command in commands:
        words = shlex.split(command)
        assert words[:3] == ["silkline", "ship", "$SHIP_MODEL"]
        options = {word for word in words if word.startswith("--")}
        assert {"--data", "--require", "--url", "--store"} <= options
        assert all(option in help_ for option in options)


@pytest.mark.parametrize("kind", JOBS)
def test_the_model_of_the_settings_is_quoted(rendered: Path, kind: str) -> None:
    found = jobs(rendered, kind)
    variables = found["variables"] if kind == "gitlab" else found["jobs"]["ship"]["env"]
    assert variables["SHIP_MODEL"] == "/models/my shop"
