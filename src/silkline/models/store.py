"""A store of bundles built from models, keyed by what they were built from; entries are atomic.

An entry is built in a draft folder, synced to disk and then renamed, so an entry is never partial.
A file lock, which the system releases when its holder dies, lets one process build while others
wait; the next builder removes the drafts of dead ones. A second lock, shared by the processes that
serve an entry, prevents its removal.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from silkline.errors import ConfigError, EnvironmentFault
from silkline.models.bundle import MANIFEST, Bundle, load_bundle
from silkline.models.file_lock import locked, try_lock
from silkline.models.home import expanded
from silkline.models.user_paths import nearest_folder

_LOCK = ".lock"
_HELD = ".held.lock"
_DRAFT = ".draft-"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Entry(NamedTuple):
    """An entry of the store and its size in bytes; `bundle` is None if it cannot be read."""

    key: str
    folder: Path
    bundle: Bundle | None
    size: int


class Hold:
    """Prevents the removal of a store's entry until it is released or the process ends."""

    def __init__(self, descriptor: int) -> None:
        """Takes ownership of an open file descriptor that holds the lock."""
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Releases the entry. Idempotent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


class Store:
    """Bundles by key in a folder on a local disk."""

    def __init__(self, folder: Path) -> None:
        """Sets the store's folder, which need not exist yet."""
        self.folder = folder

    def find(self, key: str) -> Bundle | None:
        """The bundle under a key; None if it is missing or damaged."""
        try:
            bundle = load_bundle(self.folder / key)
        except ConfigError:
            return None
        return None if bundle.damaged_files() else bundle

    def make(
        self, key: str, build: Callable[[Path], None], waiting: Callable[[], None] = lambda: None
    ) -> Bundle:
        """Returns the bundle under a key; builds it if it is missing or damaged.

        Args:
            key: A name without separators.
            build: Fills an empty folder with a bundle and its manifest. If it raises, the draft is
                removed and the error passes through.
            waiting: Called repeatedly while another process builds the same entry.

        Raises:
            EnvironmentFault: The disk is full or the store cannot be written.
            ConfigError: `build` did not produce a complete bundle.
        """
        if (bundle := self.find(key)) is not None:
            return bundle  # needs no lock, so it works in a read-only store too
        with _faults(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / f"{key}{_LOCK}", waiting):
                if (bundle := self.find(key)) is not None:
                    return bundle
                self._clear(key)
                self.sweep()
                draft = Path(tempfile.mkdtemp(prefix=f"{key}{_DRAFT}", dir=self.folder))
                try:
                    with _faults(self.folder, _not_built):
                        build(draft)
                    self._commit(draft, key)
                finally:
                    shutil.rmtree(draft, ignore_errors=True)
        return load_bundle(self.folder / key)

    def key_of(self, folder: Path) -> str | None:
        """The key of the entry in a folder.

        None if the folder is not in this store, or if the store is read-only: then nothing can be
        removed from it, and no lock can be taken.
        """
        path = folder.resolve()
        inside = path.parent == self.folder.resolve() and os.access(self.folder, os.W_OK)
        return path.name if inside else None

    def hold(self, key: str) -> Hold:
        """Prevents an entry, which need not exist yet, from being removed while it is served.

        Raises:
            EnvironmentFault: The store cannot be written.
        """
        with _faults(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{key}{_HELD}"
            descriptor = os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH)  # waits only for a removal, which is short
            except BaseException:
                os.close(descriptor)
                raise
        return Hold(descriptor)

    def entries(self) -> list[Entry]:
        """All entries, sorted by key, without those being built.

        Raises:
            EnvironmentFault: The store cannot be read.
        """
        with _faults(self.folder):
            if not self.folder.is_dir():
                return []
            return [
                Entry(folder.name, folder, _loaded(folder), _size(folder))
                for folder in sorted(self.folder.iterdir())
                if folder.is_dir() and _DRAFT not in folder.name
            ]

    def remove(self, key: str) -> None:
        """Removes an entry that no process serves.

        Raises:
            EnvironmentFault: It is being served, or cannot be removed.
        """
        with _faults(self.folder), (self.folder / f"{key}{_HELD}").open("ab") as held:
            if not try_lock(held):
                raise EnvironmentFault(
                    f"The entry {key} of the store is being served: a worker that restarts would "
                    "not find its files. Stop the `silkline` that serves it, then remove it."
                )
            with locked(self.folder / f"{key}{_LOCK}", lambda: None):
                folder = self.folder / key
                if folder.is_dir():
                    folder.rename(self.folder / f"{key}{_DRAFT}removed")
                self._clear(key)

    def sweep(self) -> None:
        """Removes the drafts of killed builders; those of running builders stay.

        Raises:
            EnvironmentFault: The store cannot be written.
        """
        drafts = self.folder.glob(f"*{_DRAFT}*")
        with _faults(self.folder):
            for key in {draft.name.partition(_DRAFT)[0] for draft in drafts}:
                with (self.folder / f"{key}{_LOCK}").open("ab") as lock:
                    if try_lock(lock):
                        self._clear(key)

    def _clear(self, key: str) -> None:
        """Removes the drafts of a key. The caller must hold the key's lock."""
        for draft in self.folder.glob(f"{key}{_DRAFT}*"):
            shutil.rmtree(draft, ignore_errors=True)

    def _commit(self, draft: Path, key: str) -> None:
        """Checks a draft, syncs it to disk and renames it to its key."""
        bundle = load_bundle(draft)
        if damaged := bundle.damaged_files():
            raise ConfigError(
                f"The new bundle lacks files that its {MANIFEST} names: {', '.join(damaged)}. "
                "Try again; if it happens again, report it."
            )
        for path in sorted(draft.rglob("*"), reverse=True):
            _to_disk(path)
        _to_disk(draft)
        target = self.folder / key
        if target.exists():  # it is damaged, else `find` would have returned it
            shutil.rmtree(target)
        draft.rename(target)
        _to_disk(self.folder)


