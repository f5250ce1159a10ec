"""What a comparison says, in one sentence."""

from __future__ import annotations

from silkline.evaluate.results import Comparison
from silkline.report.numbers import change, p_value, score

_RULE_OF_THREE = 3


def headline(comparison: Comparison) -> str:
    """Whether B is better or worse by the first metric."""
    if not comparison.differences:
        return f"{comparison.agreement:.1%} of the answers are the same"
    first = comparison.differences[0]
    if first.is_clear:
        return "B is worse than A" if first.difference < 0 else "B is better than A"
    if not first.better and not first.worse:
        return "No difference"
    return "No difference that these items can show"


def explanation(comparison: Comparison, items: int, highest: float = 1.0) -> str:
    """The figures behind `headline`."""
    if not comparison.differences:
        return "The set has no references, so only the answers are compared."
    one = comparison.differences[0]
    points = " points" if highest == 1.0 else ""
    told = (
        f"{one.metric}: {score(one.first, highest)} to {score(one.second, highest)}, "
        f"{change(one.difference, highest)}{points}"
    )
    if not one.better and not one.worse:
        limit = min(1.0, _RULE_OF_THREE / items)
        return (
            f"{told}; all {items} items score the same. Up to {limit:.1%} of such items could "
            "still score differently: a set of this size cannot tell."
        )
    test = "McNemar" if one.right_or_wrong else "randomisation test"
    return (
        f"{told} (95% interval {change(one.low, highest)} to {change(one.high, highest)}); better "
        f"on {one.better} items, worse on {one.worse}; {test} "
        f"{_with_sign(one.p)}."
    )


def _with_sign(value: float) -> str:
    shown = p_value(value)
    told = f"p {shown}" if shown.startswith("<") else f"p = {shown}"
    return told.replace(" ", "\N{NO-BREAK SPACE}")
