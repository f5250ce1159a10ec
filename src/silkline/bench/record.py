"""The record of one request, and the file that holds them all.

The file is JSON lines: the first tells what was run and names the columns, each further one is a
request as an array in the order of these columns, by its intended time.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from silkline.bench.spec import Spec

OK = 200


class Record(msgspec.Struct, array_like=True):
    """One request. Times are seconds on the schedule's clock.

    Attributes:
        number: Its place in the schedule.
        target: 0 or 1, as in the spec.
        picture: Number of the picture.
        variant: 0, or the number of the near-duplicate.
        intended: When it was to be sent; what its latency counts from.
        sent: When it was handed to the socket.
        first_byte: When the first byte came back; 0 when none did.
        ended: When its answer was whole, or it failed.
        status: Of HTTP; 0 when there was none.
        code: What went wrong: the code of the answer, or `connect_failed`, `connection_lost`,
            `timeout`, `malformed_response`, `stream_cut`, `http_<status>`; empty when nothing did.
        cache: What the gateway said of its cache; empty when it said nothing.
        stages: Seconds by stage, as the gateway reported them.
        prompt_tokens: As the usage says.
        completion_tokens: As the usage says.
        bytes_out: Bytes of the request.
        bytes_in: Bytes of the answer.
        limited: Whether it had to wait for a connection of the generator.
        first_token: When the first text of a stream came; 0 without a stream.
        gaps: Seconds between one piece of a stream's text and the next.
    """

    number: int
    target: int
    image: int
    variant: int
    intended: float
    sent: float = 0.0
    first_byte: float = 0.0
    ended: float = 0.0
    status: int = 0
    code: str = ""
    cache: str = ""
    stages: dict[str, float] = {}
    prompt_tokens: int = 0
    completion_tokens: int = 0
    bytes_out: int = 0
    bytes_in: int = 0
    limited: bool = False
    first_token: float = 0.0
    gaps: list[float] = []

    @property
    def ok(self) -> bool:
        """Whether it was answered, whole."""
        return self.status == OK and not self.code

    @property
    def latency(self) -> float:
        """Seconds from the intended time to the end: waiting to be sent is part of it."""
        return self.ended - self.intended

    @property
    def lateness(self) -> float:
        """Seconds by which it was sent late; it counts as sent at its end when it never was."""
        return max(0.0, (self.sent or self.ended) - self.intended)


class Health(msgspec.Struct, frozen=True):
    """What the generator itself did for one target.

    Attributes:
        cpu_seconds: Processor time of the players while they sent.
        wall_seconds: Time that passed for it.
        opened: Connections that were opened.
        warmed: Requests sent before the clock started.
        warm_failures: How many of these failed.
    """

    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    opened: int = 0
    warmed: int = 0
    warm_failures: int = 0

    def plus(self, other: Health) -> Health:
        """Both together."""
        return Health(
            self.cpu_seconds + other.cpu_seconds,
            self.wall_seconds + other.wall_seconds,
            self.opened + other.opened,
            self.warmed + other.warmed,
            self.warm_failures + other.warm_failures,
        )


class Run(msgspec.Struct, frozen=True):
    """All that a run of the bench found.

    Attributes:
        spec: What was run, without the headers of the targets.
        began: When, in UTC, ISO 8601.
        model: The model's name, where it is known.
        health: The generator's own figures by target.
        records: Every request, by target and intended time.
    """

    spec: Spec
    began: str
    model: str
    health: list[Health]
    records: list[Record]

    def of(self, target: int) -> list[Record]:
        """The requests to one target."""
        return [record for record in self.records if record.target == target]


class _Head(msgspec.Struct, frozen=True):
    spec: Spec
    began: str
    model: str
    health: list[Health]
    columns: list[str]


def write_run(run: Run, path: Path) -> None:
    """Writes a run to a file."""
    head = _Head(run.spec, run.began, run.model, run.health, list(Record.__struct_fields__))
    encoder = msgspec.json.Encoder()
    with path.open("wb") as file:
        file.write(encoder.encode(head) + b"\n")
        file.writelines(encoder.encode(record) + b"\n" for record in run.records)


def read_run(path: Path) -> Run:
    """Reads what `write_run` wrote.

    Raises:
        OSError: It cannot be opened.
        msgspec.DecodeError: It is no such file.
    """
    with path.open("rb") as file:
        head = msgspec.json.decode(file.readline(), type=_Head)
        records = list(decode_records(file))
    return Run(head.spec, head.began, head.model, head.health, records)


def decode_records(lines: Iterable[bytes]) -> Iterable[Record]:
    """The records of lines without a head, as a player writes them."""
    decoder = msgspec.json.Decoder(Record)
    return (decoder.decode(line) for line in lines)
