"""Converts sampling parameters to GenAI's `GenerationConfig`.

What GenAI does otherwise than the API says is not declared as a feature:

- It adds `frequency_penalty` and `presence_penalty` to negative logits instead of subtracting them.
- It does not know a prompt's tokens, to which `repetition_penalty` must apply: they are embedded.
- It has no `logit_bias`, and reports no alternatives to the chosen token.

Its log-probabilities are those of the model's own logits: before `min_new_tokens`, temperature and
all that follows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import openvino_genai as genai

from silkline.core import Feature, Sampling
from silkline.engines.grammar import CONSTRAINT_FEATURES
from silkline.engines.sampling import GREEDY_BELOW, seed_of
from silkline.engines.token_bytes import TOKENIZER

_FEATURES = CONSTRAINT_FEATURES | frozenset(
    {
        Feature.TOP_K,
        Feature.MIN_P,
        Feature.MIN_TOKENS,
        Feature.IGNORE_EOS,
        Feature.STOP_TOKEN_IDS,
        Feature.INCLUDE_STOP,
    }
)

_MAX_MIN_P: Final = float(np.nextafter(np.float32(1), np.float32(0)))
"""GenAI refuses a `min_p` of 1, at which only the most likely token is a candidate."""


def sampling_features(*folders: Path) -> frozenset[Feature]:
    """Returns the features of sampling; log-probabilities need a tokenizer.json for their bytes."""
    if any((folder / TOKENIZER).is_file() for folder in folders):
        return _FEATURES | {Feature.LOGPROBS}
    return _FEATURES


def generation_config(
    sampling: Sampling, defaults: genai.GenerationConfig, grammar: str = ""
) -> genai.GenerationConfig:
    """Converts the sampling parameters of a request.

    Args:
        sampling: The parameters; `max_tokens` fits the context. Stop strings are found outside.
        defaults: The model's own config, which has its end tokens.
        grammar: What the answer must match, in EBNF; empty allows any text.
    """
    config = genai.GenerationConfig()
    _set_ends(config, sampling, defaults)
    config.apply_chat_template = False
    config.max_new_tokens = sampling.max_tokens
    config.min_new_tokens = min(sampling.min_tokens, sampling.max_tokens)
    config.logprobs = 0 if sampling.logprobs is None else 1
    if grammar:
        config.structured_output_config = genai.StructuredOutputConfig(grammar=grammar)
    config.do_sample = sampling.temperature >= GREEDY_BELOW
    if config.do_sample:
        config.temperature = sampling.temperature
        config.top_p = sampling.top_p
        config.min_p = min(sampling.min_p, _MAX_MIN_P)
        config.rng_seed = seed_of(sampling)
        if sampling.top_k:
            config.top_k = sampling.top_k
    return config


def _set_ends(
    config: genai.GenerationConfig, sampling: Sampling, defaults: genai.GenerationConfig
) -> None:
    """Sets the tokens that end the answer.

    GenAI's `ignore_eos` also ignores the client's stop tokens, and the end token must be one of the
    stop tokens. So with stop tokens, one of these takes the place of the end token.
    """
    own = set(sampling.stop_token_ids)
    if not sampling.ignore_eos:
        config.set_eos_token_id(defaults.eos_token_id)
        config.stop_token_ids = defaults.stop_token_ids | own
    elif own:
        config.set_eos_token_id(min(own))
        config.stop_token_ids = own
    else:
        config.set_eos_token_id(defaults.eos_token_id)
        config.stop_token_ids = defaults.stop_token_ids
        config.ignore_eos = True
