"""The options of the fake engine."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

_Seconds = Annotated[float, msgspec.Meta(ge=0)]
_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Count = Annotated[int, msgspec.Meta(ge=0)]


class FakeOptions(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The keys and values that `EngineOptions.extra` may hold for this engine.

    Attributes:
        mode: "words" answers with words derived from the messages and images; "echo" repeats the
            last message, with each image replaced by its size, such as `[64x48]`.
        answer_words: Number of words in an answer in the mode "words"; 0 means 8 to 23, depending
            on the prompt.
        prefill_seconds: Time of a prefill; prompts are prefilled one at a time.
        prefill_token_seconds: Time that each prompt token adds to the prefill.
        token_seconds: Time of a step, which generates one token for each request in the batch.
        start_seconds: Time to start.
        start_fault: If set, starting fails with an `EnvironmentFault` with this message.
        image_tokens: Prompt tokens per image; the maximum if `pixels_per_token` is set.
        pixels_per_token: If above 0, an image takes one token per this many pixels.
        context_length: Maximum number of tokens of prompt and answer.
        crash_on_text: A prompt that contains this text kills the process.
        break_on_text: A prompt that contains this text makes the engine fail for good.
        hang_on_text: A prompt that contains this text stops all progress for good.
        oom_on_text: A prompt that contains this text ends with `Overloaded`, as if out of memory.
        slow_on_text: While a prompt that contains this text runs, a step takes `slow_seconds`.
        slow_seconds: See `slow_on_text`.
        default_temperature: If above 0, the temperature that the model recommends.
        default_repetition_penalty: The repetition penalty that the model recommends.
        corrupt_file: While this file exists, a bit of each answer is flipped, as by bad memory.
        fault_after_tokens: Tokens that a request generates before its fault occurs.
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
    corrupt_file: str = ""
    fault_after_tokens: _Count = 0
    default_temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] = 0.0
    default_repetition_penalty: Annotated[float, msgspec.Meta(ge=0.01, le=10)] = 1.0

    def sampling_defaults(self) -> tuple[tuple[str, float], ...]:
        """Returns the sampling parameters that the model recommends."""
        return (
            ("temperature", self.default_temperature),
            ("repetition_penalty", self.default_repetition_penalty),
        )
