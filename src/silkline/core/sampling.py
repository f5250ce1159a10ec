"""How a prompt is written, and how the tokens of its answer are chosen."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ConstraintKind(StrEnum):
    """The forms of a constraint on an answer."""

    JSON_OBJECT = "json_object"
    JSON_SCHEMA = "json_schema"
    REGEX = "regex"
    CHOICE = "choice"
    GRAMMAR = "grammar"


@dataclass(frozen=True, slots=True)
class Constraint:
    """The form that the whole text of an answer must have.

    Attributes:
        kind: How `text` is read.
        text: The JSON Schema, the regular expression, the JSON array of choices or the EBNF
            grammar; empty for `JSON_OBJECT`, which allows any JSON object.
        name: The schema's name from the client; it does not affect the form.
        description: The schema's description from the client, for the model.
    """

    kind: ConstraintKind
    text: str = ""
    name: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen, and when to stop.

    Attributes:
        max_tokens: Maximum tokens to generate; 0 only tokenizes the prompt.
        temperature: 0 to 2; 0 always takes the most likely token.
        top_p: Nucleus sampling, above 0 and at most 1; not used at temperature 0.
        seed: Makes sampling repeatable if the engine supports it; None means no seed.
        stop: The answer ends before the first of these strings, which is not part of it.
        top_k: Only this many of the most likely tokens are candidates; 0 means all.
        min_p: Only tokens with at least this share of the highest probability are candidates;
            0 to 1.
        frequency_penalty: Subtracted from a token's logit for each time it is in the answer; -2 to
            2.
        presence_penalty: Subtracted once from the logit of each token in the answer; -2 to 2.
        repetition_penalty: Divides the positive logits of tokens in the prompt or the answer, and
            multiplies the negative ones; 0.01 to 10, 1 has no effect.
        logit_bias: Token ids, and what is added to their logits; -100 to 100.
        min_tokens: No end token and no stop token before the answer has this many tokens.
        ignore_eos: Whether the answer continues after the model's end token.
        stop_token_ids: The answer also ends at these tokens.
        include_stop: Whether the stop string that ended the answer is part of it.
        logprobs: Number of alternatives to report for each token, with the log-probability of the
            chosen one; None reports nothing.
        constraint: The form that the answer must have; None means any.
        extra: Fields that only a remote server gets, as the text of a JSON object; empty means
            none.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    top_k: int = 0
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    min_tokens: int = 0
    ignore_eos: bool = False
    stop_token_ids: tuple[int, ...] = ()
    include_stop: bool = False
    logprobs: int | None = None
    constraint: Constraint | None = None
    extra: str = ""

    @property
    def is_deterministic(self) -> bool:
        """Whether the same request gives the same answer: at temperature 0, or with a seed."""
        return self.temperature == 0 or self.seed is not None


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call.

    Attributes:
        name: Its name.
        description: What it does, for the model.
        parameters: The JSON Schema of its arguments as text; empty means no arguments.
        strict: Whether the arguments must match the schema.
    """

    name: str
    description: str = ""
    parameters: str = ""
    strict: bool = False


class ToolChoice(StrEnum):
    """Whether the model calls tools."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """What the chat template gets besides the messages.

    Attributes:
        tools: The tools that the model may call.
        tool_choice: Whether it calls tools.
        tool: The name of the only tool that it may call; empty means any.
        parallel_tools: Whether one answer may hold several calls.
        thinking: Whether the model thinks before it answers; None is the model's own default.
        effort: How much it thinks, for models that have levels: "minimal" to "max"; empty is the
            model's own default.
        continues: Whether the answer continues the last message, which is the assistant's.
        raw: Whether the text of the only message is the whole prompt, without the chat template.
    """

    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice.AUTO
    tool: str = ""
    parallel_tools: bool = True
    thinking: bool | None = None
    effort: str = ""
    continues: bool = False
    raw: bool = False
