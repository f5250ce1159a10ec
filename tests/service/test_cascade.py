"""A cascade: the small model's sure answers, else the large model's."""

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from silkline.cache.create import create_cache
from silkline.cache.policy import CacheState
from silkline.config import ModelSettings, Settings
from silkline.core import (
    Delta,
    EngineInfo,
    Feature,
    FinishReason,
    ImagePart,
    Message,
    PixelBudget,
    Request,
    Role,
    Sampling,
    Stage,
    TextPart,
    Timeline,
    TokenLogprob,
    Usage,
)
from silkline.core.answer import confidence
from silkline.errors import ConfigError, ModelConflict, Overloaded
from silkline.ingress.intake import Intake
from silkline.ingress.source import uploaded
from silkline.observe.declared import families
from silkline.routing.pool import EnginePool
from silkline.service.answering import Answering
from silkline.service.cascade import CascadePool
from silkline.service.create import create_answering
from silkline.service.deployment import Deployment
from silkline.service.loader import ModelLoader
from silkline.service.model_metrics import model_readings
from silkline.service.models import ServedModels
from silkline.service.question import Question
from silkline.service.record import RequestRecord
from silkline.service.served_model import ServedModel
from tests.engines.asking import eventually
from tests.pictures import encoded
from tests.routing.scripted import ScriptedEngine, ScriptedReplica
from tests.service.models import served_by

PICTURE = encoded(60, 40)


class Teller(ScriptedEngine):
    """Says words, each with a probability; tells only when asked."""

    def __init__(self, name: str, words: dict[str, float], info: EngineInfo) -> None:
        super().__init__(name)
        self.words, self._info = words, info
        self.said = 0

    @property
    def info(self) -> EngineInfo:
        return self._info

    async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        self.asked.append(request)
        self.running += 1
        try:
            for word, probability in self.words.items():
                await asyncio.sleep(self.seconds)
                if self.error is not None:
                    raise self.error
                self.said += 1
                told = (TokenLogprob(word, word.encode(), math.log(probability)),)
                asked = request.sampling.logprobs is not None
                yield Delta(word, logprobs=told if asked else ())
            usage, timeline = Usage(5, len(self.words)), Timeline({Stage.PREFILL: 0.5})
            yield Delta("", FinishReason.STOP, usage, timeline)
        finally:
            self.running -= 1


class TellingReplica(ScriptedReplica):
    def __init__(self, teller: Teller) -> None:
        super().__init__(teller.name)
        self.script: Teller = teller

    @property
    def info(self) -> EngineInfo | None:
        return self.script.info if self.up else None


def info_of(name: str, **more: Any) -> EngineInfo:
    features = frozenset({Feature.LOGPROBS, Feature.TOP_K})
    return replace(EngineInfo("told", name, "1", "float32", 1000, 16, features=features), **more)


class House:
    """A small and a large model, and the cascade of both."""

    def __init__(self, words: dict[str, float], threshold: float = 0.9, **small: Any) -> None:
        self.small = Teller("small", words, info_of("small", **small))
        self.large = Teller("large", {"the ": 0.5, "truth": 0.5}, info_of("large"))
        self.models = ServedModels(
            [self._served(self.small), self._served(self.large), self.cascade(threshold)]
        )

    def _find(self, name: str) -> ServedModel | None:
        return self.models.find(name)  # the table has the cascade, so it is made after it

    @staticmethod
    def _served(teller: Teller) -> ServedModel:
        return served_by(lambda: EnginePool([TellingReplica(teller)]), served_name=teller.name)

    def cascade(self, threshold: float) -> ServedModel:
        pool = CascadePool("both", ("small", "large"), threshold, self._find)
        return served_by(
            lambda: pool,
            served_name="both", cascade=("small", "large"), escalate_below=threshold,
        )  # fmt: skip

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[Answering]:
        settings = Settings()
        intake = Intake(settings.limits, settings.fetch, settings.decode)
        cache = create_cache(settings.cache)
        async with intake, aclosing(cache):
            await self.models.start()
            yield create_answering(settings, self.models, intake=intake, cache=cache)
            await self.models.aclose()


def about(text: str, model: str = "both", **sampling: Any) -> Question:
    return Question(
        model=model,
        messages=(Message(Role.USER, (ImagePart(0), TextPart(text))),),
        sources=(uploaded(PICTURE, param="image"),),
        sampling=Sampling(max_tokens=8, **sampling),
        stream=True,
    )


async def test_a_sure_answer_is_the_small_models() -> None:
    house = House({"a ": 0.99, "cat": 0.95})
    async with house.answering() as answering:
        answer = await answering.answer(about("What?"), RequestRecord(id="1"))
    assert answer.text == "a cat"
    assert answer.logprobs == ()
    assert house.large.asked == []


async def test_an_unsure_answer_is_the_large_models() -> None:
    house = House({"a ": 0.99, "cat": 0.85})
    async with house.answering() as answering:
        answer = await answering.answer(about("What?"), RequestRecord(id="1"))
    assert answer.text == "the truth"
    assert answer.usage.completion_tokens == 2
    assert answer.timeline.seconds[Stage.PREFILL] == 0.5
    assert answer.timeline.seconds[Stage.GENERATE] > 0


async def test_the_small_model_stops_at_its_first_unlikely_token() -> None:
    house = House({"a ": 0.5, "cat ": 0.99, "on ": 0.99, "it": 0.99})
    async with house.answering() as answering:
        await answering.answer(about("What?"), RequestRecord(id="1"))
    assert house.small.said == 1
    assert house.small.running == 0


