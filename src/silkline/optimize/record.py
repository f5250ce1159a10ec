"""Writes a gate's record and report into a bundle, and their checksums into its manifest."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from silkline.errors import EnvironmentFault
from silkline.models.bundle import MANIFEST, Bundle
from silkline.models.gate import GATE, GATE_PAGE, GateRecord
from silkline.stores.whole_file import replace_file

_MODE = 0o644


def write_gate(bundle: Bundle, record: GateRecord, page: str) -> None:
    """Writes the record and the report into a bundle.

    The manifest names them last, so a crash leaves a bundle that was not gated, never one with
    another gate's verdict.

    Raises:
        EnvironmentFault: A file cannot be written.
    """
    path = bundle.folder / MANIFEST
    written = {GATE: _encoded(record), GATE_PAGE: page.encode("utf-8", "replace")}
    try:
        manifest: dict[str, Any] = msgspec.json.decode(path.read_bytes())
        files = {name: each for name, each in manifest["files"].items() if name not in written}
        replace_file(path, _encoded(manifest | {"files": files}), mode=_MODE)
        for name, content in written.items():
            replace_file(bundle.folder / name, content, mode=_MODE)
            files[name] = hashlib.sha256(content).hexdigest()
        replace_file(path, _encoded(manifest | {"files": files}), mode=_MODE)
    except OSError as error:
        raise EnvironmentFault(
            f"The gate's verdict cannot be written into {bundle.folder}: {error.strerror}. Make "
            "the folder writable, then run the same command again: it continues."
        ) from error


def _encoded(content: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n"
