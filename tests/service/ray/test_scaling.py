"""How many workers the policy of autoscaling wants."""

from dataclasses import dataclass

import pytest

from silkline.service.ray.directory import NO_LOAD, Load
from silkline.service.ray.scaling import policy, report


@dataclass
class Point:
    value: float


class Shown:
    """What Serve shows to a policy: the series of each metric of each worker."""

    def __init__(self, *reports: dict[str, float]) -> None:
        self.current_num_replicas = len(reports)
        self.raw_metrics = {
            name: {number: [Point(99.0), Point(each[name])] for number, each in enumerate(reports)}
            for name in (reports[0] if reports else ())
        }


@pytest.mark.parametrize(
    ("requests", "load", "wanted"),
    [
        ([0, 0], NO_LOAD, 0),
        ([4], NO_LOAD, 1),
        ([8], NO_LOAD, 1),
        ([9], NO_LOAD, 2),
        ([9, 9], NO_LOAD, 3),
        ([2, 2, 2, 2], NO_LOAD, 1),
        ([10], Load(waiting=10), 3),
        ([10, 10], Load(waiting=20), 5),
        ([10, 10], Load(waiting=2, backlog_seconds=2.0), 3),
        ([10, 10], Load(waiting=2, backlog_seconds=4.0), 4),
        ([10, 10], Load(waiting=2, backlog_seconds=9.1), 10),
    ],
)
def test_the_policy(requests: list[int], load: Load, wanted: int) -> None:
    shown = Shown(*(report(each, load, 10) for each in requests))
    assert policy(shown)[0] == wanted


def test_without_reports_nothing_is_wanted() -> None:
    assert policy(Shown()) == (0, {})
