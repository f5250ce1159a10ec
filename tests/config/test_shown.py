"""The settings in force: where each came from, and that no secret is in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from silkline.config import load_settings, section_of_field, shown_settings
from silkline.config.shown import MASK


def rows(file: Path | None = None, **sources: Any) -> dict[str, dict[str, Any]]:
    environment = sources.pop("environment", {})
    shown = shown_settings(load_settings(file, environment, sources))
    return {f"{row['section']}.{row['name']}": row for row in shown}


def test_every_setting_is_shown_with_its_source(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(
        '[server]\nport = 1\nhost = "localhost"\n[engine]\nworkers = 2\n[models.big]\nthreads = 3\n'
    )
    shown = rows(file, environment={"SILKLINE_PORT": "2", "SILKLINE_CACHE_TTL": "9"}, port=3)
    assert {name.partition(".")[2] for name in shown} >= set(section_of_field())
    assert (shown["server.port"]["value"], shown["server.port"]["source"]) == (3, "flag --port")
    assert shown["server.host"]["source"] == f"file {file}"
    assert shown["cache.cache_ttl"]["source"] == "variable SILKLINE_CACHE_TTL"
    assert shown["cache.cache_ttl"]["default"] == 3600
    assert shown["log.log_level"]["source"] == "default"
    assert shown["models.big.threads"]["value"] == 3
    assert shown["models.big.threads"]["source"] == f"file {file}"
    json.dumps(shown)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cache_redis", "redis://user:hunter2@cache:6379/1"),
        ("cache_redis", "redis://:hunter2@cache:6379/1"),
        ("cache_redis", "redis://cache:6379/1?password=hunter2"),
        ("idempotency_store", "redis://user:hunter2@cache:6379/1"),
        ("cache_objects", "s3://bucket/x?secret_access_key=hunter2&region=eu"),
        ("engine_options", "api_key=hunter2"),
        ("engine_options", "flags=--x --hf-token=hunter2"),
    ],
)
def test_secrets_are_masked(name: str, text: str) -> None:
    shown = json.dumps(rows(None, **{name: text}), ensure_ascii=False)
    assert "hunter2" not in shown
    assert MASK in shown


def test_what_is_no_secret_is_shown_whole() -> None:
    url = "s3://bucket/prefix?region=eu"
    assert rows(cache_objects=url)["cache.cache_objects"]["value"] == url
    assert rows(keys_file="keys.toml")["auth.keys_file"]["value"] == "keys.toml"
    remotes = rows(remotes=["http://gpu1:8000 key_env=VLLM_KEY"])["engine.remotes"]["value"]
    assert remotes == [{"url": "http://gpu1:8000/v1", "key_env": "VLLM_KEY"}]


def test_experiments_are_shown_with_their_changes(tmp_path: Path) -> None:
    file = tmp_path / "silkline.toml"
    file.write_text(
        '[models.a]\n[experiments.e]\nmodel = "a"\ncandidate = "a"\n'
        "[experiments.e.changes]\nmax_pixels = 576\n"
    )
    rows = shown_settings(load_settings(file, {}, {}))
    found = {row["name"]: row for row in rows if row["section"] == "experiments.e"}
    assert found.keys() == {"model", "candidate", "changes"}
    assert (found["model"]["value"], found["model"]["default"]) == ("a", None)
    assert found["changes"]["value"] == {"max_pixels": 576}
