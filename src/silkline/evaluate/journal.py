"""The journal: stores every answer as it arrives, so that an interrupted run can continue.

The file is JSON lines, append-only. Each line is written to the kernel before the next question is
asked, so it survives a crash of the process. The file is synced to disk every 64 lines, so a power
failure loses only a few. An incomplete last line is dropped, and its item is asked again.
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
    """The subject whose replies have this fingerprint."""

    fingerprint: str
    subject: Subject


class Reply(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="answer", tag_field="kind"
):
    """The reply to an item: an answer or an error.

    Attributes:
        subject: Fingerprint of the subject.
        item: The item's key.
        id: The item's id, for human readers.
        answer: The answer's text; None after an error.
        error: The error code; empty if there is an answer.
        message: The error message.
        finish_reason: Why the answer ended.
        seconds: Seconds from request to end of answer.
        stages: Seconds by stage.
        prompt_tokens: Number of prompt tokens, including image tokens.
        completion_tokens: Number of generated tokens.
        image_tokens: Number of image tokens in the prompt.
        probability: The probability that the model gave to the whole answer; None if unknown.
        pixels: Pixels of the original image; 0 if it was never decoded.
        confidence: The probability of the answer's least likely token; None if it was not asked
            for.
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
    probability: float | None = None
    pixels: int = 0
    confidence: float | None = None


_Line = SubjectLine | Reply


class Journal:
    """A journal, open for one run; use it as a context manager."""

    def __init__(self, path: Path) -> None:
        """Sets the file's path; entering the context creates the file."""
        self._path = path
        self._file = -1
        self._unsynced = 0
        self._replies: dict[tuple[str, str], Reply] = {}
        self._subjects: set[str] = set()

    def __enter__(self) -> Journal:
        """Opens and reads the journal.

        Raises:
            ConfigError: It cannot be opened, another run uses it, or it is not a journal.
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
                f"Another run is using {self._path}. Wait for it, or choose another folder by "
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
        """Syncs the journal to disk and closes it.

        Raises:
            EnvironmentFault: The disk is full or fails.
        """
        try:
            os.fsync(self._file)
        except OSError as failure:
            raise self._fault(failure) from failure
        finally:
            self._close()

    @property
    def replies(self) -> Mapping[tuple[str, str], Reply]:
        """The latest replies by subject fingerprint and item key."""
        return self._replies

    def begin(self, subject: Subject) -> None:
        """Records the subject if the journal does not have it yet."""
        if subject.fingerprint not in self._subjects:
            self._subjects.add(subject.fingerprint)
            self._write(SubjectLine(subject.fingerprint, subject))

    def add(self, reply: Reply) -> None:
        """Stores a reply.

        Raises:
            EnvironmentFault: The disk is full or fails.
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
        size = os.fstat(self._file).st_size
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError:
            os.ftruncate(self._file, size)  # drop the partial line
            raise

    def _fault(self, error: OSError) -> EnvironmentFault:
        return EnvironmentFault(
            f"The journal {self._path} cannot be written: {error.strerror}. Free space, then run "
            "the same command again: it continues."
        )

    def _read(self) -> None:
        """Reads the complete lines and truncates an incomplete last one."""
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
                f"{self._path} line {number} is not a journal line. Remove it, or choose another "
                "folder by --out."
            ) from error
        if isinstance(found, Reply):
            self._replies[found.subject, found.item] = found
        else:
            self._subjects.add(found.fingerprint)

    def _close(self) -> None:
        os.close(self._file)
        self._file = -1
