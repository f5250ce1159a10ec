"""The results of the contract, as printed and as written to JSON."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Stage(StrEnum):
    """The stages at which an engine can first differ, in the order of the pipeline."""

    IMAGE = "picture"
    REDUCTION = "reduction"
    PIXELS = "pixels"
    IMAGE_TOKENS = "image tokens"
    PROMPT = "prompt"
    FIRST_TOKEN = "first token"  # noqa: S105 - no password


class Verdict(StrEnum):
    """The verdict on a stage.

    `ROUNDED` applies only to the first token: the difference exceeds the tolerance of a case, but
    the engine has the reference's pixels and token ids, its weights are rounded, and most cases
    hold. It applies only to differences of degree.
    """

    HELD = "held"
    BROKEN = "broken"
    HIDDEN = "hidden"
    ROUNDED = "rounded"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one stage of one case.

    Attributes:
        verdict: The verdict.
        cell: The difference in a few characters, for a table.
        told: The difference in words if it is broken; or why the stage is hidden.
        figures: The difference in numbers, by name.
    """

    verdict: Verdict
    cell: str
    told: str = ""
    figures: dict[str, float] = {}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """The results of one case.

    Attributes:
        case: The case's name.
        title: What is special about the case.
        stages: Outcomes by stage; empty if nothing could be compared.
        refused: Which side refuses the case, with its message; empty if neither does.
        broken: Whether the case breaks the contract.
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
    """How far an engine may differ from the reference; docs/contract.md explains the values.

    Attributes:
        maximum: Maximum difference of a pixel value, in 1/255 of the image's range.
        mean: Maximum mean difference of the pixel values, in 1/255.
        scaled_maximum: Like `maximum`, for images that are decoded at a fraction of their size.
        scaled_mean: Like `mean`, for such images.
        log_probability: Maximum difference in the natural log-probability of a token that the
            reference gives a probability of at least `SHARE`.
        divergence: Maximum Kullback-Leibler divergence of the first token's distribution,
            in nats.
        share: Minimum share of the cases with the reference's pixels and token ids that must hold
            the last two.
    """

    maximum: float = msgspec.field(name="most")
    mean: float
    scaled_maximum: float = msgspec.field(name="scaled_most")
    scaled_mean: float
    log_probability: float
    divergence: float
    share: float = 1.0


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """The results of the contract for an engine and a model.

    Attributes:
        model: The name that the user gave the model.
        engine: The engine's name.
        precision: Precision of the weights.
        revision: Revision of the served model.
        reference: The reference's library and version.
        tolerance: The tolerance.
        rows: One row per case.
        hidden: Why stages could not be compared, by stage; the same for all cases.
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
        """Whether no case breaks the contract."""
        return not any(row.broken for row in self.rows)
