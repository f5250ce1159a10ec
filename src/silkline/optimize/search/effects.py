"""Says what each optimisation does here, alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from silkline.optimize.search.candidates import Candidates
from silkline.optimize.search.plan import Effect
from silkline.optimize.search.trial import BASELINE, Trial
from silkline.report.numbers import change

_ALIKE = 0.01
"""Sizes and memory that differ by less are called the same."""


def effects(known: Candidates, trials: Sequence[Trial]) -> list[Effect]:
    """What each optimisation does here, alone; those that cannot be tried, too."""
    by_names = {trial.names: trial for trial in trials}
    baseline = by_names.get(BASELINE)
    found = []
    for name in known.known:
        trial = by_names.get((name,))
        if trial is None or baseline is None:
            found.append(Effect(name, helps=False, about="It was not tried: the time was over."))
        else:
            found.append(_effect(name, trial, baseline))
    unfit = sorted(known.unfit.items())
    return found + [
        Effect(name, helps=False, about=f"It does not apply: {why}.") for name, why in unfit
    ]


def _effect(name: str, trial: Trial, baseline: Trial) -> Effect:
    if not trial.measured:
        return Effect(name, helps=False, about=f"It could not be tried: {trial.problem}")
    said = ", ".join(_said(trial, baseline))
    if trial.problem:
        return Effect(name, helps=False, about=f"It does not help here: {trial.problem} It {said}.")
    if trial.low > 1:
        return Effect(name, helps=True, about=f"It {said}.")
    return Effect(name, helps=False, about=f"It does not help the speed here: it {said}.")


def _said(trial: Trial, baseline: Trial) -> Iterator[str]:
    clear = trial.low > 1 or trial.high < 1
    word = "" if clear else "about "
    yield (
        f"has {word}{trial.speed:.2f} times the speed, between {trial.low:.2f} and {trial.high:.2f}"
    )
    if trial.size and baseline.size and abs(trial.size / baseline.size - 1) > _ALIKE:
        yield f"{trial.size / baseline.size:.2f} times the size"
    if trial.memory and baseline.memory and abs(trial.memory / baseline.memory - 1) > _ALIKE:
        yield f"{trial.memory / baseline.memory:.2f} times the memory"
    yield f"{change(-trial.drop)} points on {trial.items} items"
