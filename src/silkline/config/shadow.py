"""The tables `[experiments.NAME.shadow]`: answers that are computed, compared and never served."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from silkline.config.sections import Section

Margin = Annotated[float, Field(gt=-1, lt=1)]


class ShadowSettings(Section):
    """Which requests the other model of an experiment answers too, in idle capacity."""

    share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the requests that the other model answers too; its answer is "
        "compared and never served.",
    )
    at_once: int = Field(
        1,
        ge=1,
        le=64,
        description="Maximum comparisons in progress; further requests are not compared.",
    )
    seconds_an_hour: float = Field(
        600.0, gt=0, description="Maximum seconds of computing in each hour, judges included."
    )
    scorers: dict[str, Margin] = Field(
        {"agreement": 0.05},
        description="What compares two answers, and the mean loss that is accepted, where a score "
        "is from -1 (the candidate is worse) to 1. A negative loss is a required gain.",
    )
    score_url: str = Field(
        "", description="URL that the scorer `http` posts both answers to; http or https."
    )
    judge_model: str = Field(
        "", description="The model that the scorer `judge` asks, by its name; no arm of it."
    )
    judge_question: str = Field(
        "Which answer is more correct and complete?",
        max_length=10_000,
        description="What the judge is asked about the two answers.",
    )

    @field_validator("score_url")
    @classmethod
    def _is_url(cls, url: str) -> str:
        if url and (urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname):
            raise ValueError("expected a URL such as http://127.0.0.1:9000/score")
        return url

    @model_validator(mode="after")
    def _is_complete(self) -> ShadowSettings:
        if "http" in self.scorers and not self.score_url:
            raise ValueError("the scorer http needs score_url")
        if "judge" in self.scorers and not self.judge_model:
            raise ValueError("the scorer judge needs judge_model")
        return self
