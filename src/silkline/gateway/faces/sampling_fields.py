"""The sampling fields that several bodies share, with the names of the OpenAI API and of vLLM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from silkline.core import Constraint, Sampling
from silkline.errors import InvalidRequest

_MAX_SEED = 2**63 - 1
_MAX_TOKEN_ID = 2**31 - 1
_MAX_MIN_TOKENS = 2**31 - 1
_MAX_STOPS = 16
_MAX_STOP_CHARS = 256
_MAX_STOP_IDS = 128
_MAX_BIASES = 1024
_DEFAULT_TOKENS = Sampling().max_tokens
_MAX_BIAS = 100

MAX_CHOICES = 16
"""Maximum answers to one request."""

MAX_LOGPROBS = 20
"""Maximum alternatives of a token, as in the OpenAI API."""

_DEFAULTED = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
"""The sampling parameters that a model's generation_config.json may set."""

StopString = Annotated[str, Meta(min_length=1, max_length=_MAX_STOP_CHARS)]
StopStrings = Annotated[list[StopString], Meta(max_length=_MAX_STOPS)]
_Penalty = Annotated[float, Meta(ge=-2, le=2)]
_TokenId = Annotated[int, Meta(ge=0, le=_MAX_TOKEN_ID)]
Tokens = Annotated[int, Meta(ge=1)]


class SamplingFields(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How tokens are chosen, and when to stop.

    Without a temperature, decoding is greedy. A negative seed means no seed, and a `top_k` of -1
    or 0 all tokens.
    """

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    seed: Annotated[int, Meta(le=_MAX_SEED)] | None = None
    stop: StopString | StopStrings | None = None
    top_k: Annotated[int, Meta(ge=-1, le=_MAX_TOKEN_ID)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    frequency_penalty: _Penalty | None = None
    presence_penalty: _Penalty | None = None
    repetition_penalty: Annotated[float, Meta(ge=0.01, le=10)] | None = None
    logit_bias: Annotated[dict[str, float], Meta(max_length=_MAX_BIASES)] | None = None
    min_tokens: Annotated[int, Meta(ge=0, le=_MAX_MIN_TOKENS)] | None = None
    ignore_eos: bool | None = None
    stop_token_ids: Annotated[list[_TokenId], Meta(max_length=_MAX_STOP_IDS)] | None = None
    include_stop_str_in_output: bool | None = None

    def unset(self) -> frozenset[str]:
        """Returns the parameters with a default of the model that the request does not name."""
        return frozenset(name for name in _DEFAULTED if getattr(self, name) is None)

    def sampling(
        self, max_tokens: int | None, logprobs: int | None, constraint: Constraint | None
    ) -> Sampling:
        """Converts the fields.

        Args:
            max_tokens: Maximum tokens of the answer; None is the default.
            logprobs: Alternatives to report for each token; None reports nothing.
            constraint: The form that the answer must have.

        Raises:
            InvalidRequest: A token id or value of `logit_bias` is wrong.
        """
        return Sampling(
            max_tokens=max_tokens or _DEFAULT_TOKENS,
            temperature=self.temperature or 0.0,
            top_p=self.top_p or 1.0,
            seed=None if self.seed is None or self.seed < 0 else self.seed,
            stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
            top_k=max(0, self.top_k or 0),
            min_p=self.min_p or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            presence_penalty=self.presence_penalty or 0.0,
            repetition_penalty=self.repetition_penalty or 1.0,
            logit_bias=_biases(self.logit_bias) if self.logit_bias else (),
            min_tokens=self.min_tokens or 0,
            ignore_eos=bool(self.ignore_eos),
            stop_token_ids=tuple(self.stop_token_ids or ()),
            include_stop=bool(self.include_stop_str_in_output),
            logprobs=logprobs,
            constraint=constraint,
        )


def _biases(biases: Mapping[str, float]) -> tuple[tuple[int, float], ...]:
    """Converts `logit_bias`; sorted, and without biases of 0."""
    try:
        pairs = msgspec.convert(biases, dict[_TokenId, float], strict=False)
    except msgspec.ValidationError:
        pairs = {-1: 0.0}
    if any(token < 0 or not abs(bias) <= _MAX_BIAS for token, bias in pairs.items()):
        raise InvalidRequest(
            f"The field logit_bias is wrong: it must map token ids to numbers from -{_MAX_BIAS} to "
            f"{_MAX_BIAS}.",
            param="logit_bias",
        )
    return tuple((token, bias) for token, bias in sorted(pairs.items()) if bias)
