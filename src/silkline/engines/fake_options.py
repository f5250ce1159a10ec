"""What the fake engine can be told to do."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

_Seconds = Annotated[float, msgspec.Meta(ge=0)]
_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Count = Annotated[int, msgspec.Meta(ge=0)]


class FakeOptions(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What `EngineOptions.extra` may hold for this engine.

    Attributes:
        mode: "words" answers with words that follow from the messages and pictures; "echo" with
            the last message, each picture as its size, such as `[64x48]`.
        answer_words: Words of an answer in the mode "words"; 0 takes 8 to 23, by the prompt.
        prefill_seconds: Time that a prompt takes before its first token; prompts go one by one.
        prefill_token_seconds: Time that each token of the prompt adds to that.
        token_seconds: Time of a step, which gives one token to each request of the batch.
        start_seconds: Time to start.
        start_fault: When set, starting fails with an `EnvironmentFault` of this text.
        image_tokens: Prompt tokens of a picture; the most of them with `pixels_per_token`.
        pixels_per_token: When above 0, a picture takes one token for so many of its pixels.
        context_length: Most tokens of prompt and answer.
        crash_on_text: A prompt that holds this text ends the process.
        break_on_text: A prompt that holds this text makes the engine fail: it computes no more.
        hang_on_text: A prompt that holds this text stops all progress for good.
        oom_on_text: A prompt that holds this text ends with `Overloaded`, as for lack of memory.
        slow_on_text: While a prompt that holds this text runs, a step takes `slow_seconds`.
        slow_seconds: See `slow_on_text`.
        fault_after_tokens: Tokens that a request gets before its fault strikes.
    """

    mode: Literal["words", "echo"] = "words"
    answer_words: _Count = 0
    prefill_seconds: _Seconds = 0.0
    prefill_token_seconds: _Seconds = 0.0
    token_seconds: _Seconds = 0.0
    start_seconds: _Seconds = 0.0
    start_fault: str = ""
    image_tokens: _Positive = 16
    pixels_per_token: _Count = 0
    context_length: _Positive = 8192
    crash_on_text: str = ""
    break_on_text: str = ""
    hang_on_text: str = ""
    oom_on_text: str = ""
    slow_on_text: str = ""
    slow_seconds: _Seconds = 1.0
    fault_after_tokens: _Count = 0
