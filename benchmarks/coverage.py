"""Whether 95% intervals hold the true value 95% of the time, for the scores that evaluation has.

    python -m benchmarks.coverage [--runs 1000]

Scores are drawn from distributions whose mean is known. Differences of what is right or wrong are
not drawn: all outcomes are summed by their probability.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable, Sequence

from silkline.evaluate.significance import Interval, bootstrap, paired_shares

SIZES = (20, 50, 200)
_ROUNDING = 1e-9
_UNLIKELY = 1e-9

Drawing = Callable[[random.Random], float]


def _scores(rng: random.Random) -> float:
    return rng.betavariate(5, 1)


def _mostly_one(rng: random.Random) -> float:
    return 1.0 if rng.random() < 0.8 else rng.random()


def _differences(rng: random.Random) -> float:
    return (rng.betavariate(3, 1) - rng.betavariate(4, 1)) / 2


def _some_differences(rng: random.Random) -> float:
    return rng.uniform(-1.0, 0.6) if rng.random() < 0.2 else 0.0


CONTINUOUS: dict[str, tuple[Drawing, float]] = {
    "scores near 1": (_scores, 5 / 6),
    "scores, four of five are 1": (_mostly_one, 0.9),
    "differences, all items differ": (_differences, (3 / 4 - 4 / 5) / 2),
    "differences, one item of five differs": (_some_differences, -0.04),
}
"""What is drawn, and its mean."""

PAIRED = ((0.08, 0.12), (0.01, 0.04), (0.0, 0.02))
"""Shares of the items on which only the second is right, and only the first."""


def covered(draw: Drawing, mean: float, count: int, runs: int) -> float:
    """How often the bootstrap's interval holds the mean, of so many drawn sets."""
    rng = random.Random(count)
    sets = ([draw(rng) for _ in range(count)] for _ in range(runs))
    return sum(_holds(bootstrap(values, run), mean) for run, values in enumerate(sets)) / runs


def covered_pairs(better: float, worse: float, count: int) -> float:
    """How often the interval of a difference of what is right or wrong holds it: exactly."""
    held = 0.0
    for ups in range(count + 1):
        for downs in range(count - ups + 1):
            chance = (
                math.comb(count, ups)
                * math.comb(count - ups, downs)
                * (better**ups * worse**downs * (1 - better - worse) ** (count - ups - downs))
            )
            if chance > _UNLIKELY:
                held += chance * _holds(paired_shares(ups, downs, count), better - worse)
    return held


def _holds(found: Interval, value: float) -> bool:
    return found.low - _ROUNDING <= value <= found.high + _ROUNDING


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=1000, help="drawn sets for each figure")
    runs = parser.parse_args().runs
    heads = " | ".join(f"{count} items" for count in SIZES)
    print(f"| intervals that hold the true value | {heads} |")
    print("|---|" + "---|" * len(SIZES))
    for better, worse in PAIRED:
        title = f"right or wrong: {better:.0%} better, {worse:.0%} worse"
        _row(title, [covered_pairs(better, worse, count) for count in SIZES])
    for title, (draw, mean) in CONTINUOUS.items():
        _row(title, [covered(draw, mean, count, runs) for count in SIZES])


def _row(title: str, found: Sequence[float]) -> None:
    print(f"| {title} | {' | '.join(f'{share:.1%}' for share in found)} |", flush=True)


if __name__ == "__main__":
    main()