def cache_home(environment: Mapping[str, str]) -> Path:
    """Silkline's folder in the user's cache folder, `XDG_CACHE_HOME` or `~/.cache`.

    https://specifications.freedesktop.org/basedir-spec/latest/

    Raises:
        ConfigError: The home directory at its beginning is unknown.
    """
    return expanded(environment.get("XDG_CACHE_HOME") or "~/.cache") / "silkline"


def store_folder(setting: str, environment: Mapping[str, str]) -> Path:
    """The store's folder: the setting, or `silkline/exports` in the user's cache folder.

    Raises:
        ConfigError: The home directory at its beginning is unknown.
    """
    if setting:
        return expanded(setting)
    return cache_home(environment) / "exports"


def check_space(folder: Path, needed: int) -> None:
    """Checks that the disk has enough free space for an export.

    Args:
        folder: The folder to write to; it need not exist yet.
        needed: Required space in bytes.

    Raises:
        EnvironmentFault: Less space is free.
    """
    free = shutil.disk_usage(nearest_folder(folder)).free
    if free < needed:
        raise EnvironmentFault(
            f"Exporting needs about {needed / 1e9:.1f} GB of disk space and {free / 1e9:.1f} GB "
            f"are free in {folder}. Free some space, list the stored exports with `silkline "
            "store`, or name another folder with --export-store.",
            remedy="silkline store",
        )


def full_disk(folder: Path) -> EnvironmentFault:
    """The error for a store whose disk is full."""
    return EnvironmentFault(
        f"The disk is full: the export does not fit into {folder}. The partial export was removed. "
        "Free some space, or name another folder with --export-store.",
        remedy="silkline store",
    )


def _unusable(folder: Path, why: str | None) -> EnvironmentFault:
    return EnvironmentFault(
        f"The store {folder} cannot be used: {why}. Name another folder with --export-store."
    )


def _not_built(_: Path, why: str | None) -> EnvironmentFault:
    """The error for a failed build, which is not the store's fault unless its disk is full."""
    return EnvironmentFault(
        f"Building the entry of the store failed: {why}.", remedy="silkline doctor"
    )


@contextmanager
def _faults(
    folder: Path, fault: Callable[[Path, str | None], EnvironmentFault] = _unusable
) -> Iterator[None]:
    """Converts the block's `OSError` to an `EnvironmentFault`."""
    try:
        yield
    except OSError as error:
        full = error.errno in _FULL
        raise (full_disk(folder) if full else fault(folder, error.strerror)) from error


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
