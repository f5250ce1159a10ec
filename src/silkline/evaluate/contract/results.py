"""What the contract found, as it is printed and written."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Stage(StrEnum):
    """Where an engine can begin to differ, in the order in which a request walks."""

    IMAGE = "picture"
    REDUCTION = "reduction"
    PIXELS = "pixels"
    IMAGE_TOKENS = "image tokens"
    PROMPT = "prompt"
    FIRST_TOKEN = "first token"  # noqa: S105 - no password


class Verdict(StrEnum):
    """How a stage came out.

    `ROUNDED` is the first token's alone: it is off by more than a case may be, but the engine took
    the very pixels and token ids of the reference, its weights are rounded, and most cases hold.
    Only what is off by a degree can be so.
    """

    HELD = "held"
    BROKEN = "broken"
    HIDDEN = "hidden"
    ROUNDED = "rounded"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One stage of one case.

    Attributes:
        verdict: How it came out.
        cell: The difference in a few characters.
        told: The same in words, where it is broken; or why the stage is hidden.
        figures: The same in numbers, by name.
    """

    verdict: Verdict
    cell: str
    told: str = ""
    figures: dict[str, float] = {}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One case.

    Attributes:
        case: Its name.
        title: What is special about it.
        stages: What was found, by stage; none where nothing could be compared.
        refused: Who refuses the case and what it says; empty where nobody does.
        broken: Whether it breaks the contract.
    """

    case: str
    title: str
    stages: dict[Stage, Outcome] = {}
    refused: str = ""
    broken: bool

    @property
    def first_broken(self) -> Stage | None:
        """The first stage that differs."""
        for stage in Stage:
            found = self.stages.get(stage)
            if found is not None and found.verdict is Verdict.BROKEN:
                return stage
        return None


class Tolerance(msgspec.Struct, frozen=True, kw_only=True):
    """How far an engine may be from the reference; see docs/contract.md for why.

    Attributes:
        most: Largest difference of a pixel value, in 1/255 of the picture's range.
        mean: Mean difference of the pixel values, likewise.
        scaled_most: As `most`, for pictures that are decoded at a fraction of their size.
        scaled_mean: As `mean`, likewise.
        log_probability: Largest difference of the natural log-probability of a token that the
            reference gives at least `SHARE`.
        divergence: Kullback-Leibler divergence of the engine's first token from the reference's,
            in nats.
        share: Of the cases with the reference's pixels and token ids, how many must hold these two.
    """

    maximum: float
    mean: float
    scaled_maximum: float
    scaled_mean: float
    log_probability: float
    divergence: float
    share: float = 1.0


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """The whole finding.

    Attributes:
        model: What the user calls it.
        engine: Its name.
        precision: Of its weights.
        revision: Of what it serves.
        reference: The reference's library and version.
        tolerance: What was allowed.
        rows: A row each case.
        hidden: Why stages could not be seen, by stage; for all cases alike.
    """

    model: str
    engine: str
    precision: str
    revision: str
    reference: str
    tolerance: Tolerance
    rows: list[Row]
    hidden: dict[Stage, str] = {}

    @property
    def holds(self) -> bool:
        """Whether no case breaks it."""
        return not any(row.broken for row in self.rows)
