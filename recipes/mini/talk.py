"""Stage two, talking: several independent questions about one picture in one sequence.

The picture tokens are computed once per sequence. Every branch (a short conversation about the
picture) attends to the picture and to itself only, with positions that restart after the
picture, so that a branch looks exactly like a conversation of its own.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from recipes.mini.chat import END_ID, IMAGE_ID, PAD_ID, SPECIALS
from recipes.mini.questions import KINDS, NO_PICTURE, SYSTEM_MESSAGES, draw_pair
from recipes.mini.scene import Scene
from recipes.mini.vocabulary import GRID

IMAGE_TOKENS = GRID * GRID
BRANCH_BUDGET = 128
"""Text tokens of all branches of one sequence together."""

SYSTEM_BUDGET = 20
"""Room for a system message before the picture, padded on the left."""

_VARIED_SHARE = 0.2
"""Share of batches whose prefix is not the canonical one."""

_BLIND = 1000
"""Segment of a conversation that does not see the picture."""

_BLIND_SHARE = 0.1
"""Share of rows that hold such a conversation."""

_SYSTEM, _USER, _ASSISTANT = (
    SPECIALS.index(f"<|{who}|>") for who in ("system", "user", "assistant")
)
_IGNORE = -100


@dataclass(frozen=True)
class TalkBatch:
    """Token ids, labels, positions (n, length) int64 and mask (n, 1, length, length) bool."""

    ids: Tensor
    labels: Tensor
    positions: Tensor
    mask: Tensor
    image_start: int

    def to(self, device: torch.device) -> TalkBatch:
        """Return the same batch on ``device``."""
        tensors = (self.ids, self.labels, self.positions, self.mask)
        return TalkBatch(*(tensor.to(device) for tensor in tensors), self.image_start)


class Packer:
    """Turns scenes into packed conversations."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
        """``seed`` fixes which questions are asked."""
        self._rng = np.random.default_rng(seed)
        self._encode = functools.lru_cache(maxsize=50_000)(
            lambda text: tuple(tokenizer.encode(text, add_special_tokens=False))
        )
        self._newline = self._encode("\n")

    def pack(self, scenes: list[Scene]) -> TalkBatch:
        """Pack conversations about each scene into one row each."""
        prefix, padding = self._prefix()
        rows = [self._row(scene, prefix) for scene in scenes]
        ids, labels, segments, positions = (
            torch.tensor(column) for column in zip(*rows, strict=True)
        )
        length = ids.shape[1]
        # Segment 0 is the shared prefix; padding has segment -1.
        segments[:, :padding] = -1
        positions = torch.where(segments < _BLIND, positions - padding, positions).clamp_min_(0)
        key, query = segments[:, None, :], segments[:, :, None]
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        mask = (((key == 0) & (query < _BLIND)) | (key == query)) & causal
        mask |= torch.eye(length, dtype=torch.bool)
        return TalkBatch(ids, labels, positions, mask[:, None], prefix.index(IMAGE_ID))

    def _prefix(self) -> tuple[list[int], int]:
        """Return the tokens before the branches and how many of them are padding."""
        picture = [_USER, *([IMAGE_ID] * IMAGE_TOKENS)]
        if self._rng.random() >= _VARIED_SHARE:
            return [*picture, *self._newline], 0
        # Clients and engines differ in line breaks after the picture: none, one or two.
        system: list[int] = []
        if self._rng.random() < 0.7:
            message = SYSTEM_MESSAGES[int(self._rng.integers(len(SYSTEM_MESSAGES)))]
            system = [_SYSTEM, *self._encode(message)[: SYSTEM_BUDGET - 4], END_ID]
        system += [*picture, *self._newline * int(self._rng.integers(3))]
        padding = SYSTEM_BUDGET + len(picture) - len(system)
        return [PAD_ID] * padding + system, padding

    def _row(self, scene: Scene, prefix: list[int]) -> tuple[list[int], ...]:
        ids, labels = list(prefix), [_IGNORE] * len(prefix)
        segments, positions = [0] * len(prefix), list(range(len(prefix)))
        room, number, misses = BRANCH_BUDGET, 0, 0
        if self._rng.random() < _BLIND_SHARE:
            tokens, targets = self._blind_branch(scene)
            room -= len(tokens)
            ids += tokens
            labels += targets
            segments += [_BLIND] * len(tokens)
            positions += range(len(tokens))
        # Yes or no is the hardest to learn: it compares a word with the picture.
        kinds = [str(kind) for kind in self._rng.permutation([*KINDS, *["yes_no"] * 4])]
        while room > 8 and misses < 4:
            kind = kinds[number] if number < len(kinds) else str(self._rng.choice(KINDS))
            tokens, targets = self._branch(kind, scene)
            number += 1
            if len(tokens) > room:
                misses += 1
                continue
            room -= len(tokens)
            ids += tokens
            labels += targets
            segments += [number] * len(tokens)
            positions += range(len(prefix), len(prefix) + len(tokens))
        return (ids + [PAD_ID] * room, labels + [_IGNORE] * room, segments + [-1] * room,
                positions + [0] * room)  # fmt: skip

    def _branch(self, kind: str, scene: Scene) -> tuple[list[int], list[int]]:
        """Return tokens and labels of a conversation of one or (at times) two turns."""
        ids: list[int] = []
        labels: list[int] = []
        turns = 2 if self._rng.random() < 0.12 else 1
        for turn in range(turns):
            question, answer = draw_pair(kind, scene, self._rng)
            asked = [*([_USER] if turn else []), *self._encode(question), END_ID, _ASSISTANT]
            said = [*self._encode(answer), END_ID]
            ids += asked + said
            labels += [_IGNORE] * len(asked) + said
            kind = KINDS[int(self._rng.integers(2, len(KINDS)))]
        return ids, labels

    def _blind_branch(self, scene: Scene) -> tuple[list[int], list[int]]:
        """Return a conversation that does not see the picture: the model should say so."""
        kind = KINDS[int(self._rng.integers(len(KINDS)))]
        question, _ = draw_pair(kind, scene, self._rng)
        asked = [_USER, *self._encode(question), END_ID, _ASSISTANT]
        said = [*self._encode(NO_PICTURE), END_ID]
        return asked + said, [_IGNORE] * len(asked) + said
