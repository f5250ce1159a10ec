"""The record of one request, and the file of all records of a run.

The file is JSON lines. The first line describes the run and names the columns; each further line
is a request, as an array in the order of these columns. Lines are sorted by intended time.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from silkline.bench.spec import Spec

OK = 200


class Record(msgspec.Struct, array_like=True):
    """The record of one request. Times are seconds since the schedule's start.

    Attributes:
        number: Its index in the schedule, from 0.
        target: Index of the target in the spec, 0 or 1.
        image: Number of the image.
        variant: 0 for the image itself, else the number of the near duplicate.
        intended: When it was due; latency counts from here.
        sent: When it was written to the socket; 0 if it never was.
        first_byte: When the first byte of the response arrived; 0 if none did.
        ended: When its response was complete, or it failed.
        status: HTTP status; 0 if there was no response.
        code: The error code of the response, or `connect_failed`, `connection_lost`, `timeout`,
            `malformed_response`, `stream_cut`, `http_<status>`; empty on success.
        cache: The cache state that the gateway reported; empty if it reported none.
        stages: Seconds by stage, as the gateway reported them.
        prompt_tokens: From the response's `usage`.
        completion_tokens: From the response's `usage`.
        bytes_out: Bytes of the request.
        bytes_in: Bytes of the response.
        limited: Whether it waited for a free connection of the generator.
        first_token: When the first text of a stream arrived; 0 if it did not stream.
        gaps: Seconds between consecutive chunks of a stream's text.
    """

    number: int
    target: int
    image: int = msgspec.field(name="picture")
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
        """Whether it got a complete answer."""
        return self.status == OK and not self.code

    @property
    def latency(self) -> float:
        """Seconds from the intended time to the end, including the wait to be sent."""
        return self.ended - self.intended

    @property
    def lateness(self) -> float:
        """Seconds from the intended time to sending; to the end if it was never sent."""
        return max(0.0, (self.sent or self.ended) - self.intended)


class Health(msgspec.Struct, frozen=True):
    """The load generator's own figures for one target.

    Attributes:
        cpu_seconds: CPU time of the players while they sent.
        wall_seconds: Wall-clock time of sending.
        opened: Connections opened.
        warmed: Requests sent before the clock started.
        warm_failures: How many warm-up requests failed.
    """

    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    opened: int = 0
    warmed: int = 0
    warm_failures: int = 0

    def plus(self, other: Health) -> Health:
        """The sum of both."""
        return Health(
            self.cpu_seconds + other.cpu_seconds,
            self.wall_seconds + other.wall_seconds,
            self.opened + other.opened,
            self.warmed + other.warmed,
            self.warm_failures + other.warm_failures,
        )


class Run(msgspec.Struct, frozen=True):
    """The results of a load test.

    Attributes:
        spec: The spec, without the targets' headers.
        began: Start time in UTC, ISO 8601.
        model: The model's name; empty if unknown.
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
    head = _Head(run.spec, run.began, run.model, run.health, list(Record.__struct_encode_fields__))
    encoder = msgspec.json.Encoder()
    with path.open("wb") as file:
        file.write(encoder.encode(head) + b"\n")
        file.writelines(encoder.encode(record) + b"\n" for record in run.records)


def read_run(path: Path) -> Run:
    """Reads what `write_run` wrote.

    Raises:
        OSError: It cannot be opened.
        msgspec.DecodeError: It is not such a file.
    """
    with path.open("rb") as file:
        head = msgspec.json.decode(file.readline(), type=_Head)
        records = list(decode_records(file))
    return Run(head.spec, head.began, head.model, head.health, records)


def decode_records(lines: Iterable[bytes]) -> Iterable[Record]:
    """Decodes the records of lines without a head, as a player writes them."""
    decoder = msgspec.json.Decoder(Record)
    return (decoder.decode(line) for line in lines)
