"""What a scorer is, and how it is found by its name.

A package registers one as an entry point of the group `silkline.scorers` that is a `Scorer`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import entry_points

from silkline.config.shadow import ShadowSettings
from silkline.core import Answer
from silkline.errors import ConfigError, EnvironmentFault
from silkline.service.question import Question

GROUP = "silkline.scorers"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one question.

    Attributes:
        request: The id of the request.
        question: The question, as the client sent it.
        model: The text of the model's answer.
        candidate: The text of the candidate's answer.
    """

    request: str
    question: Question
    model: str
    candidate: str


Score = Callable[[Pair], Awaitable[float | None]]
"""Returns how much better the candidate's answer is: -1 to 1; None if that cannot be told.

It may raise a `SilklineError` or `TimeoutError`; the pair then has no score."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What a scorer may use.

    Attributes:
        settings: The settings of the shadow.
        ask: Puts a question to a served model in idle capacity; the images are those of its
            sources. It raises as `Answering.answer` does.
        takes_schema: Whether a served model can be held to a JSON schema.
    """

    settings: ShadowSettings
    ask: Callable[[Question], Awaitable[Answer]]
    takes_schema: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Scorer:
    """A scorer.

    Attributes:
        about: What it compares, in a few words.
        create: Makes its function.
    """

    about: str
    create: Callable[[Tools], Score]


def find_scorer(name: str, own: dict[str, Scorer]) -> Scorer:
    """Returns a scorer by its name.

    Args:
        name: The name.
        own: The scorers of this package.

    Raises:
        ConfigError: There is none with this name.
        EnvironmentFault: Its package cannot be imported, or registers no `Scorer`.
    """
    if name in own:
        return own[name]
    entries = entry_points(group=GROUP)
    if name not in entries.names:
        known = ", ".join(sorted({*own, *entries.names}))
        raise ConfigError(f"There is no scorer {name}. There are: {known}.")
    entry = entries[name]
    try:
        found = entry.load()
    except Exception as error:
        raise EnvironmentFault(
            f"The scorer {name} cannot be imported from {entry.value}.",
            remedy="Mend or remove its package.",
        ) from error
    if not isinstance(found, Scorer):
        raise EnvironmentFault(
            f"The scorer {name} is no Scorer but a {type(found).__name__}.",
            remedy=f"Mend or remove the package of {entry.value}.",
        )
    return found
