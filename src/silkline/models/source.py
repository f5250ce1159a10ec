"""Computes a digest of a model's files that changes when any relevant file changes.

Reading tens of gigabytes at every start would be slow, so the digests of large files are cached in
a file, each with the size, times and inode of the file that was read, as in git's index.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from pathlib import Path

import msgspec

from silkline.errors import UNDECODABLE

logger = logging.getLogger("silkline.models")

SUFFIXES = frozenset({".bin", ".gguf", ".jinja", ".json", ".model", ".safetensors", ".txt", ".xml"})
"""Files of a model that affect its answers: configs, templates, tokenizers, weights."""

_SMALL_BYTES = 1024 * 1024
"""Files up to this size are read every time; their digests are not cached."""

Stamp = tuple[int, int, int, int]
"""Size in bytes, mtime in ns, ctime in ns, inode."""


class _Known(msgspec.Struct):
    """A file's digest, and the file's stamp when it was read."""

    stamp: Stamp
    digest: str


class Digests:
    """Digests of files, cached between runs.

    If the cache file cannot be read or written, the files are read again.
    """

    def __init__(self, memory: Path) -> None:
        """Reads the cached digests from the file `memory`."""
        self._memory = memory
        self._known = _read(memory)

    def folder(self, folder: Path) -> str:
        """SHA-256 in hex over the names and contents of a model's files, without subfolders.

        Raises:
            OSError: A file cannot be read.
        """
        whole = hashlib.sha256()
        before = dict(self._known)
        for path in sorted(folder.iterdir()):
            if path.suffix in SUFFIXES and path.is_file():
                whole.update(f"{path.name}\0{self._file(path)}\n".encode())
        if self._known != before:
            self._write()
        return whole.hexdigest()

    def _file(self, path: Path) -> str:
        stamp = _stamp(path)
        if stamp[0] <= _SMALL_BYTES:
            return file_digest(path)
        name = str(path.resolve())
        known = self._known.get(name)
        if known is None or known.stamp != stamp:
            known = _Known(stamp, file_digest(path))
            self._known[name] = known
        return known.digest

    def _write(self) -> None:
        kept = {name: known for name, known in self._known.items() if _is_there(name)}
        try:
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                dir=self._memory.parent, prefix=self._memory.name, delete=False
            ) as file:
                file.write(msgspec.json.encode(kept))
            Path(file.name).replace(self._memory)
        except OSError as error:
            logger.warning(
                "digests cannot be cached, so weights are read again at the next start: %s",
                os.strerror(error.errno or 0),
            )


def _read(memory: Path) -> dict[str, _Known]:
    try:
        return msgspec.json.decode(memory.read_bytes(), type=dict[str, _Known])
    except (OSError, *UNDECODABLE):  # missing or damaged: it is written again
        return {}


def _is_there(name: str) -> bool:
    try:
        return Path(name).is_file()
    except OSError:  # for example in another user's folder
        return False


def _stamp(path: Path) -> Stamp:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
