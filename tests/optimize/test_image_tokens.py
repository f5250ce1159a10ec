"""A bundle that prunes image tokens must take fewer of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from silkline.evaluate.journal import Reply
from silkline.models.bundle import Bundle, load_bundle
from silkline.models.gate import Verdict
from silkline.models.pruning import Method, Pruning
from silkline.models.resolve import bundled_folder
from silkline.optimize.image_tokens import judge_image_tokens
from tests.evaluate.items import reply

BASE = load_bundle(bundled_folder())


def pruning(bundle: Bundle) -> Bundle:
    """The same bundle, which says that it prunes."""
    entry = bundle.manifest.engines["openvino"]
    entry = msgspec.structs.replace(entry, pruning=Pruning(Method.MERGE, 0.5))
    manifest = msgspec.structs.replace(bundle.manifest, engines={"openvino": entry})
    return Bundle(Path(), manifest)


def replies(tokens: Sequence[int]) -> list[Reply]:
    return [msgspec.structs.replace(reply("mug"), image_tokens=each) for each in tokens]


@pytest.mark.parametrize(
    ("tokens", "verdict", "reason"),
    [
        ((32, 32), Verdict.PASSED, "takes 32.0 image tokens instead of 64.0"),
        ((64, 64), Verdict.REFUSED, "takes 64.0 image tokens instead of 64.0"),
        ((0, 0), Verdict.REFUSED, "takes 0.0 image tokens"),
        ((0, 32), Verdict.PASSED, "takes 32.0 image tokens"),  # the first one failed
    ],
)
def test_usage_must_have_fallen(tokens: tuple[int, ...], verdict: Verdict, reason: str) -> None:
    both = (replies([64, 64]), replies(tokens))
    (finding,) = judge_image_tokens((BASE, pruning(BASE)), "openvino", both)
    assert finding.verdict is verdict
    assert reason in finding.reason


def test_a_baseline_that_counts_no_images_decides_nothing() -> None:
    both = (replies([0]), replies([32]))
    (finding,) = judge_image_tokens((None, pruning(BASE)), "openvino", both)
    assert finding.verdict is Verdict.UNDECIDED


def test_other_bundles_are_not_asked() -> None:
    both = (replies([64]), replies([64]))
    assert judge_image_tokens((BASE, BASE), "openvino", both) == []
    assert judge_image_tokens((BASE, None), "openvino", both) == []
    assert judge_image_tokens((pruning(BASE), pruning(BASE)), "openvino", both) == []
    assert judge_image_tokens((BASE, pruning(BASE)), "torch", both) == []
