"""Judges the requirements on quality: non-inferiority, overall and by slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from silkline.evaluate.compare import slice_fields
from silkline.evaluate.item import Item
from silkline.evaluate.journal import Reply
from silkline.evaluate.margin import FEWEST_CLUSTERS, Drop, drop_of
from silkline.evaluate.results import Scores
from silkline.evaluate.significance import holm
from silkline.models.gate import Finding, Verdict
from silkline.optimize.requirements import Kind, Requirement
from silkline.report.numbers import score


class SliceDrop(msgspec.Struct, frozen=True):
    """The drop of a metric on the items that share the value of a field.

    Attributes:
        requirement: The requirement whose margin it is held to.
        field: The field's name.
        value: Its value.
        items: Number of items.
        drop: The drop, in shares of the metric's highest value.
        low: Lower end of its one-sided interval.
        high: Upper end.
        p: P-value of the drop being within the margin, by Holm over the requirement's slices.
        refused: Whether more than the margin was lost.
    """

    requirement: str
    field: str
    value: str
    items: int
    drop: float
    low: float
    high: float
    p: float
    refused: bool


@dataclass(frozen=True, slots=True)
class Judged:
    """The findings on quality, and the slices that they rest on."""

    findings: Sequence[Finding]
    slices: Sequence[SliceDrop]


@dataclass(frozen=True, slots=True)
class QualityJudge:
    """Judges with the answers of both sides.

    Attributes:
        items: The items.
        replies: The baseline's and the candidate's, in the order of the items.
        scores: The baseline's and the candidate's.
        confidence: Confidence of each one-sided test.
    """

    items: Sequence[Item]
    replies: tuple[Sequence[Reply], Sequence[Reply]]
    scores: tuple[Scores, Scores]
    confidence: float

    def judge(self, requirement: Requirement) -> Judged:
        """Judges a requirement on all items, and a drop also on each slice.

        A slice refuses where it is clear that it lost more than the margin, after Holm's correction
        over all slices. It need not show that it lost less: few slices are large enough for that.

        A drop is judged on the items that the baseline answered. Others would count as gains, and
        make up for losses.
        """
        is_drop = requirement.kind is Kind.DROP
        if is_drop and (out := sum(reply.answer is None for reply in self.replies[0])):
            judged = self._answered().judge(requirement)
            overall, *others = judged.findings
            reason = f"{overall.reason} {out:,} items are left out: the baseline did not answer "
            overall = msgspec.structs.replace(overall, reason=f"{reason}them.")
            return Judged([overall, *others], judged.slices)
        losses = self._losses(requirement)
        findings = [self._overall(requirement, losses)]
        slices = self._slices(requirement, losses) if is_drop else []
        findings += [self._refusal(each) for each in slices if each.refused]
        return Judged(findings, slices)

    def drop(self, requirement: Requirement) -> Drop | None:
        """What the requirement limits, over all items; None with fewer than two clusters."""
        return self._drop(self._losses(requirement))

    def _drop(self, losses: Sequence[float]) -> Drop | None:
        groups = [item.group for item in self.items]
        return None if len(set(groups)) < FEWEST_CLUSTERS else drop_of(losses, groups)

    def _answered(self) -> QualityJudge:
        """A judge of only the items that the baseline answered."""
        baseline, candidate = self.replies
        kept = [index for index, reply in enumerate(baseline) if reply.answer is not None]
        first, second = (
            {name: [values[index] for index in kept] for name, values in scores.items()}
            for scores in self.scores
        )
        return replace(
            self,
            items=[self.items[index] for index in kept],
            replies=([baseline[index] for index in kept], [candidate[index] for index in kept]),
            scores=(first, second),
        )

    def _losses(self, requirement: Requirement) -> list[float]:
        """What the requirement limits the mean of, by item, from -1 to 1."""
        if requirement.kind is Kind.AGREEMENT:
            return [
                float(a.answer is None or a.answer != b.answer)
                for a, b in zip(*self.replies, strict=True)
            ]
        highest = requirement.highest
        before, after = (side[requirement.metric] for side in self.scores)
        if requirement.kind is Kind.LEVEL:
            return [1 - value / highest for value in after]
        return [(a - b) / highest for a, b in zip(before, after, strict=True)]

    def _overall(self, requirement: Requirement, losses: Sequence[float]) -> Finding:
        if (drop := self._drop(losses)) is None:
            reason = "There are no items about two images or more, so nothing can be shown."
            return Finding(requirement.text, Verdict.UNDECIDED, reason)
        verdict = self._verdict(drop, requirement.margin)
        low, high = drop.interval(self.confidence)
        values = (drop.value, low, high)
        if requirement.kind is not Kind.DROP:
            values = (1 - drop.value, 1 - high, 1 - max(0.0, low))
        reason = f"{_told(requirement, drop, values, self.confidence)}."
        if verdict is Verdict.UNDECIDED:
            reason += f" The set is too small: {self._advice(requirement, drop)}."
        return Finding(requirement.text, verdict, reason, *values)

    def _verdict(self, drop: Drop, margin: float) -> Verdict:
        alpha = 1 - self.confidence
        if drop.p_less(margin) < alpha:
            return Verdict.PASSED
        return Verdict.REFUSED if drop.p_more(margin) < alpha else Verdict.UNDECIDED

    def _advice(self, requirement: Requirement, drop: Drop) -> str:
        margin = requirement.margin
        true = 0.0 if requirement.kind is Kind.DROP else drop.value
        if true >= margin:
            return "and more items of this kind would rather refuse it"
        needed = max(drop.items + 1, drop.items_needed(margin, self.confidence, true))
        each = drop.items / drop.clusters
        images = f" about {round(needed / each):,} images" if drop.clusters < drop.items else ""
        what = "an equally good model" if requirement.kind is Kind.DROP else "it"
        return f"with {needed:,} such items{images} {what} would pass in 8 of 10 cases"

    def _slices(self, requirement: Requirement, losses: Sequence[float]) -> list[SliceDrop]:
        margin, found = requirement.margin, []
        for field, values in slice_fields(self.items, self.replies):
            for value in sorted(set(values) - {""}):
                inside = [index for index, other in enumerate(values) if other == value]
                groups = [self.items[index].group for index in inside]
                if len(set(groups)) >= FEWEST_CLUSTERS:
                    drop = drop_of([losses[index] for index in inside], groups)
                    found.append((field, value, drop))
        corrected = holm([drop.p_more(margin) for *_, drop in found])
        slices = [
            SliceDrop(
                requirement=requirement.text,
                field=field,
                value=value,
                items=drop.items,
                drop=drop.value,
                low=(ends := drop.interval(self.confidence))[0],
                high=ends[1],
                p=p,
                refused=p < 1 - self.confidence,
            )
            for (field, value, drop), p in zip(found, corrected, strict=True)
        ]
        return sorted(slices, key=lambda each: (each.p, -each.drop))

    def _refusal(self, part: SliceDrop) -> Finding:
        text = f"{part.requirement} where {part.field} is {part.value}"
        reason = (
            f"{100 * part.drop:.1f} points lost on {part.items} items, at least "
            f"{100 * part.low:.1f} with {self.confidence:.0%} confidence."
        )
        return Finding(text, Verdict.REFUSED, reason, part.drop, part.low, part.high)


def _told(
    requirement: Requirement, drop: Drop, values: tuple[float, float, float], confidence: float
) -> str:
    """A finding's value and its interval, in the requirement's unit."""
    highest = requirement.highest
    on = f"on {drop.items:,} items"
    if drop.clusters < drop.items:
        on += f" about {drop.clusters:,} images"
    if requirement.kind is Kind.DROP:
        scale, unit = (100.0, " points") if highest == 1 else (highest, "")
        value, begin, end = (f"{scale * each:.2f}" for each in values)
        value += f"{unit} lost"
    else:
        value, begin, end = (score(each * highest, highest) for each in values)
    return f"{value} {on}, between {begin} and {end}, each with {confidence:.0%} confidence"
