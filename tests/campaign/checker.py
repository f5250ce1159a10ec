"""Proves from a history that nothing was lost, and nothing was wrong.

The idea is Jepsen's: clients write down what they saw, faults are written down beside it, and a
checker that knows only the history judges. What it holds:

- every operation that began has exactly one outcome;
- an answer says what the model must say for that prompt and picture, and a part of an answer is
  the beginning of that;
- a refusal has the status of its code, an error of a kind that passes says when to come back;
- a request that is sound is never told that it is wrong;
- there is no 500, no truncated 200, nothing hung past its deadline;
- no connection broke, unless a fault broke that very one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from silkline.errors import ERRORS_BY_CODE, HTTP_FACES, InputError
from tests.campaign.history import History, Operation, Outcome

SLACK_SECONDS = 5.0
"""How much later than its deadline an operation may end on a busy machine."""

_OK = 200
_RETRY_STATUSES = frozenset({429, 503})


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken: which, by which operation, and what was seen."""

    rule: str
    operation: str
    what: str


def violations(history: History, *, slack_seconds: float = SLACK_SECONDS) -> list[Violation]:
    """All broken promises; empty when all held."""
    found = _uncounted(history)
    for operation in history.operations:
        found += [
            Violation(rule, operation.id, what)
            for rule, what in (
                *_of_text(operation),
                *_of_time(operation, slack_seconds),
                *_of_form(operation),
                *_of_connection(operation, history),
            )
        ]
    return found


def _uncounted(history: History) -> list[Violation]:
    """Operations without exactly one outcome."""
    begun, ended = Counter(history.begun), Counter(each.id for each in history.operations)
    return [
        Violation("one outcome", name, f"begun {begun[name]} times, ended {ended[name]} times")
        for name in sorted(begun.keys() | ended.keys())
        if begun[name] != 1 or ended[name] != 1
    ]


def _of_text(operation: Operation) -> list[tuple[str, str]]:
    if operation.outcome is Outcome.ANSWERED:
        if operation.text != operation.expected:
            return [("wrong answer", f"{operation.text!r} and not {operation.expected!r}")]
    elif not operation.expected.startswith(operation.text):
        return [("wrong answer", f"{operation.text!r} does not begin {operation.expected!r}")]
    return []


def _of_time(operation: Operation, slack_seconds: float) -> list[tuple[str, str]]:
    if operation.outcome is Outcome.HUNG:
        return [("hung", f"no end after {operation.seconds:.1f} s")]
    if operation.seconds > operation.deadline_seconds + slack_seconds:
        limit = operation.deadline_seconds
        return [("late", f"ended after {operation.seconds:.1f} s, {limit:g} s were allowed")]
    return []


def _of_form(operation: Operation) -> list[tuple[str, str]]:
    found = []
    if operation.outcome is Outcome.MALFORMED:
        found.append(("malformed", operation.detail))
    if operation.status == HTTP_FACES[ERRORS_BY_CODE["internal_error"]].status or (
        operation.code == "internal_error"
    ):
        found.append(("internal error", operation.detail))
    if operation.outcome is Outcome.REFUSED:
        found += _of_refusal(operation)
    if operation.echoed is not None and operation.echoed != operation.id:
        found.append(("another's response", f"it carries the id {operation.echoed!r}"))
    return found


def _of_refusal(operation: Operation) -> list[tuple[str, str]]:
    error = ERRORS_BY_CODE.get(operation.code or "")
    if error is None:
        return [("untyped error", f"status {operation.status}, code {operation.code!r}")]
    found = []
    if operation.sound and issubclass(error, InputError):
        found.append(("blamed", operation.detail))
    if HTTP_FACES[error].status != operation.status:
        found.append(("untyped error", f"status {operation.status} for {operation.code}"))
    retry = operation.retry_after or ""
    if operation.status in _RETRY_STATUSES and not (retry.isdigit() and int(retry) >= 1):
        found.append(("no retry-after", f"{operation.code}: retry-after is {retry!r}"))
    return found


def _of_connection(operation: Operation, history: History) -> list[tuple[str, str]]:
    if operation.outcome not in {Outcome.CUT, Outcome.UNREACHABLE} or _excused(operation, history):
        return []
    if operation.outcome is Outcome.CUT and operation.status == _OK:
        return [("truncated", operation.detail)]
    return [(operation.outcome.value, operation.detail)]


def _excused(operation: Operation, history: History) -> bool:
    """Whether a fault broke this operation's connection."""
    return any(
        operation.port in fault.cut
        or (fault.cuts_all and fault.began <= operation.ended and fault.ended >= operation.began)
        for fault in history.faults
    )
