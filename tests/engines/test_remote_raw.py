"""Raw prompts to remote servers that have `/v1/completions`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from silkline.core import FinishReason, PromptOptions, Request, Sampling, TokenLogprob
from tests.engines.asking import answer, question
from tests.engines.openai_server import STREAM_END, STREAM_HEAD, Script, asked, event, scripted


def raw(**sampling: Any) -> Request:
    asking = question("a red", seed=None, sampling=Sampling(max_tokens=5, **sampling))
    return replace(asking, options=PromptOptions(raw=True))


def telling(*choices: dict[str, Any]) -> Script:
    chunks = b"".join(
        event({"object": "text_completion", "choices": [{"index": 0, **choice}]})
        for choice in choices
    )
    usage = event({"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 2}})
    return scripted(STREAM_HEAD + chunks + usage + event("[DONE]") + STREAM_END)


async def test_the_text_is_sent_as_it_is_and_read() -> None:
    script = telling(
        {"text": " mug", "finish_reason": None},
        {"text": " here", "finish_reason": "stop", "stop_reason": "END"},
    )
    async with asked(script) as (engine, server):
        said = await answer(engine, raw(stop=("END",)))
    assert (said.text, said.stop, said.finish_reason) == (" mug here", "END", FinishReason.STOP)
    assert said.usage.prompt_tokens == 2
    (received,) = server.received
    assert received.path.endswith("/completions")
    assert "chat" not in received.path
    assert received.body["prompt"] == "a red"
    assert not {"messages", "logprobs", "chat_template_kwargs"} & received.body.keys()


async def test_log_probabilities_are_asked_for_and_read_in_the_form_of_that_route() -> None:
    found = {
        "tokens": ["<s>", " mug"],
        "token_logprobs": [None, -0.5],
        "top_logprobs": [None, {" cup": -2.0, " mug": -0.5}],
        "text_offset": [0, 3],
    }
    script = telling({"text": " mug", "finish_reason": "length", "logprobs": found})
    async with asked(script) as (engine, server):
        said = await answer(engine, raw(logprobs=2))
        plain = await answer(engine, raw(logprobs=0))
    mug, cup = TokenLogprob(" mug", b" mug", -0.5), TokenLogprob(" cup", b" cup", -2.0)
    assert said.logprobs == (replace(mug, top=(mug, cup)),)
    assert plain.logprobs == (mug,)
    assert [received.body["logprobs"] for received in server.received] == [2, 0]
    assert all("top_logprobs" not in received.body for received in server.received)
