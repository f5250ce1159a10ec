"""Each way to choose image tokens, spelt out in NumPy as its paper defines it, in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def unit(rows: Array) -> Array:
    """Rows of length 1."""
    found: Array = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
    return found


def divprune(features: Array, kept: int) -> list[int]:
    """DivPrune: the next token is the one whose nearest chosen one is farthest."""
    distance = 1 - unit(features) @ unit(features).T
    count = len(features)
    lonely = [
        min((distance[i, j] for j in range(count) if j != i), default=0) for i in range(count)
    ]
    chosen = [int(np.argmax(lonely))]
    while len(chosen) < kept:
        left = [index for index in range(count) if index not in chosen]
        chosen.append(max(left, key=lambda index: min(distance[index, each] for each in chosen)))
    return sorted(chosen)


def relevance(features: Array, text: Array) -> Array:
    """CDPruner's relevance: the mean cosine with the text's tokens, scaled to 0 to 1."""
    cosines = (unit(features) @ unit(text).T).mean(1)
    low, high = cosines.min(), cosines.max()
    found: Array = (cosines - low + 1e-6) / (high - low + 1e-6)
    return found


def greedy_determinant(kernel: Array, kept: int) -> list[int]:
    """The next index is the one that makes the determinant of the chosen part largest."""
    chosen: list[int] = []
    while len(chosen) < kept:
        left = [index for index in range(len(kernel)) if index not in chosen]

        def volume(index: int) -> float:
            part = kernel[np.ix_([*chosen, index], [*chosen, index])]
            sign, size = np.linalg.slogdet(part)
            return float(size) if sign > 0 else -np.inf

        chosen.append(max(left, key=volume))
    return sorted(chosen)


def cdpruner(features: Array, kept: int, text: Array) -> list[int]:
    """CDPruner: the kernel of cosines, weighted on both sides by relevance."""
    weights = np.diag(relevance(features, text))
    similarity = unit(features) @ unit(features).T
    return greedy_determinant(weights @ similarity @ weights, kept)


def adaptive(features: Array, kept: int, text: Array) -> list[int]:
    """The same, the relevance to the power of what an image lacks in distinct features."""
    similarity = unit(features) @ unit(features).T
    eigenvalues = np.linalg.eigvalsh(similarity)
    rank = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    weights = np.diag(relevance(features, text) ** (1 - rank / len(features)))
    return greedy_determinant(weights @ similarity @ weights, kept)


def merge(features: Array, kept: int) -> tuple[Array, list[int]]:
    """ToMe: a list of (index, tokens it stands for), halved at most by each round."""
    tokens = [(index, row, 1) for index, row in enumerate(features)]
    while len(tokens) > kept:
        sources, targets = tokens[::2], tokens[1::2]
        cosines = (
            unit(np.array([row for _, row, _ in sources]))
            @ unit(np.array([row for _, row, _ in targets])).T
        )
        edges = sorted(range(len(sources)), key=lambda each: -cosines[each].max())
        edges = edges[: min(len(tokens) - kept, len(tokens) // 2)]
        groups = {number: [target] for number, target in enumerate(targets)}
        for each in edges:
            groups[int(cosines[each].argmax())].append(sources[each])
        merged = []
        for number, members in groups.items():
            size = sum(weight for _, _, weight in members)
            row = np.sum([weight * row for _, row, weight in members], axis=0) / size
            merged.append((targets[number][0], row, size))
        left = [token for each, token in enumerate(sources) if each not in edges]
        tokens = sorted([*merged, *left], key=lambda token: token[0])
    return np.array([row for _, row, _ in tokens]), [index for index, _, _ in tokens]
