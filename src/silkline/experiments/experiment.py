"""One running experiment: what it has seen, which model answers, and the next step."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from heapq import merge
from operator import attrgetter
from typing import Any

import msgspec

from silkline.config.experiments import ExperimentSettings
from silkline.errors import InvalidRequest
from silkline.experiments.assignment import Arm, arm_of, takes_part
from silkline.experiments.bandit import bandit_arm, candidate_share
from silkline.experiments.course import Course
from silkline.experiments.expectation import Expectation, expect
from silkline.experiments.journal import EVIDENCE, Decision, Journal, Marks, Reward, Serving
from silkline.experiments.shadow import Shadow
from silkline.experiments.tally import Observation, Tally
from silkline.experiments.verdict import (
    LATENCY,
    MIN_OBSERVATIONS,
    MISMATCH_LIMIT,
    REWARD,
    Step,
    Verdict,
    judge,
)

logger = logging.getLogger("silkline.experiments")

_DAY_SECONDS = 86_400.0
_EVEN = 0.5
_MAX_WAITING = 10_000
"""Observations that wait to be written; more are counted as lost."""


class Experiment:
    """An experiment; every decision is in the journal before it takes effect."""

    def __init__(
        self,
        name: str,
        settings: ExperimentSettings,
        journal: Journal,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Takes the settings; `start` reads the journal. `clock` returns Unix time.

        Raises:
            ConfigError: There is no scorer with a name in the settings.
            EnvironmentFault: A scorer cannot be imported.
        """
        self.name = name
        self.shadow = Shadow(name, settings, journal, clock)
        self.settings = settings
        margins = settings.shadow.scorers if settings.shadow.share else {}
        self.tally = Tally(settings.max_failures, margins)
        self.course = Course(settings, self.tally)
        self.decisions: list[Decision] = []
        self.lost = 0
        self._journal = journal
        self._clock = clock
        self._requests_before = 0
        self._marks = Marks()
        self._waiting: dict[tuple[str, str], Observation] = {}
        self._writing = asyncio.Lock()
        self._deciding = asyncio.Lock()

    async def start(self) -> None:
        """Continues from the journal, or begins at the first share."""
        await self.flush()
        if not self.decisions:
            first = self.settings.ramp[0]
            await self._decide(Serving.SPLIT, first, EVIDENCE, "The experiment begins.", None)

    @property
    def serving(self) -> Serving:
        """Which model answers."""
        decided = self.decisions[-1].serving
        return Serving.PAUSED if self.settings.paused and decided is Serving.SPLIT else decided

    @property
    def share(self) -> float:
        """The candidate's share while both models answer."""
        if self.settings.mode == "bandit" and self.serving is Serving.SPLIT:
            return candidate_share(
                self.tally.rewards(Arm.CONTROL),
                self.tally.rewards(Arm.CANDIDATE),
                self.settings.exploration,
            )
        return self.decisions[-1].share

    @property
    def verdict(self) -> Verdict:
        """What the evidence allows now."""
        in_shadow = self.serving is Serving.SPLIT and not self.share
        return judge(self.tally, self.settings, self._requests_before, in_shadow=in_shadow)

    def assign(self, unit: bytes) -> Arm:
        """Returns the arm of a unit; `OUTSIDE` unless the experiment runs."""
        if self.serving is not Serving.SPLIT:
            return Arm.OUTSIDE
        if not takes_part(self.name, unit, self.settings):
            return Arm.OUTSIDE
        assigned = bandit_arm if self.settings.mode == "bandit" else arm_of
        return assigned(self.name, unit, self.share)

    def observe(self, seen: Observation) -> None:
        """Takes a request of an arm that has ended; it counts when `flush` has written it."""
        if len(self._waiting) >= _MAX_WAITING:
            self.lost += 1
            return
        self._waiting.setdefault((seen.request, seen.tenant), seen)

    def awaits(self, request: str, tenant: str) -> bool:
        """Whether a request was observed and is not written yet."""
        return (request, tenant) in self._waiting

    async def flush(self) -> None:
        """Writes what was observed, and counts what this gateway and others have written.

        Raises:
            Overloaded: The journal fails; the next call tries again.
        """
        async with self._writing:
            written = [*self._waiting.values()]
            if written:
                await self._journal.observe(self.name, written)
                for one in written:
                    del self._waiting[one.request, one.tenant]
            await self.shadow.write()
            await self._read()

    async def _read(self) -> None:
        """Counts what is new in the journal, in its order: so all gateways know the same."""
        past = await self._journal.read(self.name, self._marks)
        self._marks = past.marks
        self.decisions += [decision for _, decision in past.decisions]
        if past.decisions:
            arms = msgspec.json.decode(self.decisions[-1].evidence)["arms"]
            self._requests_before = arms[Arm.CANDIDATE.value]["requests"]
        new: Iterator[Observation | Reward] = merge(past.seen, past.rewards, key=attrgetter("at"))
        for one in new:
            if isinstance(one, Reward):
                self.tally.reward(one.arm, one.value)
            else:
                self._add(one)
        for score in past.scores:
            self.tally.score(score)

    async def settle(self) -> None:
        """Writes what was observed, and takes the step that the evidence allows.

        Raises:
            Overloaded: The journal fails.
        """
        await self.flush()
        async with self._deciding:
            if self.serving is Serving.SPLIT:
                await self._step(self.verdict)

    async def take(self, step: str, by: str) -> None:
        """Takes a step that a person wants.

        Args:
            step: `promote`, `rollback`, `restart`, `pause` or `resume`.
            by: The name of the admin's key.

        Raises:
            InvalidRequest: There is no such step, or it cannot be taken now.
            Overloaded: The journal fails.
        """
        await self.flush()
        async with self._deciding:
            steps = {
                "promote": (Serving.CANDIDATE, 1.0, "An admin promoted it."),
                "rollback": (Serving.MODEL, 0.0, "An admin rolled it back."),
                "restart": (Serving.SPLIT, self.settings.ramp[0], "An admin began again."),
                "pause": (Serving.PAUSED, self.share, "An admin paused it."),
                "resume": (Serving.SPLIT, self.share, "An admin resumed it."),
            }
            if step not in steps:
                raise InvalidRequest(
                    f"There is no step {step}. Use one of {', '.join(steps)}.", param="step"
                )
            needed = {"pause": Serving.SPLIT, "resume": Serving.PAUSED}.get(step, self.serving)
            if self.serving is not needed:
                raise InvalidRequest(
                    f"The step {step} cannot be taken now: the experiment's state is "
                    f"{self.serving.value}, and the step needs {needed.value}.",
                    param="step",
                )
            serving, share, reason = steps[step]
            await self._decide(serving, share, by, reason, self.verdict)

    async def _step(self, verdict: Verdict) -> None:
        if verdict.step is Step.ROLL_BACK:
            await self._decide(Serving.MODEL, 0.0, EVIDENCE, verdict.reason, verdict)
        elif verdict.step is Step.ADVANCE and self.settings.decides == "automatic":
            higher = (share for share in self.settings.ramp if share > self.share)
            share = next(higher, 1.0)
            serving = Serving.CANDIDATE if share == 1.0 else Serving.SPLIT
            await self._decide(serving, share, EVIDENCE, verdict.reason, verdict)
        elif self._split_seconds() > self.settings.max_days * _DAY_SECONDS:
            await self._end(verdict)

    async def _end(self, verdict: Verdict) -> None:
        """Ends the experiment when its time is over: a bandit with the arm that has more reward."""
        days = f"{self.settings.max_days:g} days"
        if self.settings.mode == "bandit" and self.share > _EVEN:
            reason = f"After {days} the candidate has more reward."
            await self._decide(Serving.CANDIDATE, 1.0, EVIDENCE, reason, verdict)
            return
        reason = f"Undecided after {days}. {verdict.reason}"
        await self._decide(Serving.MODEL, 0.0, EVIDENCE, reason, verdict)

    def _add(self, seen: Observation) -> None:
        self.tally.add(seen)
        share = next((one.share for one in reversed(self.decisions) if one.at <= seen.at), 0.0)
        self.course.add(seen, share)

    def _split_seconds(self) -> float:
        """How long both models have answered since the experiment began, or began again."""
        total = 0.0
        ends = [*(one.at for one in self.decisions[1:]), self._clock()]
        for one, end in zip(self.decisions, ends, strict=True):
            if one.serving is Serving.SPLIT:
                total += end - one.at
            elif one.serving is not Serving.PAUSED:
                total = 0.0
        return total

    def told(self, verdict: Verdict) -> str:
        """What comes next; why it ended, if it has."""
        if self.serving is Serving.SPLIT:
            return verdict.reason
        if self.serving is Serving.PAUSED and self.settings.paused:
            return "The settings pause it: set paused to false, and start the server again."
        return self.decisions[-1].reason

    def expectation(self) -> Expectation:
        """What it needs until it promotes a candidate that is as good as the model."""
        last, seen = self.decisions[-1], self.tally.compared
        rate = None
        elapsed = self._clock() - last.at
        if last.serving is Serving.SPLIT and last.share and elapsed > 0:
            here = self.tally.requests(Arm.CANDIDATE) - self._requests_before
            rate = here / last.share / elapsed
        deviations = {
            name: found.standard_error * math.sqrt(found.observations)
            for name, found in ((LATENCY, self.tally.latency), (REWARD, self.tally.gain))
            if found.observations >= MIN_OBSERVATIONS and math.isfinite(found.standard_error)
        }
        share = (last.share or None) if last.serving is Serving.SPLIT else None
        return expect(self.settings, deviations=deviations, seen=seen, share=share, rate=rate)

    async def _decide(
        self, serving: Serving, share: float, by: str, reason: str, verdict: Verdict | None
    ) -> None:
        evidence = msgspec.json.encode(self.evidence(verdict)).decode()
        decision = Decision(serving, share, by, reason, evidence, self._clock())
        settings, after = self.settings.model_dump_json(), self._marks.decisions
        is_first = await self._journal.decide(self.name, settings, decision, after)
        async with self._writing:
            await self._read()
        if not is_first:  # another gateway has decided at the same moment, and is followed
            return
        fields = {
            "silkline.experiment": self.name,
            "silkline.serving": serving.value,
            "silkline.share": share,
            "silkline.by": by,
        }
        logger.warning("experiment decided: %s", reason, extra={"ecs": fields})

    def evidence(self, verdict: Verdict | None) -> dict[str, Any]:
        """What is known now, as plain values: counts, differences, intervals and e-values."""
        planned, alpha = self.settings.planned_observations, self.settings.error_rate
        tally = self.tally
        arms = {arm.value: self._arm(arm) for arm in (Arm.CONTROL, Arm.CANDIDATE)}
        known: dict[str, Any] = {
            "arms": arms,
            "strata": tally.strata(),
            "failures": asdict(self.course.failures),
            "p99_seconds": self.course.tails(),
        }
        for name, found in (("log_latency_difference", tally.latency), ("gain", tally.gain)):
            if found.observations:
                low, high = found.interval(planned, alpha)
                known[name] = {"estimate": found.estimate, "low": low, "high": high}
        if tally.scores:
            known["scores"] = {
                name: {"pairs": one.count, "mean": one.mean} for name, one in tally.scores.items()
            }
        if verdict is not None:
            harm, proof = _plain(verdict.harm), _plain(verdict.proof)
            known |= {"harm": harm, "proof": proof, "limits": verdict.limits}
            known |= {"split": {"evidence": verdict.mismatch, "limit": MISMATCH_LIMIT}}
        return known

    def _arm(self, arm: Arm) -> dict[str, Any]:
        rewards = self.tally.rewards(arm)
        return {
            "requests": self.tally.requests(arm),
            "failures": self.tally.failures(arm),
            "rewards": rewards.count,
            "mean_reward": rewards.mean,
        }


def _plain(evidence: Mapping[str, float]) -> dict[str, float | None]:
    """Evidence as JSON has it, which knows no infinity."""
    return {name: value if math.isfinite(value) else None for name, value in evidence.items()}
