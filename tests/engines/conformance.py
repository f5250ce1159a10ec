"""What every engine must do. A test module makes a subclass and gives a fixture `engine`.

class TestMine(Conformance):
    @pytest.fixture
    async def engine(self): ...  # yields a started engine and closes it
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from silkline.core import Feature, FinishReason, Message, PromptOptions, Role, Sampling, TextPart
from silkline.engines.base import Engine
from silkline.errors import DeadlineExceeded, InvalidRequest
from tests.engines.asking import answer, eventually, picture, question, request, same, user
from tests.engines.conformance_chat import ChatConformance
from tests.engines.conformance_sampling import SamplingConformance
from tests.engines.conformance_structured import LOCAL, StructuredConformance, idle


class Conformance(ChatConformance, SamplingConformance, StructuredConformance):
    """The suite."""

    async def test_it_tells_what_it_is(self, engine: Engine) -> None:
        info = engine.info
        assert info.engine
        assert info.model
        assert info.context_length > info.image_tokens > 0

    async def test_temperature_zero_is_deterministic(self, engine: Engine) -> None:
        first = await answer(engine, question())
        again = await answer(engine, question())
        assert same(first, again)

    @pytest.mark.parametrize("temperature", [1e-5, 1e-39, 1e-46])
    async def test_next_to_no_temperature_is_none(self, engine: Engine, temperature: float) -> None:
        sampling = Sampling(max_tokens=24, temperature=temperature, seed=7)
        coldest = await answer(engine, question(sampling=sampling))
        assert coldest.text == (await answer(engine, question())).text

    async def test_the_answer_depends_on_the_question(self, engine: Engine) -> None:
        asked = [
            question(text, seed=seed)
            for text in ("What is this?", "Which colour is it?", "How many are there?")
            for seed in (None, 0, 1)
        ]
        assert len({(await answer(engine, each)).text for each in asked}) > 1

    async def test_a_seed_makes_sampling_repeatable(self, engine: Engine) -> None:
        sampling = Sampling(max_tokens=24, temperature=1.0, seed=7)
        first = await answer(engine, question(sampling=sampling))
        assert (await answer(engine, question(sampling=sampling))).text == first.text

    async def test_a_stop_string_ends_the_answer_before_it(self, engine: Engine) -> None:
        whole = (await answer(engine, question())).text
        stop = whole[len(whole) // 2 :][:3]
        for stream in (True, False):
            sampling = Sampling(max_tokens=24, stop=("never-said", stop))
            cut = await answer(engine, question(sampling=sampling, stream=stream))
            assert cut.text == whole[: whole.find(stop)]
            if engine.info.engine in LOCAL:
                assert cut.stop == stop
            assert cut.finish_reason is FinishReason.STOP

    async def test_prompts_are_tokenized_without_an_answer(self, engine: Engine) -> None:
        assert (Feature.TOKENIZE in engine.info.features) is (engine.info.engine in LOCAL)
        if Feature.TOKENIZE not in engine.info.features:
            return
        for asked in (question(), question(seed=None)):
            found = await answer(engine, replace(asked, sampling=Sampling(max_tokens=0)))
            usage = (await answer(engine, asked)).usage
            assert len(found.prompt_ids) == found.usage.prompt_tokens == usage.prompt_tokens
            assert found.usage.image_tokens == usage.image_tokens
            assert (found.text, found.usage.completion_tokens) == ("", 0)
        long = question("word " * engine.info.context_length, seed=None)
        found = await answer(engine, replace(long, sampling=Sampling(max_tokens=0)))
        assert len(found.prompt_ids) > engine.info.context_length

    async def test_a_raw_prompt_is_its_text(self, engine: Engine) -> None:
        if engine.info.engine not in LOCAL:
            return  # remote servers have other routes for it
        assert Feature.RAW in engine.info.features
        chat = question("one two", seed=None, sampling=Sampling(max_tokens=0))
        raw = replace(chat, options=PromptOptions(raw=True))
        longer = replace(raw, messages=(user("one two one two"),))
        tokens = [(await answer(engine, asked)).usage.prompt_tokens for asked in (raw, chat)]
        assert tokens[0] <= tokens[1]
        assert tokens[0] < (await answer(engine, longer)).usage.prompt_tokens
        said = await answer(engine, replace(raw, sampling=Sampling(max_tokens=4)))
        assert said.usage.prompt_tokens == tokens[0]
        assert said.usage.completion_tokens > 0

    async def test_max_tokens_ends_the_answer(self, engine: Engine) -> None:
        short = await answer(engine, question(sampling=Sampling(max_tokens=1)))
        assert short.finish_reason is FinishReason.LENGTH
        assert short.usage.completion_tokens == 1
        assert (await answer(engine, question())).text.startswith(short.text)

    async def test_usage_counts_text_and_pictures(self, engine: Engine) -> None:
        plain = (await answer(engine, question(seed=None))).usage
        assert plain.image_tokens == 0
        assert plain.prompt_tokens > 0
        longer = (await answer(engine, question("What is this? " * 5, seed=None))).usage
        assert longer.prompt_tokens > plain.prompt_tokens
        seen = (await answer(engine, question())).usage
        assert 0 < seen.image_tokens <= engine.info.image_tokens
        assert seen.prompt_tokens >= plain.prompt_tokens + seen.image_tokens
        assert 0 < seen.completion_tokens <= 24

    async def test_the_stream_equals_the_whole(self, engine: Engine) -> None:
        for seed in range(3):
            streamed = await answer(engine, question(seed=seed, stream=True))
            whole = await answer(engine, question(seed=seed, stream=False))
            assert same(streamed, whole)

    async def test_sixteen_at_once_equal_one_at_a_time(self, engine: Engine) -> None:
        asked = [question(f"What is picture {n}?", seed=n, stream=n % 2 == 0) for n in range(16)]
        alone = [(await answer(engine, each)).text for each in asked]
        together = await asyncio.gather(*(answer(engine, each) for each in asked))
        assert [each.text for each in together] == alone
        await eventually(lambda: idle(engine))

    async def test_closing_the_stream_frees_the_slot(self, engine: Engine) -> None:
        stream = engine.generate(question(sampling=Sampling(max_tokens=200)))
        await anext(stream)
        await stream.aclose()
        await eventually(lambda: idle(engine))
        await answer(engine, question())

    @pytest.mark.parametrize("stream", [True, False])
    async def test_cancelling_the_reader_frees_the_slot(self, engine: Engine, stream: bool) -> None:
        asked = question(sampling=Sampling(max_tokens=200), stream=stream)
        readers = [asyncio.create_task(answer(engine, asked)) for _ in range(4)]
        for turns in (0, 1, 5, 20):
            for _ in range(turns):
                await asyncio.sleep(0)
            readers.pop().cancel()
        await eventually(lambda: idle(engine))
        await answer(engine, question())

    async def test_a_prompt_that_is_too_long_is_refused_alone(self, engine: Engine) -> None:
        good = asyncio.create_task(answer(engine, question()))
        with pytest.raises(InvalidRequest):
            await answer(engine, question("many words " * engine.info.context_length))
        assert (await good).text
        await eventually(lambda: idle(engine))

    @pytest.mark.parametrize("index", [1, 1000])
    async def test_a_picture_that_is_not_there_is_refused_alone(
        self, engine: Engine, index: int
    ) -> None:
        good = asyncio.create_task(answer(engine, question()))
        with pytest.raises(InvalidRequest):
            await answer(engine, request(user(index, "What is this?"), images=(picture(),)))
        assert (await good).text
        await eventually(lambda: idle(engine))

    async def test_an_empty_stop_string_is_refused(self, engine: Engine) -> None:
        with pytest.raises(InvalidRequest):
            await answer(engine, question(sampling=Sampling(stop=("",))))

    @pytest.mark.parametrize("stream", [True, False])
    @pytest.mark.parametrize("timeout_seconds", [1e-6, -1.0])
    async def test_time_runs_out_for_one_request(
        self, engine: Engine, stream: bool, timeout_seconds: float
    ) -> None:
        good = asyncio.create_task(answer(engine, question()))
        with pytest.raises(DeadlineExceeded):
            await answer(engine, question(timeout_seconds=timeout_seconds, stream=stream))
        assert (await good).text
        await eventually(lambda: idle(engine))

    async def test_a_conversation_of_several_turns(self, engine: Engine) -> None:
        first = await answer(engine, question())
        said = Message(Role.ASSISTANT, (TextPart(first.text),))
        rules = Message(Role.SYSTEM, (TextPart("Be brief."),))
        asked = request(
            rules, user(0, "What is this?"), said, user("What colour?"), images=(picture(),)
        )
        second = await answer(engine, asked)
        assert second.usage.prompt_tokens > first.usage.prompt_tokens
        assert second.usage.image_tokens == first.usage.image_tokens

    async def test_two_pictures(self, engine: Engine) -> None:
        one = await answer(engine, question())
        two = await answer(
            engine,
            request(user(0, "and", 1, "What are these?"), images=(picture(0), picture(1))),
        )
        assert two.usage.image_tokens == 2 * one.usage.image_tokens

    async def test_closing_twice_is_closing_once(self, engine: Engine) -> None:
        await answer(engine, question())
        await engine.aclose()
        await engine.aclose()
