"""Which candidates there are: each optimisation alone, then combinations of those that help."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from silkline.models.bundle import Bundle
from silkline.optimize.optimisation import Optimisation, missing_libraries
from silkline.optimize.search.trial import Names, Trial

_MAX_COMBINED = 10
"""Optimisations from which combinations are made: the fastest alone."""

_HARDLY_SLOWER = 0.95
"""An optimisation that is slower than this alone, in times of the baseline, is not combined."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """The optimisations that can be tried.

    Attributes:
        known: Those that apply, by name, in the order in which they are applied.
        unfit: Why each of the others is not tried, by name.
    """

    known: Mapping[str, Optimisation]
    unfit: Mapping[str, str]

    def of(self, names: Names) -> list[Optimisation]:
        """The optimisations of a candidate."""
        return [self.known[name] for name in names]

    @property
    def alone(self) -> list[Names]:
        """A candidate for each optimisation, those first that cost least to try."""
        cheap_first = sorted(
            self.known.values(), key=lambda each: (each.needs_samples, each.calibrated)
        )
        return [(each.name,) for each in cheap_first]

    def combined(self, alone: Sequence[Trial]) -> list[Names]:
        """Combinations of at least two, the one that should be the fastest first.

        Two that change the same part are alternatives. The speed of a combination is taken to be
        the product of its parts' speeds; trials tell how far that holds.

        Args:
            alone: The trials of single optimisations.
        """
        speeds = {
            trial.names[0]: trial.speed
            for trial in alone
            if len(trial.names) == 1 and trial.names[0] in self.known
            if trial.measured and not trial.problem and trial.speed >= _HARDLY_SLOWER
        }
        best = sorted(speeds, key=lambda name: -speeds[name])[:_MAX_COMBINED]
        kept = [name for name in self.known if name in best]
        found = list(self._compatible(kept))
        return sorted(found, key=lambda names: (-math.prod(map(speeds.__getitem__, names)), names))

    def _compatible(self, kept: Sequence[str]) -> Iterator[Names]:
        for count in range(2, len(kept) + 1):
            for names in itertools.combinations(kept, count):
                parts = [part for name in names for part in self.known[name].parts]
                if len(parts) == len(set(parts)):
                    yield names


def candidates(base: Bundle, engine: str, found: Sequence[Optimisation]) -> Candidates:
    """Sorts the registered optimisations into those that can be tried and those that cannot.

    Args:
        base: The bundle that candidates are built from.
        engine: The engine that serves them.
        found: The registered optimisations.
    """
    known: dict[str, Optimisation] = {}
    unfit: dict[str, str] = {}
    for each in sorted(found, key=lambda one: (one.order, one.name)):
        if each.engine != engine:
            continue
        why = each.why_not(base)
        if missing := missing_libraries(each):
            why = f"it needs {', '.join(missing)}, which cannot be found"
        if why:
            unfit[each.name] = why
        else:
            known[each.name] = each
    return Candidates(known, unfit)
