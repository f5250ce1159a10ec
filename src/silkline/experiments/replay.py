"""Replays a journal: whether each decision follows again from what had been seen until then."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from silkline.config.experiments import ExperimentSettings
from silkline.errors import ConfigError
from silkline.experiments.assignment import Arm
from silkline.experiments.journal import EVIDENCE, Decision, Past, Serving, read_past
from silkline.experiments.tally import Tally
from silkline.experiments.verdict import Step, Verdict, judge

_TOLERANCE = 1e-6
"""Sums of floats in another order differ less than this."""

_NOT_BY_EVIDENCE = ("The experiment begins", "Undecided after", "After ")
"""How the reasons begin of what the first start and the time decide."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """A decision, judged again.

    Attributes:
        decision: The decision.
        same_evidence: Whether the same evidence was found; None if it has none, as the first has.
        same_verdict: Whether the evidence allows it; None if a person decided, or time was over.
    """

    decision: Decision
    same_evidence: bool | None
    same_verdict: bool | None

    @property
    def is_right(self) -> bool:
        """Whether nothing differs."""
        return self.same_evidence is not False and self.same_verdict is not False


def replay(path: Path, experiment: str) -> list[Replayed]:
    """Judges all decisions of an experiment again.

    Args:
        path: The journal.
        experiment: The experiment's name.

    Raises:
        ConfigError: The file is no journal, or does not have the experiment.
    """
    if not path.is_file():
        raise ConfigError(f"There is no journal {path}. Name the file of experiment_file.")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as file:
            past = read_past(file, experiment)
    except sqlite3.Error as error:
        raise ConfigError(f"{path} is no journal of experiments: {error}.") from error
    if not past.decisions:
        raise ConfigError(f"The journal {path} has no experiment {experiment}.")
    found: list[Replayed] = []
    before: Decision | None = None
    for text, decision in past.decisions:
        evidence: dict[str, Any] = msgspec.json.decode(decision.evidence)
        settings = ExperimentSettings.model_validate_json(text)
        requests, in_shadow = 0, False
        if before is not None:
            requests = msgspec.json.decode(before.evidence)["arms"]["candidate"]["requests"]
            in_shadow = before.serving is Serving.SPLIT and not before.share
        verdict = judge(_tally(past, settings, evidence), settings, requests, in_shadow=in_shadow)
        same_evidence = _is_same(evidence, verdict) if "harm" in evidence else None
        found.append(Replayed(decision, same_evidence, _follows(decision, verdict)))
        before = decision
    return found


def _tally(past: Past, settings: ExperimentSettings, evidence: dict[str, Any]) -> Tally:
    """What had been seen when a decision was taken: as much of each kind as it counted."""
    margins = settings.shadow.scorers if settings.shadow.share else {}
    tally = Tally(settings.max_failures, margins)
    for arm in (Arm.CONTROL, Arm.CANDIDATE):
        counted = evidence["arms"][arm.value]
        for seen in [one for one in past.seen if one.arm is arm][: counted["requests"]]:
            tally.add(seen)
        values = [reward.value for reward in past.rewards if reward.arm is arm]
        for value in values[: counted["rewards"]]:
            tally.reward(arm, value)
    for name, counted in evidence.get("scores", {}).items():
        for score in [one for one in past.scores if one.scorer == name][: counted["pairs"]]:
            tally.score(score)
    return tally


def _is_same(evidence: dict[str, Any], verdict: Verdict) -> bool:
    return _are_close(evidence["harm"], verdict.harm) and _are_close(
        evidence["proof"], verdict.proof
    )


def _are_close(before: Mapping[str, float | None], now: Mapping[str, float]) -> bool:
    return before.keys() == now.keys() and all(
        math.isclose(value, now[name], rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
        if value is not None
        else not math.isfinite(now[name])
        for name, value in before.items()
    )


def _follows(decision: Decision, verdict: Verdict) -> bool | None:
    """Whether the evidence allows a decision; None if it was not taken for the evidence."""
    if decision.by != EVIDENCE or decision.reason.startswith(_NOT_BY_EVIDENCE):
        return None
    rolled_back = decision.serving is Serving.MODEL
    return verdict.step is (Step.ROLL_BACK if rolled_back else Step.ADVANCE)
