from dataclasses import replace
from pathlib import Path

from silkline.models.bundle import load_bundle
from silkline.optimize.openvino import (
    DECODER_INT4,
    DECODER_INT4_AWQ,
    DECODER_INT8,
    KV_F16,
    KV_U8,
    VISION_STATIC,
    WEIGHTS_INT8,
)
from silkline.optimize.search.candidates import Candidates, candidates
from silkline.optimize.search.trial import Names, Trial
from tests.optimize.bundles import make_exact


def alone(name: str, speed: float, problem: str = "") -> Trial:
    return Trial(names=(name,), items=8, speed=speed, problem=problem)


def combined(*trials: Trial) -> list[Names]:
    found = (DECODER_INT4, DECODER_INT8, KV_U8, VISION_STATIC, WEIGHTS_INT8)
    return Candidates({each.name: each for each in found}, {}).combined(trials)


def test_what_cannot_be_tried_is_told(tmp_path: Path) -> None:
    base = load_bundle(make_exact(tmp_path / "exact"))
    missing = replace(KV_U8, name="missing", libraries=("no_such_library",))
    other = replace(KV_U8, name="other", engine="torch")
    late = replace(KV_U8, name="a", order=1)
    found = candidates(base, "openvino", [late, KV_U8, KV_F16, missing, other])
    assert list(found.known) == ["kv-u8", "a"]
    assert found.alone == [("kv-u8",), ("a",)]
    assert found.unfit == {
        "kv-f16": "its KV cache is f16 already",
        "missing": "it needs no_such_library, which cannot be found",
    }


def test_what_costs_least_is_tried_first() -> None:
    found = (DECODER_INT4_AWQ, VISION_STATIC, KV_U8, DECODER_INT8)
    ordered = Candidates({each.name: each for each in found}, {}).alone
    assert [name for (name,) in ordered] == [
        "kv-u8", "decoder-int8", "vision-int8-static", "decoder-int4-awq",
    ]  # fmt: skip


def test_of_those_that_change_the_same_part_one_is_taken() -> None:
    trials = (
        alone("decoder-int4", 1.5), alone("decoder-int8", 1.2),
        alone("vision-int8-static", 2.0), alone("kv-u8", 1.0), alone("weights-int8", 1.7),
    )  # fmt: skip
    assert combined(*trials) == [
        ("decoder-int4", "kv-u8", "vision-int8-static"),
        ("decoder-int4", "vision-int8-static"),
        ("decoder-int8", "kv-u8", "vision-int8-static"),
        ("decoder-int8", "vision-int8-static"),
        ("kv-u8", "vision-int8-static"),
        ("kv-u8", "weights-int8"),
        ("decoder-int4", "kv-u8"),
        ("decoder-int8", "kv-u8"),
    ]


def test_what_is_slower_or_lost_too_much_is_not_combined() -> None:
    trials = (
        alone("decoder-int4", 1.5, "accuracy_drop<=1pt: lost"), alone("decoder-int8", 1.2),
        alone("vision-int8-static", 0.8), alone("kv-u8", 0.97),
    )  # fmt: skip
    assert combined(*trials) == [("decoder-int8", "kv-u8")]
