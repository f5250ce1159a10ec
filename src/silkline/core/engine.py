"""What an engine tells about itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Feature(StrEnum):
    """What an engine may support besides text, images, temperature, `top_p`, seed and stop strings.

    The values are the names of the fields in the API, as `/v1/models` lists them.
    """

    TOP_K = "top_k"
    MIN_P = "min_p"
    FREQUENCY_PENALTY = "frequency_penalty"
    PRESENCE_PENALTY = "presence_penalty"
    REPETITION_PENALTY = "repetition_penalty"
    LOGIT_BIAS = "logit_bias"
    MIN_TOKENS = "min_tokens"
    IGNORE_EOS = "ignore_eos"
    STOP_TOKEN_IDS = "stop_token_ids"  # noqa: S105 - no password
    INCLUDE_STOP = "include_stop_str_in_output"
    LOGPROBS = "logprobs"
    TOP_LOGPROBS = "top_logprobs"
    JSON_OBJECT = "json_object"
    JSON_SCHEMA = "json_schema"
    REGEX = "regex"
    CHOICE = "choice"
    GRAMMAR = "grammar"
    TOOLS = "tools"
    STRICT_TOOLS = "strict_tools"
    THINKING = "thinking"
    EFFORT = "reasoning_effort"
    PREFILL = "prefill"
    RAW = "raw_prompt"
    TOKENIZE = "tokenize"
    EXTRA = "extra_fields"


@dataclass(frozen=True, slots=True)
class PixelBudget:
    """The largest image that the model can use; larger images are reduced before they reach it.

    Attributes:
        max_pixels: Maximum pixels of an image, whatever its shape.
        shortest_edge: Set if the model scales every image until its shorter edge has this many
            pixels: reducing the image to that size beforehand changes nothing. Otherwise None.
        min_pixels: Minimum pixels of an image; smaller images are enlarged, unless the model has a
            shortest edge. 0 enlarges none.
    """

    max_pixels: int = 1024 * 1024
    shortest_edge: int | None = None
    min_pixels: int = 0


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Describes an engine and the model that it serves.

    Attributes:
        engine: The engine's registered name.
        model: The model's public name, as clients send it.
        revision: Short digest or revision of the model.
        precision: Precision of the weights, such as "int8" or "float32".
        context_length: Maximum tokens of prompt and answer together.
        image_tokens: Maximum prompt tokens of one image.
        pixel_budget: The largest image that the model can use.
        pixels_per_token: Pixels per image token, if the number of tokens depends on the image's
            size; None if every image takes `image_tokens`.
        instruction_set: The CPU's instruction set, such as "AVX2"; None if the engine runs on a
            GPU, on another machine, or does not report it.
        features: The optional features that it supports.
        sampling_defaults: The sampling parameters that the model's publisher recommends, by the
            names of `Sampling`.
        path: How the engine runs the model, for engines that have several ways: "packed" or
            "generic" for torch; empty for all others.
    """

    engine: str
    model: str
    revision: str
    precision: str
    context_length: int
    image_tokens: int
    pixel_budget: PixelBudget = PixelBudget()
    pixels_per_token: int | None = None
    instruction_set: str | None = None
    features: frozenset[Feature] = frozenset()
    sampling_defaults: tuple[tuple[str, float], ...] = ()
    path: str = ""

    @property
    def label(self) -> str:
        """The model's name and revision, as in responses: `name@revision`."""
        return f"{self.model}@{self.revision}"


@dataclass(frozen=True, slots=True)
class Health:
    """Status of an engine, judged by its progress: a process that responds may still be stuck.

    Attributes:
        running: Requests that are being computed.
        queued: Requests that wait inside the engine.
        seconds_since_progress: Seconds since the last step; 0.0 while the engine is idle.
        cache_use: Share of the KV cache in use, 0 to 1.
        busy_seconds: Seconds so far in which it had at least one request; 0.0 if nobody counts.
        slot_seconds: Requests in it, times the seconds so far that they were in it; 0.0 if nobody
            counts.
    """

    running: int
    queued: int
    seconds_since_progress: float
    cache_use: float = 0.0
    busy_seconds: float = 0.0
    slot_seconds: float = 0.0
