"""The fake engine's model: a few candidates for each token, with logits from a hash.

The most likely candidate is the next token of a planned answer, and after it the end token. The
others are words. So the parameters of sampling show in the answers, which stay deterministic.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from silkline.core import Sampling, TokenLogprob
from silkline.engines.fake.vocabulary import ASCII_WORDS, END_ID, token_bytes, token_id
from silkline.engines.sampling import GREEDY_BELOW, chance, seed_of

_LIKELY = 3.0
"""The logit of a planned word."""

_CERTAIN = 40.0
"""The logit of other planned tokens: replacing a part of a character would leave broken bytes."""

_UNLIKELY = -4.0
"""The logit of the end token and of biased tokens where they are not planned."""

_MAX_OTHER = 2.0
_OTHERS = 8


@dataclass(frozen=True, slots=True)
class Token:
    """A generated token.

    Attributes:
        id: Its id.
        data: Its bytes; empty for the end token.
        ends: Whether it ends the answer.
        logprob: Its log-probability, if they are asked for.
    """

    id: int
    data: bytes
    ends: bool
    logprob: TokenLogprob | None


class ToyModel:
    """Generates the tokens of one answer."""

    def __init__(
        self,
        plan: Sequence[bytes],
        prompt: Iterable[bytes],
        root: bytes,
        sampling: Sampling,
        *,
        fixed: bool,
    ) -> None:
        """Creates a model.

        Args:
            plan: The tokens of the planned answer.
            prompt: The tokens of the prompt.
            root: What the logits are derived from.
            sampling: How tokens are chosen; `max_tokens` and stop strings have no effect here.
            fixed: Whether all planned tokens are certain, so that sampling keeps to the plan.
        """
        self._plan = plan
        self._prompt = frozenset(map(token_id, prompt))
        self._root = root
        self._sampling = sampling
        self._fixed = fixed
        self._seed = seed_of(sampling)
        self._counts: Counter[int] = Counter()
        self._ends = frozenset(sampling.stop_token_ids) | (
            frozenset() if sampling.ignore_eos else {END_ID}
        )

    def next(self) -> Token:
        """Generates the next token."""
        index = self._counts.total()
        candidates = self._candidates(index)
        raw = {token: logit for token, (_, logit) in candidates.items()}
        logits = self._processed(raw, index)
        chosen = _choose(logits, self._sampling, chance(self._seed, index))
        self._counts[chosen] += 1
        logprob = None
        if self._sampling.logprobs is not None:
            data = {token: data for token, (data, _) in candidates.items()}
            logprob = _logprob(raw, data, chosen, self._sampling.logprobs)
        return Token(chosen, candidates[chosen][0], chosen in self._ends, logprob)

    def _candidates(self, index: int) -> dict[int, tuple[bytes, float]]:
        """The candidates for the token at `index`: their bytes and raw logits, by id."""
        found = {END_ID: (b"", _UNLIKELY)}
        for token, _ in self._sampling.logit_bias:
            data = token_bytes(token)
            if data is not None:
                found[token] = data, _UNLIKELY
        for data, logit in self._others(index):
            found[token_id(data)] = data, logit
        if index < len(self._plan):
            data = self._plan[index]
            certain = self._fixed or not data.strip().isalnum()
            found[token_id(data)] = data, _CERTAIN if certain else _LIKELY
        elif index == len(self._plan):
            found[END_ID] = b"", _CERTAIN if self._fixed else _LIKELY
        return found

    def _others(self, index: int) -> Iterator[tuple[bytes, float]]:
        """Words for the token at `index`, with logits below `_MAX_OTHER`."""
        key = self._root[:32]
        for number in range(_OTHERS):
            text = b"%d %d" % (index, number)
            digest = hashlib.blake2b(text, key=key, digest_size=8).digest()
            word = ASCII_WORDS[digest[0] % len(ASCII_WORDS)]
            yield word, _MAX_OTHER * (int.from_bytes(digest[1:]) / (1 << 56))

    def _processed(self, raw: Mapping[int, float], index: int) -> dict[int, float]:
        """Applies penalties, then biases, and removes end tokens before `min_tokens`.

        If no other token is left, the likeliest is kept.
        """
        sampling = self._sampling
        biases = dict(sampling.logit_bias)
        logits = {}
        for token, raw_logit in raw.items():
            logit, count = raw_logit, self._counts[token]
            if count or token in self._prompt:
                penalty = sampling.repetition_penalty
                logit = logit / penalty if logit > 0 else logit * penalty
            logit -= count * sampling.frequency_penalty + bool(count) * sampling.presence_penalty
            if index >= sampling.min_tokens or token not in self._ends:
                logits[token] = logit + biases.get(token, 0.0)
        if not logits:
            likeliest = max(raw, key=lambda token: raw[token])
            return {likeliest: raw[likeliest]}
        return logits


def _choose(logits: Mapping[int, float], sampling: Sampling, drawn: float) -> int:
    """Applies temperature, `top_k`, `top_p` and `min_p`, and takes the candidate at `drawn`."""
    ranked = sorted(logits, key=lambda token: -logits[token])
    if sampling.temperature < GREEDY_BELOW:
        return ranked[0]
    if sampling.top_k:
        ranked = ranked[: sampling.top_k]
    best = logits[ranked[0]]
    weights = [math.exp((logits[token] - best) / sampling.temperature) for token in ranked]
    nucleus, total = sum(weights) * sampling.top_p, 0.0
    kept = []
    for token, weight in zip(ranked, weights, strict=True):
        if total >= nucleus or weight < sampling.min_p:
            break
        kept.append((token, weight))
        total += weight
    target = drawn * total
    for token, weight in kept:
        target -= weight
        if target < 0:
            return token
    return kept[-1][0]


def _logprob(
    logits: Mapping[int, float], data: Mapping[int, bytes], chosen: int, alternatives: int
) -> TokenLogprob:
    best = max(logits.values())
    total = best + math.log(sum(math.exp(logit - best) for logit in logits.values()))

    def of(token: int, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        text = data[token].decode("utf-8", "replace")
        return TokenLogprob(text, data[token], min(0.0, logits[token] - total), top)

    ranked = sorted(logits, key=lambda token: -logits[token])
    return of(chosen, tuple(map(of, ranked[:alternatives])))
