"""Puts the report of an experiment together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from silkline.experiments.report.plots import plots
from silkline.report.page import render

_STATES = {
    "split": "both models answer",
    "paused": "paused",
    "model": "the model answers",
    "candidate": "the candidate answers",
}
_SHORT = {
    "split": "running", "paused": "paused", "model": "model kept", "candidate": "promoted",
}  # fmt: skip
_BY = {"evidence": "the evidence"}
_LARGEST = 1e6
"""E-values above are not written out."""


def page(found: Mapping[str, Any]) -> str:
    """The report of an experiment: HTML without a reference to anything outside.

    Args:
        found: The experiment, as `GET /admin/experiments/NAME` shows it.
    """
    return render(
        "silkline.experiments.report",
        title=f"Experiment {found['name']}",
        command="silkline experiment report",
        figures=True,
        found=found,
        grade={"candidate": "fine", "model": "poor"}.get(found["serving"], ""),
        tiles_of=_tiles(found),
        plots=plots(found),
        arms=list(_arms(found["evidence"])),
        strata=[
            [name, *(f"{arms[arm]:,}" for arm in ("control", "candidate"))]
            for name, arms in found["evidence"]["strata"].items()
        ],
        questions=list(_questions(found["evidence"])),
        decisions=list(_decisions(found["decisions"])),
        settings=found["settings"],
        evidence=[one["evidence"] for one in found["decisions"]],
        at=_moment(found["at"]),
    )


def _tiles(found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    evidence = found["evidence"]
    arms = evidence["arms"]
    tiles = [
        ("state", _SHORT[found["serving"]], _STATES[found["serving"]]),
        ("candidate's share", f"{found['share']:.0%}", "of the model's requests"),
        ("requests", f"{arms['candidate']['requests']:,}",
         f"control {arms['control']['requests']:,}"),
        ("failed", f"{arms['candidate']['failures']:,}",
         f"control {arms['control']['failures']:,}"),
    ]  # fmt: skip
    if (one := evidence.get("log_latency_difference")) is not None:
        ratio, low, high = (math.exp(one[key]) for key in ("estimate", "low", "high"))
        tiles.append(("latency over control", f"{ratio:.3f}", f"{low:.3f} to {high:.3f}"))
    if (one := evidence.get("gain")) is not None:
        told = (f"{one['estimate']:+.3f}", f"{one['low']:+.3f} to {one['high']:+.3f}")
        tiles.append(("reward minus control", *told))
    return tiles


def _arms(evidence: Mapping[str, Any]) -> Iterator[list[str]]:
    for name, arm in evidence["arms"].items():
        tail = evidence["p99_seconds"].get(name)
        yield [
            name,
            f"{arm['requests']:,}",
            f"{arm['failures']:,}",
            f"{arm['rewards']:,}",
            f"{arm['mean_reward']:.3f}" if arm["rewards"] else "-",
            _tail(tail) if tail else "-",
        ]


def _tail(tail: Mapping[str, float | None]) -> str:
    low, high = ("?" if bound is None else f"{bound:.3g}" for bound in (tail["low"], tail["high"]))
    return f"{tail['estimate']:.3g} s ({low} to {high})"


def _questions(evidence: Mapping[str, Any]) -> Iterator[list[str]]:
    """Each guard, each requirement and the split: its e-value, and what it has to reach."""
    alone, proof = evidence["limits"]
    for name, value in evidence["harm"].items():
        yield [f"{name}: worse than accepted", *_weighed(value, alone), "rolled back"]
    for name, value in evidence["proof"].items():
        yield [f"{name}: within what is accepted", *_weighed(value, proof), "met"]
    split = evidence["split"]
    yield ["arms are of unequal size", *_weighed(split["evidence"], split["limit"]), "stopped"]


def _weighed(value: float | None, limit: float) -> tuple[str, str, str]:
    """An e-value, its limit, and whether it has been reached."""
    if value is None:  # JSON has no infinity
        return "without bound", f"{math.exp(limit):,.0f}", "yes"
    found = math.exp(min(value, 700.0))
    told = f"{found:,.3g}" if found < _LARGEST else f"10^{value / math.log(10):.0f}"
    return told, f"{math.exp(limit):,.0f}", "yes" if value >= limit else "no"


def _decisions(decisions: list[Mapping[str, Any]]) -> Iterator[list[str]]:
    for one in decisions:
        arms = one["evidence"]["arms"]
        rested = " and ".join(f"{arm['requests']:,}" for arm in arms.values())
        rewards = " and ".join(f"{arm['rewards']:,}" for arm in arms.values())
        yield [
            _moment(one["at"]),
            _STATES[one["serving"]],
            f"{one['share']:.0%}",
            _BY.get(one["by"], one["by"]),
            one["reason"],
            rested,
            rewards,
        ]


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
