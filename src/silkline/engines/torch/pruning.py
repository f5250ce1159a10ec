"""Chooses or merges image tokens by their features; see `models.pruning` for the methods.

Everything is computed in float32, without synchronising with the device. Similarities are cosines.
"""

from __future__ import annotations

import torch
from torch.nn.functional import normalize

from silkline.engines.pruning_seed import random_kept
from silkline.models.pruning import Method

_EPSILON = 1e-6
"""Keeps divisors away from zero; about the rounding error of a kernel in float32."""


def pruned_features(
    features: torch.Tensor, kept: int, method: Method, query: torch.Tensor, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Reduces an image's features.

    Args:
        features: `[tokens, width or more]`; the first `width` columns are compared, the others
            follow them.
        kept: How many stay, from 1 to `tokens`.
        method: How they are chosen.
        query: The prompt's text, from `query_of`; methods that do not need it ignore it.
        width: Width of the text model's embeddings.

    Returns:
        Features `[kept, ...]`, in their order in the image, and each one's index in `features`;
        that of a merged one is the index of the token that others were merged into.
    """
    if method is Method.MERGE:
        return _merged(features, kept, width)
    if method is Method.RANDOM:
        drawn = random_kept(len(features), kept)
        indices = torch.tensor(drawn, device=features.device)
    else:
        compared = normalize(features[:, :width].float(), dim=1)
        similarity = compared @ compared.T
        if method is Method.DIVPRUNE:
            indices = _max_min(similarity, kept)
        else:
            relevance = _relevance(compared @ query.float())
            if method is Method.ADAPTIVE:
                relevance = relevance ** (1 - _distinctness(similarity))
            indices = _most_likely(similarity * relevance.outer(relevance), kept)
        indices = indices.sort().values
    return features[indices], indices


def query_of(embeddings: torch.Tensor) -> torch.Tensor:
    """The mean direction of a prompt's text embeddings `[tokens, width]`, float32 `[width]`.

    Its product with a unit vector is that vector's mean cosine with the tokens.
    """
    return normalize(embeddings.float(), dim=1).mean(0)


def _max_min(similarity: torch.Tensor, kept: int) -> torch.Tensor:
    """Greedy max-min diversity: arXiv 2503.02175, algorithm 1, with the distance 1 - cosine.

    The first token is the one whose nearest neighbour is farthest.
    """
    distance = 1 - similarity
    others = distance.clone().fill_diagonal_(torch.inf)
    chosen = [others.amin(1).argmax(0, keepdim=True)]
    nearest = distance.new_full((len(distance),), torch.inf)
    for _ in range(kept - 1):
        nearest = nearest.minimum(distance.index_select(0, chosen[-1])[0])
        nearest = nearest.index_fill(0, chosen[-1], -torch.inf)
        chosen.append(nearest.argmax(0, keepdim=True))
    return torch.cat(chosen)


def _relevance(cosines: torch.Tensor) -> torch.Tensor:
    """Relevance to the prompt, scaled to the range from about 0 to 1 (arXiv 2506.10967, 3.2)."""
    low, high = cosines.amin(), cosines.amax()
    return (cosines - low + _EPSILON) / (high - low + _EPSILON)


def _distinctness(similarity: torch.Tensor) -> torch.Tensor:
    """The effective number of distinct features as a share of all, above 0 to 1.

    It is the effective rank of order 2 of the kernel, `trace(K)^2 / trace(K^2)`. AgilePruner
    (arXiv 2603.01236) takes the one of order 1, which needs singular values.
    """
    return len(similarity) / similarity.square().sum()


def _most_likely(kernel: torch.Tensor, kept: int) -> torch.Tensor:
    """Greedy maximisation of `det(kernel[S, S])`: arXiv 1709.05135, algorithm 1."""
    gains = kernel.diagonal().clone()
    factors = kernel.new_zeros(kept, len(kernel))
    chosen = []
    for step in range(kept):
        index = gains.argmax(0, keepdim=True)
        chosen.append(index)
        projected = factors[:step].index_select(1, index).T @ factors[:step]
        gain = gains.index_select(0, index).clamp(min=_EPSILON)
        factors[step] = (kernel.index_select(0, index) - projected)[0] / gain.sqrt()
        gains = (gains - factors[step].square()).index_fill(0, index, -torch.inf)
    return torch.cat(chosen)


def _merged(features: torch.Tensor, kept: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Bipartite soft matching: arXiv 2210.09461, 3.2, with the features as keys.

    In each round every second token is a source, the others are targets. The sources that are most
    similar to a target are averaged into it, weighted by how many tokens each already stands for.
    """
    values = features.float()
    sizes = values.new_ones(len(values), 1)
    indices = torch.arange(len(values), device=features.device)
    while len(values) > kept:
        compared = normalize(values[:, :width], dim=1)
        best, target = (compared[::2] @ compared[1::2].T).max(1)
        order = best.argsort(descending=True, stable=True)
        count = min(len(values) - kept, len(values) // 2)
        source, left = order[:count], order[count:]
        weighted = values * sizes
        sums = weighted[1::2].index_add(0, target[source], weighted[::2][source])
        totals = sizes[1::2].index_add(0, target[source], sizes[::2][source])
        found = torch.cat((indices[::2][left], indices[1::2]))
        in_order = found.argsort()
        values = torch.cat((values[::2][left], sums / totals))[in_order]
        sizes = torch.cat((sizes[::2][left], totals))[in_order]
        indices = found[in_order]
    return values.to(features.dtype), indices
