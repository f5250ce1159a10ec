"""The items of a job, and their results."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Work(Generic[T]):
    """What is asked for one item, read from the input.

    Attributes:
        question: Identifies what is asked: items with the same question share one result.
        content: What is asked.
        size: Its bytes in memory.
    """

    question: bytes
    content: T
    size: int = 0


class Entry(Protocol[T]):
    """One item of the input, not read yet.

    Attributes:
        id: Its name in the results.
    """

    @property
    def id(self) -> str:
        """Its name in the results."""

    def read(self) -> Work[T]:
        """Reads it; called in a thread, and only for items without a result.

        Raises:
            SilklineError: It cannot be read: the item fails, the job goes on.
        """


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a question.

    Attributes:
        content: The answer or the error, as the job writes it: JSON.
        error: The code of the error; empty for an answer.
        transient: Whether the same question may succeed later.
    """

    content: bytes
    error: str = ""
    transient: bool = False


Ask = Callable[[T], Coroutine[Any, Any, Result]]
"""Answers what one item asks. It raises nothing but cancellation: errors are results."""

Fail = Callable[[Exception], Result]
"""Makes the result of an item that cannot be read."""


@dataclass(slots=True)
class Counts:
    """The counts of a job.

    Attributes:
        items: Items that were read.
        answered: Items with an answer.
        failed: Items with an error.
        asked: Different questions with a result: the others share one of them.
        known: Items that had a result before this run.
    """

    items: int = 0
    answered: int = 0
    failed: int = 0
    asked: int = 0
    known: int = 0

    @property
    def duplicates(self) -> int:
        """Items that share the result of an earlier one."""
        return max(0, self.answered + self.failed - self.asked)

    def count(self, error: str, items: int) -> None:
        """Counts items with a result, by the code of its error; empty for an answer."""
        if error:
            self.failed += items
        else:
            self.answered += items
