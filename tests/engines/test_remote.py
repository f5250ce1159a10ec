"""The remote engine, against a real second Silkline and against servers with others' manners."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from silkline.core import Feature, PromptOptions, Sampling, TokenLogprob
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.fake import create_engine as create_fake
from silkline.engines.remote import create_engine
from silkline.errors import InvalidRequest
from silkline.ingress.identity import image_digest
from tests.engines.asking import answer, question
from tests.engines.conformance import Conformance
from tests.engines.openai_server import computed, openai_server
from tests.serving import Served, served


def remote(url: str, **extra: str) -> Engine:
    return create_engine(EngineOptions(extra={"url": url, **extra}))


def _ranked(token: TokenLogprob) -> tuple[str, float, dict[str, float]]:
    return token.token, token.logprob, {other.token: other.logprob for other in token.top}


@pytest.fixture(scope="module")
def far() -> Iterator[Served]:
    options = "token_seconds=0.002"
    with served("--engine", "fake", "--engine-options", options, "--cache-ttl", "0") as far:
        yield far


class TestAgainstSilkline(Conformance):
    @pytest.fixture
    async def engine(self, far: Served) -> AsyncIterator[Engine]:
        engine = remote(far.url)
        await engine.start()
        yield engine
        await engine.aclose()

    async def test_it_knows_what_the_far_one_says_of_itself(self, engine: Engine) -> None:
        info = engine.info
        assert (info.engine, info.model, info.revision) == ("remote", "silkline-fake", "0")
        assert (info.context_length, info.image_tokens, info.precision) == (8192, 16, "none")

    async def test_the_stop_string_is_named(self, engine: Engine) -> None:
        words = (await answer(engine, question())).text.split()
        stopped = await answer(engine, question(sampling=Sampling(stop=("never", words[2]))))
        assert stopped.stop == words[2]

    async def test_a_raw_prompt_is_continued_as_it_is_there(self, engine: Engine) -> None:
        near = create_fake(EngineOptions())
        await near.start()
        for sampling in (Sampling(max_tokens=5), Sampling(max_tokens=5, logprobs=3)):
            asked = question("a red", seed=None, sampling=sampling)
            asked = replace(asked, options=PromptOptions(raw=True))
            far, own = await answer(engine, asked), await answer(near, asked)
            assert (far.text, far.usage) == (own.text, own.usage)
            assert [_ranked(token) for token in far.logprobs] == [
                _ranked(token) for token in own.logprobs
            ]
        await near.aclose()

    async def test_a_picture_arrives_with_every_pixel(self, engine: Engine) -> None:
        """The far engine's words follow from the digest of the pixels that it decoded."""
        near = create_fake(EngineOptions())
        await near.start()
        for seed in range(3):
            asked = question(seed=seed, sampling=Sampling(max_tokens=100))
            image = asked.images[0]
            digest = image_digest("RGB", image.width, image.height, image.pixels)
            named = replace(asked, images=(replace(image, digest=digest),))
            assert (await answer(engine, asked)).text == (await answer(near, named)).text
        await near.aclose()


LLAMA_LACKS = frozenset({Feature.MIN_TOKENS, Feature.STOP_TOKEN_IDS, Feature.INCLUDE_STOP})


class AgainstOthers(Conformance):
    DIALECT = "vllm"
    OWNER = "vllm"

    @pytest.fixture
    async def engine(self) -> AsyncIterator[Engine]:
        fake = create_fake(EngineOptions(extra={"token_seconds": "0.002"}))
        await fake.start()
        model = {"id": "org/model", "owned_by": self.OWNER}
        async with openai_server(computed(fake, self.DIALECT), {"data": [model]}) as server:
            engine = remote(server.url, image_tokens="16", context_length="8192")
            await engine.start()
            yield engine
            await engine.aclose()
        await fake.aclose()

    async def test_the_servers_words_do_not_reach_the_client(self, engine: Engine) -> None:
        with pytest.raises(InvalidRequest) as caught:
            await answer(engine, question("many words " * 8192))
        assert "secret" not in str(caught.value)
        assert "10.0.0.1" not in str(caught.value)


class TestAgainstVllm(AgainstOthers):
    pass


@pytest.mark.full
class TestAgainstSglang(AgainstOthers):
    DIALECT = OWNER = "sglang"


class TestAgainstLlamaServer(AgainstOthers):
    DIALECT, OWNER, LACKS = "llama", "llamacpp", LLAMA_LACKS