async def test_no_word_of_a_dropped_answer_is_streamed() -> None:
    house = House({"a ": 0.99, "cat": 0.1})
    async with house.answering() as answering:
        deltas = [delta async for delta in answering.deltas(about("?"), RequestRecord(id="1"))]
    assert [delta.text for delta in deltas if delta.text] == ["the ", "truth"]


async def test_log_probabilities_are_told_to_who_asks() -> None:
    house = House({"a ": 0.99})
    async with house.answering() as answering:
        answer = await answering.answer(about("?", logprobs=0), RequestRecord(id="1"))
    assert [told.token for told in answer.logprobs] == ["a "]


async def test_it_has_a_cache_key_of_its_own() -> None:
    house = House({"a": 0.99})
    async with house.answering() as answering:
        states = []
        for number, model in enumerate(["small", "both", "both", "small"]):
            record = RequestRecord(id=str(number))
            await answering.answer(about("What?", model), record)
            states.append(record.cache)
    assert states == [CacheState.MISS, CacheState.MISS, CacheState.HIT, CacheState.HIT]


async def test_its_revision_changes_with_the_threshold_and_the_models() -> None:
    labels = set()
    for house in (
        House({"a": 1.0}), House({"a": 1.0}, 0.8), House({"a": 1.0}, revision="2"),
        House({"a": 1.0}),
    ):  # fmt: skip
        async with house.answering():
            both = house.models.find("both")
            assert both is not None
            labels.add(both.label)
    assert len(labels) == 3


async def test_it_can_do_what_both_can() -> None:
    small: dict[str, Any] = {
        "context_length": 500, "image_tokens": 4, "pixel_budget": PixelBudget(100),
        "features": frozenset({Feature.LOGPROBS, Feature.MIN_P}),
    }  # fmt: skip
    house = House({"a": 1.0}, **small)
    async with house.answering():
        both = house.models.find("both")
        assert both is not None
        info = both.info
    assert (info.engine, info.context_length, info.image_tokens) == ("cascade", 500, 16)
    assert info.features == {Feature.LOGPROBS}
    assert info.pixel_budget.max_pixels == PixelBudget().max_pixels


async def test_a_small_model_without_log_probabilities_is_refused() -> None:
    house = House({"a": 1.0}, features=frozenset())
    with pytest.raises(ConfigError, match="needs the log-probabilities of small"):
        await house.models.start()


async def test_an_error_of_either_model_is_the_requests() -> None:
    house = House({"a": 0.1})
    house.large.error = Overloaded("full", retry_after=1)
    async with house.answering() as answering:
        with pytest.raises(Overloaded):
            await answering.answer(about("What?"), RequestRecord(id="1"))
        assert house.small.running == house.large.running == 0


async def test_a_closed_stream_stops_the_model_that_computes() -> None:
    house = House({"a": 0.1})
    house.large.seconds = 0.05
    async with house.answering() as answering:
        async with aclosing(answering.deltas(about("What?"), RequestRecord(id="1"))) as deltas:
            async for _ in deltas:
                break
        await eventually(lambda: not house.large.running)
        assert house.large.said < 2


async def test_the_share_that_escalates_is_a_metric() -> None:
    house = House({"a": 0.99})
    async with house.answering() as answering:
        await answering.answer(about("1"), RequestRecord(id="1"))
        await answering.answer(about("2"), RequestRecord(id="2"))
        house.small.words = {"a": 0.2}
        await answering.answer(about("3"), RequestRecord(id="3"))
        samples = {
            sample.labels["answered_by"]: sample.value
            for metric in families(model_readings(house.models))
            for sample in metric.samples
            if sample.name == "silkline_cascade_answers_total"
        }
    assert samples == {"small": 2.0, "large": 1.0}


def test_the_confidence_is_that_of_the_least_likely_token() -> None:
    told = [TokenLogprob("a", b"a", math.log(p)) for p in (0.9, 0.4, 0.7)]
    assert confidence(told) == pytest.approx(0.4)
    assert confidence([]) == 1.0


FAKE = {"engine": "fake", "engine_options": {"mode": "echo"}}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"cascade": ["small"]}, "names 1 models; expected two"),
        ({"cascade": ["small", "gone"]}, "asks gone, which has no table"),
        ({"cascade": ["small", "both"]}, "asks both, which is a cascade"),
        ({"cascade": ["small", "idle"]}, "asks idle, which has idle_s"),
        ({"cascade": ["small", "large"], "escalate_below": 1.5}, "escalate_below"),
    ],
)
def test_tables_that_make_no_cascade_are_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message):
        Settings.model_validate(
            {"models": {"small": FAKE, "large": FAKE, "idle": FAKE | {"idle_s": 5}, "both": table}}
        )


async def test_a_model_that_a_cascade_asks_cannot_be_removed() -> None:
    settings = Settings.model_validate(
        {"models": {"small": FAKE, "large": FAKE, "both": {"cascade": ["small", "large"]}}}
    )
    loader = ModelLoader(settings.admission)
    models = await loader.models(settings.served)
    deployment = Deployment(settings, models, loader)
    try:
        await deployment.start()
        with pytest.raises(ModelConflict, match="the cascade both asks small"):
            await deployment.remove("small", by="a test")
        table = ModelSettings(cascade=("large", "small"), escalate_below=0.5)
        added = await deployment.add("other", table, by="a test")
        assert added.info.model == "other"
        await deployment.remove("both", by="a test")
    finally:
        await deployment.aclose()
