from typing import Any

from silkline.optimize.search.trial import BASELINE, Trial, fastest, frontier


def trial(name: str, **values: Any) -> Trial:
    usual: dict[str, Any] = {
        "items": 10,
        "seconds": 1.0,
        "throughput": 1.0,
        "size": 10,
        "memory": 10,
    }
    return Trial(names=(name,), **(usual | values))


def names(trials: list[Trial]) -> list[str]:
    return [each.names[0] for each in trials]


def test_a_trial_that_is_beaten_in_everything_is_not_on_the_frontier() -> None:
    trials = [
        trial("as it is"),
        trial("faster and worse", seconds=0.5, throughput=2.0, drop=0.1),
        trial("beaten", seconds=0.6, throughput=1.5, drop=0.1),
        trial("smaller", size=5, seconds=1.1, throughput=0.9),
        trial("refused", seconds=0.1, throughput=9.0, problem="it lost too much"),
        trial("of fewer items", items=5, seconds=0.1, throughput=9.0),
        trial("alike", seconds=0.5, throughput=2.0, drop=0.1),
    ]
    assert names(frontier(trials)) == ["as it is", "faster and worse", "smaller", "alike"]


def test_what_is_unknown_beats_nothing() -> None:
    unknown = Trial(names=("unknown",), items=10, seconds=1.0, throughput=1.0, size=10)
    assert names(frontier([trial("known"), unknown])) == ["known"]


def test_the_fastest_comes_first_and_what_probably_loses_too_much_last() -> None:
    trials = [
        trial("slow", speed=0.5),
        trial("doubtful", speed=3.0, worse=0.1),
        trial("fast", speed=2.0, worse=0.3),
        trial("refused", speed=9.0, problem="x"),
        Trial(names=("not asked",)),
    ]
    assert names(fastest(trials)) == ["fast", "slow", "doubtful"]
    assert Trial(names=()).label == "no optimisation"
    assert Trial(names=BASELINE).label == "the baseline"
