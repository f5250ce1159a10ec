"""Writes a gate's record and report into a bundle, and their checksums into its manifest."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from silkline.errors import EnvironmentFault
from silkline.models.bundle import MANIFEST, Bundle
from silkline.models.gate import GATE, GATE_PAGE, GateRecord


def write_gate(bundle: Bundle, record: GateRecord, page: str) -> None:
    """Writes the record and the report into a bundle.

    The manifest names them last, so a crash leaves a bundle that was not gated, never one with
    another gate's verdict.

    Raises:
        EnvironmentFault: A file cannot be written.
    """
    path = bundle.folder / MANIFEST
    encoded = msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"
    written = {GATE: encoded, GATE_PAGE: page.encode("utf-8", "replace")}
    try:
        manifest: dict[str, Any] = msgspec.json.decode(path.read_bytes())
        files = {name: each for name, each in manifest["files"].items() if name not in written}
        _replace(path, _encoded(manifest | {"files": files}))
        for name, content in written.items():
            _replace(bundle.folder / name, content)
            files[name] = hashlib.sha256(content).hexdigest()
        _replace(path, _encoded(manifest | {"files": files}))
    except OSError as error:
        raise EnvironmentFault(
            f"The gate's verdict cannot be written into {bundle.folder}: {error.strerror}. Make "
            "the folder writable, then run the same command again: it continues."
        ) from error


def _encoded(manifest: dict[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def _replace(path: Path, content: bytes) -> None:
    """Writes a file so that readers see the old content or the new one."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".gate-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
