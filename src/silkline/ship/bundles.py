"""Keeps shipped bundles by the digest of their content, with the statements of each ship.

bundles/DIGEST/bundle/          the bundle, as it is served
bundles/DIGEST/SHIP/            provenance.json, gate.json, canary.json, sbom.json, SHA256SUMS
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from silkline.errors import UNDECODABLE, ConfigError, EnvironmentFault
from silkline.models.bundle import Bundle, load_bundle
from silkline.models.gate import GATE_PAGE, content_digest, read_gate
from silkline.optimize.record import write_gate
from silkline.stores.whole_file import replace_file
from silkline.stores.whole_folder import whole_folder

PROVENANCE, GATE, CANARY, SBOM, SUMS = (
    "provenance.json", "gate.json", "canary.json", "sbom.json", "SHA256SUMS",
)  # fmt: skip
_BUNDLE = "bundle"
_MODE = 0o644
_FEWEST = 6
"""Minimum characters of a digest that finds a bundle."""


class Bundles:
    """The bundles of a store."""

    def __init__(self, folder: Path) -> None:
        """Takes the folder, which need not exist."""
        self.folder = folder

    def put(self, candidate: Bundle) -> Bundle:
        """Keeps a copy of a bundle by its digest; idempotent.

        The copy appears only when it is complete. Files are hard links where the disk has them.

        Raises:
            EnvironmentFault: It cannot be written.
        """
        digest = content_digest(candidate)
        target = self.folder / digest / _BUNDLE
        try:
            if target.is_dir():
                kept = load_bundle(target)
                record = read_gate(candidate)
                if record is not None and record != read_gate(kept):
                    page = (candidate.folder / GATE_PAGE).read_text(encoding="utf-8")
                    write_gate(kept, record, page)
                return load_bundle(target)
            with whole_folder(target) as draft:
                shutil.copytree(
                    candidate.folder, draft, copy_function=_link_or_copy, dirs_exist_ok=True
                )
        except OSError as error:
            raise _fault(self.folder, error) from error
        return load_bundle(target)

    def write(self, digest: str, ship: str, files: Mapping[str, Mapping[str, Any]]) -> None:
        """Writes statements of a ship about a bundle, and the checksums of all its files.

        Args:
            digest: The bundle's digest.
            ship: The ship's id.
            files: What to write, by file name.

        Raises:
            EnvironmentFault: A file cannot be written.
        """
        folder = self.folder / digest / ship
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                encoded = msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n"
                replace_file(folder / name, encoded, mode=_MODE)
            listed = [*_files(self.folder / digest / _BUNDLE), *_files(folder)]
            lines = (
                f"{sha256(path)}  {os.path.relpath(path, folder)}\n"
                for path in listed
                if path != folder / SUMS
            )
            replace_file(folder / SUMS, "".join(lines).encode(), mode=_MODE)
        except OSError as error:
            raise _fault(self.folder, error) from error

    def find(self, text: str) -> list[Bundle]:
        """The bundles that a digest means.

        Args:
            text: The start of a content digest, a revision, or `name@revision` as the response
                header `x-silkline-model` has it.

        Raises:
            ConfigError: There is none.
        """
        revision = text.rpartition("@")[2]
        found = [
            bundle
            for bundle in self._all()
            if bundle.manifest.revision == revision
            or (len(text) >= _FEWEST and bundle.folder.parent.name.startswith(text))
        ]
        if not found:
            known = ", ".join(bundle.label for bundle in self._all()) or "none"
            raise ConfigError(
                f"No bundle {text} was shipped from {self.folder}. Expected the start of a digest, "
                f"a revision or name@revision; there are: {known}."
            )
        return found

    def statements(self, bundle: Bundle) -> dict[str, dict[str, Any]]:
        """The statements about a bundle: for each ship, by file name, in order of their names.

        Raises:
            ConfigError: One is damaged.
        """
        found: dict[str, dict[str, Any]] = {}
        for folder in sorted(bundle.folder.parent.iterdir()):
            if folder.name == _BUNDLE or not folder.is_dir():
                continue
            found[folder.name] = {
                name: _read(folder / name)
                for name in (PROVENANCE, GATE, CANARY)
                if (folder / name).is_file()
            }
        return found

    def _all(self) -> list[Bundle]:
        return [load_bundle(path) for path in sorted(self.folder.glob(f"*/{_BUNDLE}"))]


def sha256(path: Path) -> str:
    """The SHA-256 of a file in hex. Raises `OSError` if it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_ungated(source: Bundle, target: Path) -> Bundle:
    """Copies a bundle without its gate's verdict, which was not this ship's; idempotent.

    Raises:
        EnvironmentFault: It cannot be written.
    """
    manifest: dict[str, Any]
    try:
        with whole_folder(target) as draft:
            manifest = msgspec.json.decode((source.folder / "bundle.json").read_bytes())
            files = {
                name: each for name, each in manifest["files"].items() if name not in _GATE_FILES
            }
            for name in files:
                (draft / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source.folder / name, draft / name)
            encoded = msgspec.json.encode(manifest | {"files": files})
            indented = msgspec.json.format(encoded, indent=1)
            replace_file(draft / "bundle.json", indented + b"\n", mode=_MODE)
    except OSError as error:
        raise _fault(target, error) from error
    return load_bundle(target)


_GATE_FILES = frozenset({GATE, GATE_PAGE})


def _link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    return target


def _files(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _read(path: Path) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes())
    except (OSError, *UNDECODABLE) as error:
        raise ConfigError(f"{path} is damaged: {error}. Restore it, or remove it.") from error


def _fault(path: Path, error: OSError) -> EnvironmentFault:
    return EnvironmentFault(
        f"{path} cannot be written: {error.strerror}. Free space, then run the same command again: "
        "it continues."
    )
