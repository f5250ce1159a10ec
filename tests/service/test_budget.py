"""The division of the machine between models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from silkline.config import ModelSettings
from silkline.engines.kv_budget import MIN_BYTES
from silkline.engines.registry import engine_spec
from silkline.errors import ConfigError
from silkline.models.resolve import bundled_folder
from silkline.service.budget import Machine, Need, Share, divide, need_of

GIB = 1024**3
SMALL = Need(GIB, MIN_BYTES, threads=0, workers=1, cores=1.0, memory=1.0)
MACHINE = Machine(cores=8, memory_bytes=16 * GIB)


def test_a_model_alone_takes_what_its_engine_chooses() -> None:
    assert divide(Machine(1, 0), {"a": replace(SMALL, threads=64)}) == {"a": Share()}


def test_cores_are_divided_by_weight_after_the_threads_that_are_set() -> None:
    needs = {
        "fixed": replace(SMALL, threads=2, workers=2),
        "large": replace(SMALL, cores=3.0),
        "small": replace(SMALL, workers=2),
    }
    shares = divide(MACHINE, needs)
    assert {name: share.threads for name, share in shares.items()} == {
        "fixed": 1,
        "large": 4,
        "small": 1,
    }


def test_every_model_has_a_thread() -> None:
    shares = divide(Machine(2, 16 * GIB), dict.fromkeys("abc", SMALL))
    assert [share.threads for share in shares.values()] == [1, 1, 1]


def test_memory_for_caches_is_divided_by_weight() -> None:
    needs = {"a": replace(SMALL, memory=3.0), "b": SMALL}
    shares = divide(MACHINE, needs)
    a, b = shares["a"].kv_cache_limit, shares["b"].kv_cache_limit
    assert a == 3 * b
    assert a + b <= (16 - 2) * GIB / 4


def test_a_cache_that_the_settings_name_leaves_less_for_the_others() -> None:
    named = replace(SMALL, cache_bytes=13 * GIB)
    rest = divide(MACHINE, {"named": named, "other": SMALL})["other"].kv_cache_limit
    assert MIN_BYTES <= rest <= 16 * GIB - named.memory_bytes - SMALL.weights_bytes


def test_a_remote_model_takes_nothing() -> None:
    remote = Need(0, 0, 0, workers=0, cores=1.0, memory=1.0)
    shares = divide(MACHINE, {"a": SMALL, "b": remote})
    assert shares["b"] == Share()
    assert shares["a"].threads == 8


def test_too_many_threads_are_refused_with_the_sum_and_the_parts() -> None:
    needs = {"a": replace(SMALL, threads=6), "b": replace(SMALL, threads=3), "c": SMALL}
    with pytest.raises(ConfigError, match=r"take 9 threads together.* 8 cores: a 6, b 3\."):
        divide(MACHINE, needs)


def test_too_much_memory_is_refused_with_the_sum_and_the_parts() -> None:
    needs = {"a": replace(SMALL, weights_bytes=15 * GIB), "b": replace(SMALL, cache_bytes=2 * GIB)}
    with pytest.raises(ConfigError) as refused:
        divide(MACHINE, needs)
    assert "need 19.46 GB of memory together, and 17.18 GB are free" in refused.value.message
    assert "b 3.22 GB (weights 1.07 GB, KV cache 2.15 GB)" in refused.value.message


def test_a_models_need_is_read_from_its_files() -> None:
    folder: Path = bundled_folder()
    wanted = ModelSettings(kv_cache_bytes=1000)
    graphs = sum(path.stat().st_size for path in (folder / "openvino").glob("openvino_*.*"))
    exported = need_of(wanted, engine_spec("openvino"), folder, workers=2)
    assert (exported.weights_bytes, exported.cache_bytes) == (2 * graphs, 2000)
    fake = need_of(ModelSettings(threads=3), engine_spec("fake"), None, workers=2)
    assert (fake.memory_bytes, fake.threads) == (0, 6)
