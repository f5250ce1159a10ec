"""What sampling parameters do in every engine that declares them."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import ClassVar

from silkline.core import Answer, Feature, FinishReason, Sampling, TokenLogprob
from silkline.engines.base import Engine
from tests.engines.asking import answer, question, same

FEATURES = frozenset(
    {
        Feature.TOP_K,
        Feature.MIN_P,
        Feature.FREQUENCY_PENALTY,
        Feature.PRESENCE_PENALTY,
        Feature.REPETITION_PENALTY,
        Feature.LOGIT_BIAS,
        Feature.MIN_TOKENS,
        Feature.IGNORE_EOS,
        Feature.STOP_TOKEN_IDS,
        Feature.INCLUDE_STOP,
        Feature.LOGPROBS,
        Feature.TOP_LOGPROBS,
    }
)
QUESTIONS = ("What is this?", "Describe the image.", "Which colour is it?", "Say it twice.")
HOT = Sampling(max_tokens=24, temperature=2.0, seed=3)
FORCED = 270
"""A token of every vocabulary here that has text."""


async def said(engine: Engine, sampling: Sampling, *, stream: bool = True) -> Answer:
    return await answer(engine, question(sampling=sampling, stream=stream))


async def all_said(engine: Engine, sampling: Sampling) -> list[str]:
    return [(await answer(engine, question(text, sampling=sampling))).text for text in QUESTIONS]


def joined(logprobs: tuple[TokenLogprob, ...]) -> str:
    return b"".join(each.data for each in logprobs).decode("utf-8", "replace")


def variety(texts: list[str]) -> float:
    """How little the texts repeat, by how well they compress; higher means less."""
    packed = sum(len(zlib.compress(text.encode())) for text in texts)
    return packed / sum(len(text.encode()) for text in texts)


class SamplingConformance:
    """The suite; each test is about a feature, and asserts nothing else if the engine lacks it."""

    LACKS: ClassVar[frozenset[Feature]] = frozenset()
    """Of `FEATURES`, those that the engine does not declare."""

    ANSWER_IDS: ClassVar[tuple[int, ...]] = ()
    """For engines without `logit_bias`: the tokens of the greedy answer to `question()`."""

    async def test_what_is_not_tested_is_not_declared(self, engine: Engine) -> None:
        assert engine.info.features & FEATURES == FEATURES - self.LACKS

    async def test_top_k_of_one_is_greedy(self, engine: Engine) -> None:
        if Feature.TOP_K in self.LACKS:
            return
        greedy = await all_said(engine, Sampling(max_tokens=24))
        assert await all_said(engine, HOT) != greedy
        assert await all_said(engine, replace(HOT, top_k=1)) == greedy
        assert await all_said(engine, replace(HOT, top_k=10**6)) == await all_said(engine, HOT)

    async def test_min_p_of_one_is_greedy(self, engine: Engine) -> None:
        if Feature.MIN_P in self.LACKS:
            return
        greedy = await all_said(engine, Sampling(max_tokens=24))
        assert await all_said(engine, replace(HOT, min_p=1.0)) == greedy
        assert await all_said(engine, replace(HOT, min_p=1e-9)) == await all_said(engine, HOT)

    async def test_a_frequency_penalty_makes_words_vary(self, engine: Engine) -> None:
        if Feature.FREQUENCY_PENALTY in self.LACKS:
            return
        low = await all_said(engine, Sampling(max_tokens=48, frequency_penalty=-2.0))
        high = await all_said(engine, Sampling(max_tokens=48, frequency_penalty=2.0))
        assert variety(low) < variety(high)

    async def test_a_presence_penalty_makes_words_vary(self, engine: Engine) -> None:
        if Feature.PRESENCE_PENALTY in self.LACKS:
            return
        low = await all_said(engine, Sampling(max_tokens=48, presence_penalty=-2.0))
        high = await all_said(engine, Sampling(max_tokens=48, presence_penalty=2.0))
        assert variety(low) < variety(high)

    async def test_a_repetition_penalty_makes_words_vary(self, engine: Engine) -> None:
        if Feature.REPETITION_PENALTY in self.LACKS:
            return
        low = await all_said(engine, Sampling(max_tokens=48, repetition_penalty=0.2))
        high = await all_said(engine, Sampling(max_tokens=48, repetition_penalty=10.0))
        assert variety(low) < variety(high)

    async def test_a_bias_forces_and_forbids_a_token(self, engine: Engine) -> None:
        if Feature.LOGIT_BIAS in self.LACKS:
            return
        forced = await said(engine, Sampling(max_tokens=4, logit_bias=((FORCED, 100.0),)))
        assert forced.usage.completion_tokens == 4
        assert forced.finish_reason is FinishReason.LENGTH
        word = forced.text[: len(forced.text) // 4]
        assert forced.text in (word * 4, (word * 4)[1:])
        forbidden = Sampling(max_tokens=4, logit_bias=((FORCED, -100.0),))
        assert word not in (await said(engine, forbidden)).text

    async def test_min_tokens_puts_off_the_end(self, engine: Engine) -> None:
        if Feature.MIN_TOKENS in self.LACKS:
            return
        plain = await said(engine, Sampling(max_tokens=40))
        wanted = min(plain.usage.completion_tokens + 3, 40)
        longer = await said(engine, Sampling(max_tokens=200, min_tokens=wanted))
        assert longer.usage.completion_tokens >= wanted
        assert longer.text.startswith(plain.text)

    async def test_ignore_eos_fills_max_tokens(self, engine: Engine) -> None:
        if Feature.IGNORE_EOS in self.LACKS:
            return
        full = await said(engine, Sampling(max_tokens=60, ignore_eos=True))
        assert full.usage.completion_tokens == 60
        assert full.finish_reason is FinishReason.LENGTH

    async def test_a_stop_token_ends_the_answer_before_it(self, engine: Engine) -> None:
        if Feature.STOP_TOKEN_IDS in self.LACKS:
            return
        forced, before, stop = Sampling(max_tokens=24, logit_bias=((FORCED, 100.0),)), 0, FORCED
        if Feature.LOGIT_BIAS in self.LACKS:
            stop = self.ANSWER_IDS[3]
            forced, before = Sampling(max_tokens=24), self.ANSWER_IDS.index(stop)
        whole = await said(engine, forced)
        shown = await said(engine, replace(forced, max_tokens=before + 1))
        for stream in (True, False):
            cut = await said(engine, replace(forced, stop_token_ids=(stop,)), stream=stream)
            assert cut.finish_reason is FinishReason.STOP
            assert cut.usage.completion_tokens == before + 1
            assert whole.text.startswith(cut.text)
            assert len(cut.text) < len(shown.text)
            kept = replace(forced, stop_token_ids=(stop,), include_stop=True)
            assert (await said(engine, kept, stream=stream)).text == shown.text
        if Feature.MIN_TOKENS not in self.LACKS:
            late = await said(engine, replace(forced, stop_token_ids=(stop,), min_tokens=6))
            assert late.usage.completion_tokens >= 6

    async def test_the_stop_string_can_be_kept(self, engine: Engine) -> None:
        if Feature.INCLUDE_STOP in self.LACKS:
            return
        whole = (await answer(engine, question())).text
        stop = whole[len(whole) // 2 :][:3]
        sampling = Sampling(max_tokens=24, stop=("never-said", stop), include_stop=True)
        for stream in (True, False):
            cut = await said(engine, sampling, stream=stream)
            assert cut.text == whole[: whole.find(stop)] + stop
            assert cut.finish_reason is FinishReason.STOP

    async def test_every_token_of_the_answer_has_a_logprob(self, engine: Engine) -> None:
        if Feature.LOGPROBS in self.LACKS:
            return
        for most in (5, 60):
            plain = await said(engine, Sampling(max_tokens=most))
            assert plain.logprobs == ()
            for stream in (True, False):
                told = await said(engine, Sampling(max_tokens=most, logprobs=0), stream=stream)
                assert same(replace(told, logprobs=()), plain)
                end_tokens = told.finish_reason is FinishReason.STOP
                assert len(told.logprobs) == told.usage.completion_tokens - end_tokens
                assert joined(told.logprobs).strip() == told.text.strip()
                assert all(each.logprob <= 0 and each.top == () for each in told.logprobs)

    async def test_tokens_behind_a_stop_string_have_no_logprob(self, engine: Engine) -> None:
        if Feature.LOGPROBS in self.LACKS:
            return
        whole = await said(engine, Sampling(max_tokens=24, logprobs=0))
        stop = whole.text[len(whole.text) // 2 :][:3]
        for stream in (True, False):
            sampling = Sampling(max_tokens=24, logprobs=0, stop=(stop,))
            cut = await said(engine, sampling, stream=stream)
            assert cut.logprobs == whole.logprobs[: len(cut.logprobs)]
            shown = joined(cut.logprobs)
            assert shown.strip().startswith(cut.text.strip())
            assert len(joined(cut.logprobs[:-1])) < len(cut.text) + 1

    async def test_the_most_likely_tokens_come_first(self, engine: Engine) -> None:
        if Feature.TOP_LOGPROBS in self.LACKS:
            return
        for sampling in (Sampling(max_tokens=24), HOT):
            told = await said(engine, replace(sampling, logprobs=3))
            for each in told.logprobs:
                ranked = [other.logprob for other in each.top]
                assert len(ranked) == 3
                assert ranked == sorted(ranked, reverse=True)
                assert each.logprob <= ranked[0] <= 0
                same = [other for other in each.top if other.data == each.data]
                assert all(other == replace(each, top=()) for other in same)
                if sampling.temperature == 0:
                    assert each.logprob == ranked[0]
