"""Prompts with fewer image tokens than the vision tower has features."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import torch

from silkline.engines.torch.families.base import PreparedImage, Prompt
from silkline.engines.torch.pruning import pruned_features
from silkline.models.pruning import Method, Pruning


def with_fewer_tokens(
    images: Sequence[PreparedImage], pruning: Pruning, text: torch.Tensor
) -> tuple[PreparedImage, ...]:
    """Sets how many tokens the images of a prompt have.

    Where the choice of tokens depends on the prompt's text, so does the digest: it stands for what
    is in the prompt, and caches compare nothing else.

    Args:
        images: The images.
        pruning: How they are pruned.
        text: Ids of the prompt's other tokens.
    """
    salt = text.numpy().tobytes() if pruning.method.needs_prompt else b""
    return tuple(
        replace(
            image,
            tokens=pruning.kept(image.features),
            digest=hashlib.blake2b(image.digest + salt, digest_size=32).digest()
            if salt
            else image.digest,
        )
        for image in images
    )


def staying(is_image: torch.Tensor, images: Sequence[PreparedImage]) -> torch.Tensor:
    """Which tokens stay of a prompt that has one for each feature: text, and those of images.

    Args:
        is_image: Which of them are image tokens, bool `[T]`.
        images: The images, with their numbers of tokens.
    """
    stays = ~is_image
    stays[is_image] = torch.cat([torch.arange(image.features) < image.tokens for image in images])
    return stays


def prune(
    prompt: Prompt,
    features: Sequence[torch.Tensor],
    is_image: torch.Tensor,
    method: Method,
    query: torch.Tensor,
) -> tuple[Prompt, list[torch.Tensor]]:
    """Reduces features to the tokens of their images; see `Family.prune`.

    Args:
        prompt: The prompt.
        features: The features of its images, each `[features, width or more]`.
        is_image: Which of its tokens are image tokens, bool `[T]`.
        method: How tokens are chosen.
        query: The text that they are chosen for, `[width]`; see `pruning.query_of`.
    """
    found = [
        pruned_features(tensor, image.tokens, method, query, len(query))
        for tensor, image in zip(features, prompt.images, strict=True)
    ]
    if prompt.feature_positions is not None:
        sizes = [image.features for image in prompt.images]
        split = torch.split(prompt.feature_positions, sizes, 1)
        kept = [part[:, indices.cpu()] for part, (_, indices) in zip(split, found, strict=True)]
        positions = prompt.positions.clone()
        positions[:, is_image] = torch.cat(kept, 1)
        prompt = replace(prompt, positions=positions)
    return prompt, [tensor for tensor, _ in found]
