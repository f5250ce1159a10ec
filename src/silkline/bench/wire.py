"""What the session and its players say to each other: one line of JSON each, over pipes."""

from __future__ import annotations

import msgspec

from silkline.bench.record import Health
from silkline.bench.spec import Spec


class Begin(msgspec.Struct, frozen=True, tag=True):
    """The first line to a player.

    Attributes:
        spec: The whole run.
        share: Which of the players this is, from 0.
        model: The model's name in chat requests, by target.
        origin: URL below which the bench serves its pictures, or empty.
        records: File that the player writes its records to.
    """

    spec: Spec
    share: int
    model: tuple[str, ...]
    origin: str
    records: str


class Warm(msgspec.Struct, frozen=True, tag=True):
    """Ask for the most popular pictures; records nothing."""

    target: int


class Play(msgspec.Struct, frozen=True, tag=True):
    """Send a slice of the schedule.

    Attributes:
        target: To which target.
        begin: Where the slice begins on the schedule's clock.
        end: Where it ends.
        start: Monotonic second, the same in all processes of a machine, that stands for `begin`.
    """

    target: int
    begin: float
    end: float
    start: float


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The player waits for commands."""


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The player cannot do what it was told; it ends."""

    message: str


class Progress(msgspec.Struct, frozen=True, tag=True):
    """How far a command is.

    Attributes:
        ended: Requests that ended since the last progress.
        failed: How many of them failed.
        in_flight: Requests that are open.
    """

    ended: int
    failed: int
    in_flight: int


class Done(msgspec.Struct, frozen=True, tag=True):
    """A command has ended, and all of its requests have."""

    health: Health


Command = Warm | Play
Reply = Ready | Refused | Progress | Done
