"""The checker finds every kind of broken promise, each planted into a history that is sound."""

from dataclasses import replace
from typing import Any

import pytest

from tests.campaign.checker import violations
from tests.campaign.history import Fault, History, Operation, Outcome

ANSWER = "a red mug on a shelf."


def operation(name: str = "one", **fields: Any) -> Operation:
    sound = Operation(
        id=name,
        began=10.0,
        ended=10.5,
        deadline_seconds=2.0,
        port=40_000,
        outcome=Outcome.ANSWERED,
        expected=ANSWER,
        text=ANSWER,
        status=200,
        echoed=name,
    )
    return replace(sound, **fields)


def rules(*operations: Operation, faults: tuple[Fault, ...] = ()) -> set[str]:
    history = History(list(operations), list(faults), [each.id for each in operations])
    return {violation.rule for violation in violations(history, slack_seconds=1.0)}


REFUSED: dict[str, Any] = {
    "outcome": Outcome.REFUSED, "text": "", "status": 503, "code": "overloaded", "retry_after": "2",
}  # fmt: skip
BROKEN_OFF: dict[str, Any] = {
    "outcome": Outcome.BROKEN_OFF, "text": ANSWER[:5], "code": "worker_lost", "stream": True,
}  # fmt: skip
CUT: dict[str, Any] = {"outcome": Outcome.CUT, "text": ANSWER[:5]}


def test_a_sound_history_has_none() -> None:
    assert not rules(
        operation(),
        operation("two", **REFUSED),
        operation("three", **BROKEN_OFF),
        operation("four", outcome=Outcome.LEFT, text=ANSWER[:3]),
        operation("six", **(REFUSED | {"status": 422, "code": "quarantined", "sound": False})),
        operation("five", **(REFUSED | {"status": 504, "code": "deadline_exceeded"})),
    )


@pytest.mark.parametrize(
    ("rule", "planted"),
    [
        ("wrong answer", {"text": "a blue mug."}),
        ("wrong answer", {"text": ANSWER[:-1]}),
        ("wrong answer", BROKEN_OFF | {"text": "a blue"}),
        ("wrong answer", {"outcome": Outcome.LEFT, "text": "b"}),
        ("hung", {"outcome": Outcome.HUNG, "text": ""}),
        ("late", {"ended": 13.1}),
        ("late", REFUSED | {"ended": 13.1}),
        ("malformed", {"outcome": Outcome.MALFORMED, "text": ""}),
        ("internal error", REFUSED | {"status": 500, "code": "internal_error"}),
        ("internal error", {"outcome": Outcome.MALFORMED, "text": "", "status": 500}),
        ("internal error", BROKEN_OFF | {"code": "internal_error"}),
        ("untyped error", REFUSED | {"status": 502, "code": None}),
        ("untyped error", REFUSED | {"status": 404}),
        ("blamed", REFUSED | {"status": 400, "code": "image_undecodable"}),
        ("blamed", REFUSED | {"status": 422, "code": "quarantined"}),
        ("no retry-after", REFUSED | {"retry_after": None}),
        ("no retry-after", REFUSED | {"retry_after": "0"}),
        ("another's response", {"echoed": "two"}),
        ("truncated", CUT),
        ("cut", CUT | {"status": None, "text": ""}),
        ("unreachable", {"outcome": Outcome.UNREACHABLE, "status": None, "text": ""}),
    ],
)
def test_each_planted_violation_is_found(rule: str, planted: dict[str, Any]) -> None:
    assert rule in rules(operation(**planted))


def test_an_operation_without_an_outcome_is_found() -> None:
    history = History([operation()], [], ["one", "lost"])
    assert [(each.rule, each.operation) for each in violations(history)] == [
        ("one outcome", "lost")
    ]


def test_an_operation_with_two_outcomes_is_found() -> None:
    history = History([operation(), operation(**REFUSED)], [], ["one"])
    assert {each.rule for each in violations(history)} == {"one outcome"}


def test_a_fault_excuses_only_the_connections_that_it_cut() -> None:
    cut = Fault("reset", 10.1, 10.2, cut=frozenset({40_000}))
    assert not rules(operation(**CUT), faults=(cut,))
    assert rules(operation(**(CUT | {"port": 40_001})), faults=(cut,)) == {"truncated"}
    assert rules(operation(text="wrong", port=40_000), faults=(cut,)) == {"wrong answer"}


def test_a_fault_that_may_cut_all_excuses_only_while_it_lasts() -> None:
    killed = Fault("kill the gateway", 10.1, 10.2, cuts_all=True)
    assert not rules(operation(**CUT), faults=(killed,))
    assert rules(operation(**(CUT | {"began": 10.3})), faults=(killed,)) == {"truncated"}
