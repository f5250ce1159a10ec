"""Messages between the session and its players: one JSON object per line, over pipes."""

from __future__ import annotations

import msgspec

from silkline.bench.record import Health
from silkline.bench.spec import Spec


class Begin(msgspec.Struct, frozen=True, tag=True):
    """The first message to a player.

    Attributes:
        spec: The whole run.
        share: The player's index, from 0.
        model: The model's name in chat requests, by target.
        origin: Base URL of the load test's image server; empty if there is none.
        records: File that the player writes its records to.
    """

    spec: Spec
    share: int
    model: tuple[str, ...]
    origin: str
    records: str


class Warm(msgspec.Struct, frozen=True, tag=True):
    """Command: send the most popular images, without recording."""

    target: int


class Play(msgspec.Struct, frozen=True, tag=True):
    """Command: send a slice of the schedule.

    Attributes:
        target: Index of the target.
        begin: Start of the slice, in seconds of the schedule.
        end: End of the slice, in seconds of the schedule.
        start: Monotonic second at which `begin` happens; the clock is the same in all processes.
    """

    target: int
    begin: float
    end: float
    start: float


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The player is ready for commands."""


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The player cannot run the spec and exits."""

    message: str


class Progress(msgspec.Struct, frozen=True, tag=True):
    """Progress of a command.

    Attributes:
        ended: Requests that ended since the last progress message.
        failed: How many of them failed.
        in_flight: Requests in flight.
    """

    ended: int
    failed: int
    in_flight: int


class Done(msgspec.Struct, frozen=True, tag=True):
    """The command and all of its requests have ended."""

    health: Health


Command = Warm | Play
Reply = Ready | Refused | Progress | Done
