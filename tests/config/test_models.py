"""The tables `[models.NAME]`."""

from __future__ import annotations

from pathlib import Path

import pytest

from silkline.config import ModelSettings, Settings, load_settings
from silkline.errors import ConfigError


def loaded(folder: Path, text: str, **flags: str) -> Settings:
    file = folder / "silkline.toml"
    file.write_text(text, encoding="utf-8")
    return load_settings(file, {}, flags)


def test_without_tables_the_model_of_the_engine_section_is_the_only_one(tmp_path: Path) -> None:
    (key, model), *others = loaded(tmp_path, "[engine]\nmax_batch = 3\n").served.items()
    assert (key, model, others) == ("", ModelSettings(max_batch=3), [])


def test_a_table_takes_from_the_engine_section_what_it_leaves_out(tmp_path: Path) -> None:
    text = """
        [engine]
        max_batch = 3
        threads = 2
        [models.small]
        threads = 1
        idle_s = 60
        [models."org/large"]
        model = "org/large"
        aliases = ["big"]
    """
    served = loaded(tmp_path, text, engine="fake").served
    assert list(served) == ["small", "org/large"]
    small, large = served.values()
    assert (small.served_name, small.max_batch, small.threads, small.idle_s) == ("small", 3, 1, 60)
    assert (large.served_name, large.model, large.threads) == ("org/large", "org/large", 2)
    assert {small.engine, large.engine} == {"fake"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[models.a]\nmax_bath = 1", r"key max_bath in \[models.a\].*Did you mean max_batch"),
        ("[models.a]\nmax_batch = 0", r"max_batch in \[models.a\] is 0"),
        ("[models.a]\ncores = 0", r"cores in \[models.a\] is 0"),
        ("[models.a]\nlora_modules = 'x'", r"key lora_modules in \[models.a\].*base = \"a\""),
        ("[models.a]\nadapter = 'x'", "a sets adapter alone"),
        ("[models.a]\nadapter = 'x'\nbase = 'b'", r"weights of b, .*add \[models.b\]"),
        ("[models.a]\nadapter = 'x'\nbase = 'a'", "base a of the adapter a is an adapter itself"),
        (
            "[models.b]\n[models.a]\nadapter = 'x'\nbase = 'b'\nworkers = 2",
            "adapter a sets workers",
        ),
        ("[models]\na = 3", r"a in \[models\].*not a table: write \[models.a\]"),
        ("[models.qwen2.5-vl]\nmodel = 'x'", r'needs quotes: \[models."qwen2.5-vl"\]'),
        ('[models."-a"]', r"\[models.-a\] is '-a': expected up to 100 of"),
        ("[models.a]\nserved_name = 'b'", r"\[models.a\] sets served_name"),
        ("[engine]\nserved_name = 'b'\n[models.a]", r"served_name in \[engine\] is b"),
        ("[models.a]\naliases = ['b']\n[models.b]", "a and b both have the name or alias b"),
        ("[models.a]\naliases = ['x']\n[models.b]\naliases = ['x']", "name or alias x"),
    ],
)
def test_a_wrong_table_is_refused_by_name(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        loaded(tmp_path, text)


def test_an_adapter_takes_nothing_from_the_engine(tmp_path: Path) -> None:
    text = """
        [engine]
        remotes = ["http://127.0.0.1:9"]
        max_batch = 3
        [models.b]
        [models.a]
        base = "b"
        adapter = "a-lora"
        aliases = ["c"]
    """
    adapter = loaded(tmp_path, text).served["a"]
    assert (adapter.served_name, adapter.base, adapter.loads) == ("a", "b", "a-lora")
    assert adapter.model_fields_set == {"served_name", "base", "adapter", "aliases"}
