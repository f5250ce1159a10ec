import pytest

from silkline.bench.option_types import parse_burst, parse_seconds, parse_share
from silkline.bench.spec import Arrivals, Burst, Form, Spec, Target, Traffic, check
from silkline.errors import ConfigError


def test_times_shares_and_bursts_are_read() -> None:
    assert [parse_seconds(text) for text in ("420ms", "20s", "1.5m", "2h")] == [0.42, 20, 90, 7200]
    assert [parse_share(text) for text in ("2%", "0.5", "100%", "0%")] == [0.02, 0.5, 1, 0]
    assert parse_burst("3x20s@60s") == Burst(3, 20, 60)
    assert parse_burst("1.5x500ms@2m") == Burst(1.5, 0.5, 120)


@pytest.mark.parametrize("text", ["", "20", "s", "0s", "-1s", "1 s", "1d"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="420ms"):
        parse_seconds(text)


@pytest.mark.parametrize("text", ["", "101%", "2", "-1%", "a"])
def test_other_shares_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="2%"):
        parse_share(text)


@pytest.mark.parametrize("text", ["", "3x20s", "x20s@60s", "0x20s@60s", "3x20@60"])
def test_other_bursts_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="3x20s@60s"):
        parse_burst(text)


@pytest.mark.parametrize(
    ("arrivals", "traffic"),
    [
        (Arrivals(1, 1, Burst(3, 60, 60)), Traffic()),
        (Arrivals(1, 1), Traffic(new=0.6, near=0.6)),
        (Arrivals(1, 1), Traffic(new=0.1, folder="pictures")),
        (Arrivals(1, 1), Traffic(requests="a.jsonl", folder="pictures")),
        (Arrivals(1, 1), Traffic(stream=True, form=Form.UPLOAD)),
    ],
)
def test_what_cannot_be_run_is_refused(arrivals: Arrivals, traffic: Traffic) -> None:
    with pytest.raises(ConfigError):
        check(Spec((Target("A", "http://127.0.0.1:1"),), arrivals, traffic))
