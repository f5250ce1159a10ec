import pytest

from silkline.errors import ConfigError
from silkline.evaluate.metrics.catalogue import METRICS
from silkline.optimize.requirements import Kind, Requirement, parse_requirements

TEXTS = (METRICS["exact_match"], METRICS["token_f1"], METRICS["cider"])


def one(text: str) -> Requirement:
    return parse_requirements([text], TEXTS)[0]


@pytest.mark.parametrize(
    ("text", "kind", "limit", "rest"),
    [
        ("accuracy_drop<=0.5pt", Kind.DROP, 0.005, {"metric": "exact_match"}),
        ("token_f1_drop <= 1 pt", Kind.DROP, 0.01, {"metric": "token_f1"}),
        ("cider_drop<=0.05", Kind.DROP, 0.005, {"metric": "cider", "highest": 10.0}),
        ("accuracy>=95%", Kind.LEVEL, 0.95, {"metric": "exact_match"}),
        ("agreement>=99.5%", Kind.AGREEMENT, 0.995, {}),
        ("p99<=420ms", Kind.LATENCY, 0.42, {"share": 0.99}),
        ("p99=420ms", Kind.LATENCY, 0.42, {"share": 0.99}),
        ("p99.5<=2s", Kind.LATENCY, 2.0, {"share": 0.995}),
        ("throughput=12/s", Kind.THROUGHPUT, 12.0, {}),
        ("p50<=0.8x", Kind.LATENCY, 0.8, {"share": 0.5, "relative": True}),
        ("first_token_p90<=1.5s", Kind.FIRST_TOKEN, 1.5, {"share": 0.9}),
        ("throughput>=1.3x", Kind.THROUGHPUT, 1.3, {"relative": True}),
        ("throughput>=12/s", Kind.THROUGHPUT, 12.0, {}),
        ("size<=0.3x", Kind.SIZE, 0.3, {"relative": True}),
        ("size<=250MB", Kind.SIZE, 250e6, {}),
        ("memory<=2GiB", Kind.MEMORY, 2 * 1024**3, {}),
    ],
)
def test_requirements(text: str, kind: Kind, limit: float, rest: dict[str, object]) -> None:
    found = one(text)
    assert found.kind is kind
    assert found.limit == pytest.approx(limit)
    for name, value in {
        "relative": False,
        "share": 0.0,
        "metric": "",
        "highest": 1.0,
        **rest,
    }.items():
        assert getattr(found, name) == value
    assert found.text == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not NAME<=VALUE"),
        ("p0<=1s", "about p0, which is unknown"),
        ("p99<420ms", "is not NAME<=VALUE"),
        ("p99<=fast", "is not NAME<=VALUE"),
        ("p99<=-1ms", "is not NAME<=VALUE"),
        ("p99<=1e3ms", "has the unit ems|is not NAME<=VALUE"),
        ("q95<=1s", "about q95, which is unknown here. There is: accuracy_drop, exact_match_drop"),
        ("anls_drop<=1pt", "unknown here"),
        ("accuracy_drop>=1pt", "accuracy_drop takes <="),
        ("throughput<=1x", "throughput takes >="),
        ("accuracy_drop<=1%", "has the unit %; accuracy_drop takes pt"),
        ("accuracy_drop<=0.5", "has no unit; accuracy_drop takes pt"),
        ("cider_drop<=1pt", "has the unit pt; cider_drop takes no unit"),
        ("p99<=420", "has no unit; p99 takes ms or s or x"),
        ("p99<=420MS", "has the unit MS"),
        ("size<=3GB/s", "has the unit GB/s; size takes MB or GB or MiB or GiB or x"),
        ("accuracy_drop<=0pt", "can never, or always, hold"),
        ("accuracy_drop<=100pt", "can never, or always, hold"),
        ("agreement>=100%", "can never, or always, hold"),
        ("accuracy>=0%", "can never, or always, hold"),
        ("size<=0x", "can never, or always, hold"),
    ],
)
def test_requirements_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        one(text)


def test_none_and_two_of_the_same_are_refused() -> None:
    with pytest.raises(ConfigError, match="no requirement"):
        parse_requirements([], TEXTS)
    with pytest.raises(ConfigError, match="limit the same thing"):
        parse_requirements(["accuracy_drop<=1pt", "exact_match_drop<=2pt"], TEXTS)
    assert len(parse_requirements(["p99<=1s", "p99<=2x", "p50<=1s"], TEXTS)) == 3


def test_without_references_only_answers_are_compared() -> None:
    with pytest.raises(ConfigError, match="There is: agreement, p50"):
        parse_requirements(["accuracy_drop<=1pt"], [])
    assert parse_requirements(["agreement>=90%"], [])[0].kind is Kind.AGREEMENT
