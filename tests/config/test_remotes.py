"""How remote servers are named in the settings."""

from pathlib import Path
from typing import Any

import pytest

from silkline.config import RemoteSettings, load_settings, server_root
from silkline.core import Feature
from silkline.engines.remote.key import read_key
from silkline.errors import ConfigError

FORMS: list[Any] = [
    "http://a:1 weight=2 key_env=K, https://b",
    ["http://a:1 weight=2 key_env=K", "https://b"],
    '[{"url": "http://a:1", "weight": 2, "key_env": "K"}, "https://b/"]',
]


def of(flags: dict[str, Any]) -> tuple[RemoteSettings, ...]:
    return load_settings(None, {}, flags).engine.remotes


@pytest.mark.parametrize("form", FORMS)
def test_as_a_flag_and_as_a_variable(form: Any) -> None:
    first, second = of({"remotes": form})
    assert (first.url, first.weight, first.key_env) == ("http://a:1/v1", 2.0, "K")
    assert (second.url, second.weight, second.limit) == ("https://b/v1", 1.0, None)
    if isinstance(form, str):
        assert load_settings(None, {"SILKLINE_REMOTES": form}, {}).engine.remotes == (first, second)


@pytest.mark.parametrize("form", [
    "http://a without=tools+grammar pass_fields=vllm_*+chat_template block_fields=mood",
    (
        '[{"url": "http://a", "without": ["tools", "grammar"], "block_fields": ["mood"], '
        '"pass_fields": ["vllm_*", "chat_template"]}]'
    ),
])  # fmt: skip
def test_lists_in_an_entry(form: str) -> None:
    (remote,) = of({"remotes": form})
    assert remote.without == (Feature.TOOLS, Feature.GRAMMAR)
    assert remote.pass_fields == ("vllm_*", "chat_template")
    assert remote.block_fields == ("mood",)
    (plain,) = of({"remotes": "http://a pass_fields="})
    assert (plain.without, plain.pass_fields, plain.block_fields) == ((), (), ())


def test_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "silkline.toml"
    file.write_text(
        '[engine]\nengine = "remote"\n\n'
        '[[engine.remotes]]\nurl = "http://a/api/v1"\nlimit = 8\n\n'
        '[[engine.remotes]]\nurl = "http://[::1]:9"\n'
    )
    first, second = load_settings(file, {}, {}).engine.remotes
    assert (first.url, first.limit) == ("http://a/api/v1", 8)
    assert second.url == "http://[::1]:9/v1"


@pytest.mark.parametrize(("text", "root"), [
    ("http://a:1", "http://a:1"),
    ("http://a:1/", "http://a:1"),
    ("http://a:1/v1", "http://a:1"),
    ("http://a:1/v1/", "http://a:1"),
    ("http://a:1//v1//", "http://a:1"),
    ("HTTPS://a/api/v1/", "https://a/api"),
    ("https://a/v1beta/openai", "https://a/v1beta/openai"),
    ("http://[::1]:9/v1/chat/completions", "http://[::1]:9"),
    ("http://a/v1/models/", "http://a"),
    ("http://a/models", "http://a/models"),
    (" http://a/v1 ", "http://a"),
])  # fmt: skip
def test_a_server_may_be_named_with_and_without_the_api_in_its_url(text: str, root: str) -> None:
    assert server_root(text) == root
    assert RemoteSettings(url=text).url == f"{root}/v1"


@pytest.mark.parametrize("wrong", [
    "a:1", "http://a weight", "http://a weight=0", "http://a wait=1", "http://a:x", "file:///a",
    "http://me:secret@a", "http://a key_env=A key_file=B", "[5]", '[{"weight": 1}]',
    "http://a without=flying", '[{"url": "http://a", "without": [5]}]',
])  # fmt: skip
def test_what_is_wrong_is_named(wrong: str) -> None:
    with pytest.raises(ConfigError, match=r"remotes.* in \[engine\]"):
        of({"remotes": wrong})


def test_keys_are_read_where_the_settings_point_and_stand_in_no_dump(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk-file\n")
    named = RemoteSettings(url="http://a", key_env="K")
    filed = RemoteSettings(url="http://a", key_file=str(file))
    assert read_key(named, {"K": "sk-env"}) == "sk-env"
    assert read_key(filed, {}) == "sk-file"
    assert read_key(RemoteSettings(url="http://a"), {}) is None
    settings = load_settings(None, {}, {"remotes": [f"http://a key_file={file}"]})
    assert "sk-" not in settings.model_dump_json() + repr(settings)


@pytest.mark.parametrize("key", ["", " \n", "two\nlines", "kéy"])
def test_what_is_no_key_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_key(RemoteSettings(url="http://a", key_env="K"), {"K": key})
    assert "variable K" in caught.value.message
    assert not key.strip() or key not in caught.value.message
