"""The tables `[experiments.NAME]`: which share of a model's requests another model answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import combinations, pairwise
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from silkline.config.models import ModelName
from silkline.config.sections import Section
from silkline.config.shadow import ShadowSettings

_MAX_SHARE = 0.5
WebhookUrl = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/?#@]+(/[^\s#]*)?$")]
Share = Annotated[float, Field(ge=0, le=_MAX_SHARE)]


class ExperimentingSettings(Section):
    """Where experiments keep what they have seen; see `docs/experiments.md`."""

    experiment_file: str = Field(
        "",
        description="File that keeps observations, feedback and decisions across restarts; empty "
        "keeps them in memory.",
    )
    holdout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the users (the header x-silkline-user, else the tenant) who take "
        "part in no experiment and never get a candidate, also not a promoted one.",
    )
    experiment_webhooks: tuple[WebhookUrl, ...] = Field(
        (),
        description="URLs that get each decision of an experiment as JSON. The address is the "
        "owner's own, so it may be a private one.",
    )
    webhook_key_env: str = Field(
        "", description="Environment variable with the key that signs what webhooks get."
    )
    webhook_key_file: str = Field("", description="File with that key.")

    @model_validator(mode="after")
    def _has_a_key(self) -> ExperimentingSettings:
        if self.webhook_key_env and self.webhook_key_file:
            raise ValueError("expected at most one of webhook_key_env and webhook_key_file")
        if self.experiment_webhooks and not (self.webhook_key_env or self.webhook_key_file):
            raise ValueError(
                "experiment_webhooks need a key that signs what they get: set webhook_key_env or "
                "webhook_key_file"
            )
        return self


class Changes(Section):
    """What the candidate answers differently from its model; the default changes nothing."""

    max_pixels: int | None = Field(
        None, ge=1, description="Maximum pixels of each image; 576 is 24 x 24."
    )
    system: str = Field(
        "", max_length=100_000, description="System message instead of the request's own."
    )
    prefix: str = Field(
        "", max_length=100_000, description="Text in front of the last user message."
    )
    temperature: float | None = Field(
        None, ge=0, le=2, description="Temperature of requests that do not name it."
    )
    top_p: float | None = Field(
        None, gt=0, le=1, description="top_p of requests that do not name it."
    )
    max_tokens: int | None = Field(
        None, ge=1, description="Maximum tokens of an answer, if the request allows more."
    )


class ExperimentSettings(Section):
    """An experiment: a model, its possible successor, and what decides; see `docs/experiments.md`.

    The candidate answers a share of the requests for the model. An equal share, chosen in the same
    way, is the control; both are compared, and requests outside of them are not.
    """

    model: ModelName = Field(description="The model that clients ask for, by its name.")
    candidate: ModelName = Field(
        description="The model that may replace it, by its name; the same name with `changes` "
        "compares two ways to use one model."
    )
    changes: Changes = Field(
        Changes(),
        description="A table: what the candidate answers differently, see "
        "`[experiments.NAME.changes]`.",
    )
    shadow: ShadowSettings = Field(
        ShadowSettings(),
        description="A table: which requests the other model answers too, to compare the answers, "
        "see `[experiments.NAME.shadow]`.",
    )
    ramp: tuple[Share, ...] = Field(
        (0.01, 0.05, 0.25, 0.5),
        min_length=1,
        description="The candidate's shares of the requests, in order; 0 only compares answers "
        "in the shadow.",
    )
    unit: Literal["user", "tenant", "image", "request"] = Field(
        "user",
        description="What is assigned: all requests with the same user (the header "
        "x-silkline-user, else the tenant), tenant or first image, or each request by itself.",
    )
    layer: str = Field(
        "",
        max_length=100,
        description="Experiments of one layer have separate traffic, and those of several layers "
        "assign independently; empty is a layer of its own.",
    )
    traffic: tuple[float, float] = Field(
        (0.0, 1.0),
        description="The part of the layer's units that takes part, from and to, each 0 to 1; "
        "`ramp` is about these.",
    )
    mode: Literal["test", "bandit"] = Field(
        "test",
        description="test compares arms of equal size, and decides; bandit gives more traffic to "
        "the arm with more reward, without a ramp, until `max_days` end.",
    )
    exploration: float = Field(
        0.05, gt=0, le=0.5, description="Share that each arm of a bandit keeps."
    )
    goal: Literal["not_worse", "better"] = Field(
        "not_worse", description="What the feedback must show before the candidate is promoted."
    )
    needs_feedback: bool = Field(
        default=True,
        description="Whether it is promoted only by feedback; otherwise by latency and failures.",
    )
    reward_margin: float = Field(
        0.01, ge=0, le=1, description="Loss of mean reward that is accepted, of rewards 0 to 1."
    )
    latency_margin: float = Field(
        0.1,
        ge=0,
        le=10,
        description="Increase of the typical latency that is accepted; 0.1 is 10%.",
    )
    max_failures: float = Field(
        0.01, gt=0, lt=1, description="Share of failed requests that is accepted."
    )
    error_rate: float = Field(
        0.05, gt=0, lt=0.5, description="Chance of a false verdict, over the whole experiment."
    )
    step_requests: int = Field(
        200, ge=20, description="Minimum requests of the candidate at each share."
    )
    planned_requests: int = Field(
        4_000,
        ge=100,
        description="Requests of candidate and control after which a verdict is expected; evidence "
        "is strongest there.",
    )
    max_days: float = Field(
        14.0,
        gt=0,
        le=366,
        description="Days after which an undecided experiment ends; the model stays.",
    )
    decides: Literal["automatic", "person"] = Field(
        "automatic",
        description="Who takes the next step when the evidence allows it. Rolling back is always "
        "automatic.",
    )
    paused: bool = Field(default=False, description="Whether the model answers all requests.")

    @property
    def planned_observations(self) -> float:
        """`planned_requests` as the harmonic sum of both arms' counts, as in `Difference`."""
        return self.planned_requests / 4

    @field_validator("ramp")
    @classmethod
    def _rises(cls, ramp: tuple[float, ...]) -> tuple[float, ...]:
        if any(after <= before for before, after in pairwise(ramp)):
            raise ValueError("expected shares that rise, such as [0.05, 0.5]")
        return ramp

    @field_validator("traffic")
    @classmethod
    def _is_range(cls, traffic: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= traffic[0] < traffic[1] <= 1:
            raise ValueError("expected a range from 0 to 1, such as [0.0, 0.5]")
        return traffic

    @model_validator(mode="after")
    def _begins(self) -> ExperimentSettings:
        if self.ramp[0] == 0 and not (self.shadow.share and self.shadow.scorers):
            raise ValueError("a share of 0 needs a shadow with a share and scorers")
        return self


def check_experiments(
    experiments: Mapping[str, ExperimentSettings], names: Collection[str]
) -> None:
    """Checks that experiments compare models that are served, and that none disturbs another.

    Args:
        experiments: The experiments by name.
        names: The names of the served models.

    Raises:
        ValueError: A model is not served, is compared with itself or judges itself, or two
            experiments use the same traffic of a model.
    """
    for name, experiment in experiments.items():
        for model in (experiment.model, experiment.candidate):
            if model not in names:
                raise ValueError(
                    f"the experiment {name} needs the model {model}, which has no table "
                    f"[models.{model}]"
                )
        _check_judge(name, experiment, names)
        if experiment.model == experiment.candidate and experiment.changes == Changes():
            raise ValueError(
                f"the experiment {name} compares {experiment.model} with itself; name another "
                f"candidate, or what it answers differently in [experiments.{name}.changes]"
            )
    for (name, one), (other_name, other) in combinations(experiments.items(), 2):
        _check_apart((name, other_name), one, other)


def _check_apart(
    names: tuple[str, str], one: ExperimentSettings, other: ExperimentSettings
) -> None:
    """Checks that two experiments do not meet in a model or in a layer.

    Raises:
        ValueError: They do.
    """
    both = f"the experiments {names[0]} and {names[1]}"
    in_one_layer = one.layer != "" and one.layer == other.layer
    shared = {one.model, one.candidate} & {other.model, other.candidate}
    if in_one_layer and one.model == other.model:
        shared -= {one.model}
    if shared:
        raise ValueError(
            f"{both} both use the model {min(shared)}; end one before the other begins, or give "
            "both a layer with separate traffic if only the compared model is the same"
        )
    if in_one_layer and one.unit != other.unit:
        raise ValueError(f"{both} are in the layer {one.layer} and need the same unit")
    if in_one_layer and max(one.traffic[0], other.traffic[0]) < min(
        one.traffic[1], other.traffic[1]
    ):
        raise ValueError(
            f"{both} are in the layer {one.layer} and use the same traffic; give them ranges that "
            "do not overlap, such as [0.0, 0.5] and [0.5, 1.0]"
        )


def _check_judge(name: str, experiment: ExperimentSettings, names: Collection[str]) -> None:
    judge = experiment.shadow.judge_model
    if judge in {experiment.model, experiment.candidate}:
        raise ValueError(
            f"the experiment {name} lets {judge} judge its own answers; name a third model"
        )
    if judge and judge not in names:
        raise ValueError(
            f"the experiment {name} needs the judge {judge}, which has no table [models.{judge}]"
        )
