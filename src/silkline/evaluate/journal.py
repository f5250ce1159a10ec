"""The journal: every answer, kept as soon as it is there, so that a run can be continued.

JSON lines, appended. A line is in the kernel's hands before the next answer is asked for, so it
outlives the process however that ends; it is forced to the disk now and then, so a power cut costs
a few. A line that was cut off is dropped, and its item asked again.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import msgspec

from silkline.errors import UNDECODABLE, ConfigError, EnvironmentFault
from silkline.evaluate.subject import Subject

_SYNC_EVERY = 64
_READ_BYTES = 1024 * 1024


class SubjectLine(msgspec.Struct, frozen=True, tag="subject", tag_field="kind"):
    """Who gave the answers that carry this fingerprint."""

    fingerprint: str
    subject: Subject


class Reply(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="answer", tag_field="kind"
):
    """What became of an item.

    Attributes:
        subject: Fingerprint of who was asked.
        item: The item's key.
        id: The item's id, for readers.
        answer: The text; None where there is none.
        error: The error's code; empty where there is an answer.
        message: What the error says.
        finish_reason: Why the answer ended.
        seconds: From asking to the end of the answer.
        stages: Seconds by stage.
        prompt_tokens: Tokens in.
        completion_tokens: Tokens out.
        image_tokens: The part of those in that stands for pictures.
        pixels: Of the picture as it lies in the set; 0 where it was never decoded.
    """

    subject: str
    item: str
    id: str
    answer: str | None = None
    error: str = ""
    message: str = ""
    finish_reason: str = ""
    seconds: float = 0.0
    stages: dict[str, float] = {}
    prompt_tokens: int = 0
    completion_tokens: int = 0
    image_tokens: int = 0
    pixels: int = 0


_Line = SubjectLine | Reply


class Journal:
    """A journal that is open for one run; use it as a context."""

    def __init__(self, path: Path) -> None:
        """Names the file; it is made when the context is entered."""
        self._path = path
        self._file = -1
        self._unsynced = 0
        self._replies: dict[tuple[str, str], Reply] = {}
        self._subjects: set[str] = set()

    def __enter__(self) -> Journal:
        """Opens and reads the journal.

        Raises:
            ConfigError: It cannot be opened, another run has it open, or it is no journal.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._file = os.open(self._path, flags, 0o644)
        except OSError as error:
            raise ConfigError(
                f"The journal {self._path} cannot be opened: {error.strerror}. Choose another "
                "folder by --out."
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._read()
        except BlockingIOError as error:
            self._close()
            raise ConfigError(
                f"Another run writes to {self._path}. Wait for it, or choose another folder by "
                "--out."
            ) from error
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Forces what was written to the disk, and closes.

        Raises:
            EnvironmentFault: The disk is full, or fails.
        """
        try:
            os.fsync(self._file)
        except OSError as failure:
            raise self._fault(failure) from failure
        finally:
            self._close()

    @property
    def replies(self) -> Mapping[tuple[str, str], Reply]:
        """The last reply by fingerprint and item's key."""
        return self._replies

    def begin(self, subject: Subject) -> None:
        """Notes who is asked, once."""
        if subject.fingerprint not in self._subjects:
            self._subjects.add(subject.fingerprint)
            self._write(SubjectLine(subject.fingerprint, subject))

    def add(self, reply: Reply) -> None:
        """Keeps a reply.

        Raises:
            EnvironmentFault: The disk is full, or fails.
        """
        self._replies[reply.subject, reply.item] = reply
        self._write(reply)

    def _write(self, line: _Line) -> None:
        self._unsynced += 1
        try:
            self._append(msgspec.json.encode(line) + b"\n")
            if self._unsynced >= _SYNC_EVERY:
                os.fsync(self._file)
                self._unsynced = 0
        except OSError as error:
            raise self._fault(error) from error

    def _append(self, data: bytes) -> None:
        whole = os.fstat(self._file).st_size
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError:
            os.ftruncate(self._file, whole)  # or the next line would go on from half of this one
            raise

    def _fault(self, error: OSError) -> EnvironmentFault:
        return EnvironmentFault(
            f"The journal {self._path} cannot be written: {error.strerror}. Make room, then run "
            "the same command again: it continues."
        )

    def _read(self) -> None:
        """Takes the whole lines, and cuts off one that has no end."""
        decoder = msgspec.json.Decoder(_Line)
        rest, number, whole = b"", 0, 0
        while chunk := os.read(self._file, _READ_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                number += 1
                whole += len(line) + 1
                self._take(decoder, line, number)
        if rest:
            os.ftruncate(self._file, whole)

    def _take(self, decoder: msgspec.json.Decoder[_Line], line: bytes, number: int) -> None:
        try:
            found = decoder.decode(line)
        except UNDECODABLE as error:
            raise ConfigError(
                f"{self._path} line {number} is no line of a journal. Remove it, or choose another "
                "folder by --out."
            ) from error
        if isinstance(found, Reply):
            self._replies[found.subject, found.item] = found
        else:
            self._subjects.add(found.fingerprint)

    def _close(self) -> None:
        os.close(self._file)
        self._file = -1
