"""Whether traffic was split as declared, and which of several findings to believe."""

from __future__ import annotations

import math
from collections.abc import Sequence

_OBSERVATIONS = 100.0
"""Pseudo-observations of the mixture: it looks for deviations of some percent."""


def log_mismatch(counts: Sequence[int], weights: Sequence[float]) -> float:
    """The logarithm of the e-value against "each unit went to an arm by these weights".

    A Dirichlet mixture of multinomials: Lindon and Malek, Anytime-valid inference for multinomial
    count data, NeurIPS 2022. It may be looked at after every unit.

    Args:
        counts: Units of each arm.
        weights: Each arm's share of the traffic, above 0.
    """
    total = math.fsum(weights)
    shares = [weight / total for weight in weights]
    priors = [_OBSERVATIONS * share for share in shares]
    found = math.lgamma(_OBSERVATIONS) - math.lgamma(_OBSERVATIONS + sum(counts))
    for count, share, prior in zip(counts, shares, priors, strict=True):
        found += math.lgamma(prior + count) - math.lgamma(prior) - count * math.log(share)
    return found


def believed(log_evidence: Sequence[float], alpha: float) -> list[bool]:
    """Which findings to believe, so that of those at most a share of alpha is false on average.

    e-BH: Wang and Ramdas, False discovery rate control with e-values, JRSS B 2022. The e-values
    may depend on each other in any way: several metrics of the same requests, or their slices.

    Args:
        log_evidence: The logarithm of each finding's e-value.
        alpha: The share.
    """
    order = sorted(range(len(log_evidence)), key=log_evidence.__getitem__, reverse=True)
    kept = 0
    for rank, index in enumerate(order, 1):
        if log_evidence[index] >= math.log(len(order) / (alpha * rank)):
            kept = rank
    among = set(order[:kept])
    return [index in among for index in range(len(order))]
