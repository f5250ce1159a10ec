"""Compares windows of live traffic with the baseline.

A request only adds its values to histograms. A window ends when it has lasted long enough and has
enough requests; each window is compared once, so the chance of a false alarm can be divided by the
number of comparisons.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import msgspec

from silkline.config import DriftSettings
from silkline.drift.baseline import MIN_VALUES, Baselines, Feature, ModelBaseline
from silkline.drift.features import Observed, features_of, observed
from silkline.drift.journal import Finding, Window
from silkline.drift.psi import chance_limit, stability_index
from silkline.observe import catalogue
from silkline.observe.declared import Reading
from silkline.service.record import RequestRecord

logger = logging.getLogger("silkline.drift")

DAYS_SECONDS = 30 * 86_400.0
"""The time over which false alarms are counted."""

_SPREADS = 2.0
"""How much more a window may differ than the most different part of the baseline did."""

_MOVED = 3


class _Open:
    """The window of a model that is still open."""

    def __init__(self, baseline: ModelBaseline, began: float) -> None:
        self.began = began
        self.requests = 0
        self.counts = {name: [0] * len(one.counts) for name, one in baseline.features.items()}


class Comparison:
    """A baseline's comparison with windows of traffic."""

    def __init__(self, settings: DriftSettings, *, models: int = 1, processes: int = 1) -> None:
        """Takes the settings, and how many models and gateway processes compare."""
        windows = max(1.0, DAYS_SECONDS / settings.drift_window)
        self._alarms = settings.drift_false_alarms / (windows * models * processes)
        self._index = settings.drift_psi

    def findings(self, baseline: ModelBaseline, counts: dict[str, list[int]]) -> dict[str, Finding]:
        """Compares the histograms of a window with the baseline; leaves out rare features."""
        alpha = min(0.5, self._alarms / max(1, len(baseline.features)))
        return {
            name: self._finding(baseline.features[name], found, alpha)
            for name, found in counts.items()
            if sum(found) >= MIN_VALUES
        }

    def _finding(self, feature: Feature, found: Sequence[int], alpha: float) -> Finding:
        before, now = sum(feature.counts), sum(found)
        chance = chance_limit(len(found), before, now, alpha)
        limit = max(self._index, _SPREADS * feature.spread, chance)
        shares = [
            (name, one / before, other / now)
            for name, one, other in zip(feature.bins.names, feature.counts, found, strict=True)
        ]
        shares.sort(key=lambda share: -abs(share[2] - share[1]))
        return Finding(stability_index(feature.counts, found), limit, now, tuple(shares[:_MOVED]))


class Windows:
    """The open windows of all models that have a baseline, and the last ones that ended."""

    def __init__(
        self,
        settings: DriftSettings,
        baselines: Baselines,
        *,
        processes: int = 1,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Takes the baselines by the model's name; `clock` returns Unix time."""
        self._settings = settings
        self._clock = clock
        self._draw = Random()  # noqa: S311 - a sample, no secret
        self._open: dict[str, _Open] = {}
        self._comparison = Comparison(settings, models=max(1, len(baselines)), processes=processes)
        self._looked_at = {
            name: (baseline.digests, baseline.fields) for name, baseline in baselines.items()
        }
        self.baselines = baselines
        self.last: dict[str, Window] = {}
        self.ended: list[Window] = []
        """Windows that are not yet in the journal."""
        self.counts = dict.fromkeys(baselines, 0)

    def take(self, record: RequestRecord) -> None:
        """Takes a request that has ended; returns at once."""
        if record.model in self.baselines and (seen := observed(record)) is not None:
            self.add(record.model, seen)

    def add(self, model: str, seen: Observed) -> None:
        """Adds a computed answer to its model's window; ends the window if that was its last."""
        baseline, now = self.baselines[model], self._clock()
        window = self._open.get(model)
        if window is None:
            window = self._open[model] = _Open(baseline, now)
        references, fields = self._looked_at[model]
        for name, value in features_of(seen, references, fields, self._draw):
            feature = baseline.features.get(name)
            if feature is not None:
                window.counts[name][feature.bins.index(value)] += 1
        window.requests += 1
        settings = self._settings
        lasted = now - window.began >= settings.drift_window
        if lasted and window.requests >= settings.drift_min_requests:
            del self._open[model]
            self._end(model, window, now)

    def _end(self, model: str, window: _Open, now: float) -> None:
        findings = self._comparison.findings(self.baselines[model], window.counts)
        ended = Window(model, window.began, now, window.requests, findings)
        self.last[model] = ended
        self.ended.append(ended)
        self.counts[model] += 1
        drifting = {name: found for name, found in findings.items() if found.drifts}
        if drifting:
            fields = {"silkline.model": model, "silkline.drift": sorted(drifting)}
            words = ", ".join(
                f"{name} {found.index:.2f} (limit {found.limit:.2f})"
                for name, found in sorted(drifting.items())
            )
            logger.warning("drift: %s", words, extra={"ecs": fields})

    def readings(self) -> Iterator[Reading]:
        """Metrics of the last windows."""
        for model, count in self.counts.items():
            yield catalogue.DRIFT_WINDOWS, (model,), count
        for model, window in self.last.items():
            yield catalogue.DRIFT_WINDOW_END, (model,), window.at
            for name, found in window.findings.items():
                yield catalogue.DRIFT_INDEX, (model, name), found.index
                yield catalogue.DRIFT_LIMIT, (model, name), found.limit
                yield catalogue.DRIFT_DETECTED, (model, name), float(found.drifts)

    def shown(self) -> list[dict[str, Any]]:
        """For each model: its baseline, its last window, and how far the open one is."""
        return [
            {
                "model": model,
                "baseline": {
                    "source": baseline.source,
                    "at": baseline.at,
                    "requests": baseline.requests,
                    "features": list(baseline.features),
                },
                "window": msgspec.to_builtins(self.last.get(model)),
                "open_requests": self._open[model].requests if model in self._open else 0,
            }
            for model, baseline in self.baselines.items()
        ]
