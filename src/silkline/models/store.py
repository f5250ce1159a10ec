"""A store of folders that were made from models: addressed by what they were made of, never half.

An entry is built in a folder beside its place, written to the disk and then renamed, so whoever
finds it finds all of it. A lock on a file, which the system frees when its holder dies, lets one
process build while others wait; what dead ones left is removed by the next that builds. Another
lock, which those share that serve an entry, keeps it from being removed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from silkline.errors import ConfigError, EnvironmentFault
from silkline.models.bundle import MANIFEST, Bundle, load_bundle
from silkline.models.home import expanded
from silkline.models.user_paths import nearest_folder

_LOCK = ".lock"
_HELD = ".held.lock"
_DRAFT = ".draft-"
_POLL_SECONDS = 0.2
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Entry(NamedTuple):
    """What the store holds under a key; the bundle is None where it cannot be read."""

    key: str
    folder: Path
    bundle: Bundle | None
    size: int


class Hold:
    """Keeps an entry of a store from being removed, until it is released or the process ends."""

    def __init__(self, descriptor: int) -> None:
        """Takes an open file over that has the lock."""
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Lets the entry go. Twice is as once."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


class Store:
    """Bundles by key in one folder of a local disk."""

    def __init__(self, folder: Path) -> None:
        """Takes the store's folder, which need not be there yet."""
        self.folder = folder

    def find(self, key: str) -> Bundle | None:
        """The whole bundle under a key; None where there is none, or a damaged one."""
        try:
            bundle = load_bundle(self.folder / key)
        except ConfigError:
            return None
        return None if bundle.damaged_files() else bundle

    def make(
        self, key: str, build: Callable[[Path], None], waiting: Callable[[], None] = lambda: None
    ) -> Bundle:
        """The bundle under a key, built where it is not there whole.

        Args:
            key: A name without separators.
            build: Fills an empty folder with a bundle, its manifest included; what it raises ends
                the work, and nothing stays.
            waiting: Called now and then while another process builds the same.

        Raises:
            EnvironmentFault: The disk is full or the store cannot be written.
            ConfigError: What was built is no whole bundle.
        """
        if (bundle := self.find(key)) is not None:
            return bundle  # it takes no lock, so nor the right to write
        with _told(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with _locked(self.folder / f"{key}{_LOCK}", waiting):
                if (bundle := self.find(key)) is not None:
                    return bundle
                self._clear(key)
                self.sweep()
                draft = Path(tempfile.mkdtemp(prefix=f"{key}{_DRAFT}", dir=self.folder))
                try:
                    with _told(self.folder, _not_built):
                        build(draft)
                    self._place(draft, key)
                finally:
                    shutil.rmtree(draft, ignore_errors=True)
        return load_bundle(self.folder / key)

    def key_of(self, folder: Path) -> str | None:
        """The key of the entry that lies in a folder.

        None where it is none of this store's, or where nothing can be removed from the store: it
        may be read-only, and then takes no lock either.
        """
        place = folder.resolve()
        inside = place.parent == self.folder.resolve() and os.access(self.folder, os.W_OK)
        return place.name if inside else None

    def hold(self, key: str) -> Hold:
        """Keeps an entry, that is there or comes, from being removed while it is served.

        Raises:
            EnvironmentFault: The store cannot be written.
        """
        with _told(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            place = self.folder / f"{key}{_HELD}"
            descriptor = os.open(place, os.O_RDONLY | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH)  # who removes the entry lets it go soon
            except BaseException:
                os.close(descriptor)
                raise
        return Hold(descriptor)

    def entries(self) -> list[Entry]:
        """All entries, in order of key; what is being built is none.

        Raises:
            EnvironmentFault: The store cannot be read.
        """
        with _told(self.folder):
            if not self.folder.is_dir():
                return []
            return [
                Entry(folder.name, folder, _loaded(folder), _size(folder))
                for folder in sorted(self.folder.iterdir())
                if folder.is_dir() and _DRAFT not in folder.name
            ]

    def remove(self, key: str) -> None:
        """Removes an entry that nobody serves.

        Raises:
            EnvironmentFault: It is served, or cannot be removed.
        """
        with _told(self.folder), (self.folder / f"{key}{_HELD}").open("ab") as held:
            if not _taken(held):
                raise EnvironmentFault(
                    f"The entry {key} of the store is being served: a worker that starts again "
                    "would not find its files. Stop the `silkline` that serves it, then remove it."
                )
            with _locked(self.folder / f"{key}{_LOCK}", lambda: None):
                folder = self.folder / key
                if folder.is_dir():
                    folder.rename(self.folder / f"{key}{_DRAFT}removed")
                self._clear(key)

    def sweep(self) -> None:
        """Removes what builders that were killed have left; nothing of those who still build.

        Raises:
            EnvironmentFault: The store cannot be written.
        """
        drafts = self.folder.glob(f"*{_DRAFT}*")
        with _told(self.folder):
            for key in {draft.name.partition(_DRAFT)[0] for draft in drafts}:
                with (self.folder / f"{key}{_LOCK}").open("ab") as lock:
                    if _taken(lock):
                        self._clear(key)

    def _clear(self, key: str) -> None:
        """Removes what is no entry any more, or never became one; under the key's lock only."""
        for gone in self.folder.glob(f"{key}{_DRAFT}*"):
            shutil.rmtree(gone, ignore_errors=True)

    def _place(self, draft: Path, key: str) -> None:
        """Writes all of a draft to the disk before its name says that it is whole."""
        bundle = load_bundle(draft)
        if damaged := bundle.damaged_files():
            raise ConfigError(
                f"What was built lacks files that its {MANIFEST} names: {', '.join(damaged)}. "
                "Try again; if it happens again, report it."
            )
        for path in sorted(draft.rglob("*"), reverse=True):
            _to_disk(path)
        _to_disk(draft)
        target = self.folder / key
        if target.exists():  # damaged, or it would have been found
            shutil.rmtree(target)
        draft.rename(target)
        _to_disk(self.folder)


def store_folder(setting: str, environment: Mapping[str, str]) -> Path:
    """Where the store lies: as set, or `silkline/exports` in the user's cache folder.

    The cache folder is `XDG_CACHE_HOME` or `~/.cache`
    (https://specifications.freedesktop.org/basedir-spec/latest/).

    Raises:
        ConfigError: The home that it begins with is not known.
    """
    if setting:
        return expanded(setting)
    caches = environment.get("XDG_CACHE_HOME") or "~/.cache"
    return expanded(caches) / "silkline" / "exports"


def check_space(folder: Path, needed: int) -> None:
    """Refuses work that the disk has no room for.

    Args:
        folder: Where the work would be; it need not be there yet.
        needed: Bytes.

    Raises:
        EnvironmentFault: Less is free.
    """
    free = shutil.disk_usage(nearest_folder(folder)).free
    if free < needed:
        raise EnvironmentFault(
            f"Exporting needs about {needed / 1e9:.1f} GB of disk and {free / 1e9:.1f} GB are free "
            f"in {folder}. Free some, see what is kept with `silkline store`, or name another "
            "folder with --export-store.",
            remedy="silkline store",
        )


def full_disk(folder: Path) -> EnvironmentFault:
    """The error for a store whose disk is full."""
    return EnvironmentFault(
        f"The disk is full: the export does not fit into {folder}. Nothing half is left. Free "
        "some space, or name another folder with --export-store.",
        remedy="silkline store",
    )


def _unusable(folder: Path, why: str | None) -> EnvironmentFault:
    return EnvironmentFault(
        f"The store {folder} cannot be used: {why}. Name another folder with --export-store."
    )


def _not_built(_: Path, why: str | None) -> EnvironmentFault:
    """Of what builds an entry, which is no fault of the store unless its disk is full."""
    return EnvironmentFault(
        f"What makes the entry of the store failed: {why}.", remedy="silkline doctor"
    )


@contextmanager
def _told(
    folder: Path, fault: Callable[[Path, str | None], EnvironmentFault] = _unusable
) -> Iterator[None]:
    """Turns what the system refuses into words."""
    try:
        yield
    except OSError as error:
        full = error.errno in _FULL
        raise (full_disk(folder) if full else fault(folder, error.strerror)) from error


@contextmanager
def _locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Holds a lock that goes with the process; the file stays, being of no size."""
    with path.open("ab") as file:
        while not _taken(file):
            waiting()
            time.sleep(_POLL_SECONDS)
        yield


def _taken(lock: IO[bytes]) -> bool:
    """Takes a lock until the file is closed; False where another holds it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _loaded(folder: Path) -> Bundle | None:
    try:
        return load_bundle(folder)
    except ConfigError:
        return None


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
