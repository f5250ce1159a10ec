"""Bundles with a gate, for tests."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from silkline.models.bundle import load_bundle
from silkline.models.gate import Finding, GateRecord, Machine, Verdict, content_digest
from silkline.optimize.record import write_gate

HERE = Machine("cpu", "AVX2", (), "", 2, 2**33, "Linux 6")


def tiny_manifest() -> dict[str, Any]:
    """The manifest of a bundle whose weights are a text."""
    return {
        "schema": 1,
        "name": "tiny",
        "family": "llava",
        "revision": "abc",
        "license": "Apache-2.0",
        "context_length": 128,
        "image_tokens": 4,
        "image_size": 8,
        "engines": {"openvino": {"path": ".", "precision": "int8"}},
        "files": {"weights": hashlib.sha256(b"weights").hexdigest()},
        "note": "for people",
    }


def make_bundle(folder: Path, **more: Any) -> Path:
    """A bundle whose weights are a text."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights").write_bytes(b"weights")
    (folder / "bundle.json").write_text(json.dumps(tiny_manifest() | more))
    return folder


def gated(folder: Path, verdict: Verdict = Verdict.PASSED, **more: Any) -> GateRecord:
    """Writes a verdict into a bundle."""
    bundle = load_bundle(folder)
    values = {
        "verdict": verdict,
        "findings": (Finding("p99<=1s", verdict, "2 s.", 2.0, 1.9, 2.1),),
        "candidate": "tiny@abc",
        "engine": "openvino",
        "baseline": "large@def",
        "confidence": 0.95,
        "dataset": "mine",
        "digest": "0123",
        "items": 100,
        "images": 50,
        "seed": 1,
        "machine": HERE,
        "versions": {"silkline": "1"},
        "content": content_digest(bundle),
        "gated_at": "2026-01-02T03:04:05+00:00",
    }
    record = GateRecord(**values | more)  # type: ignore[arg-type]
    write_gate(bundle, record, "<!doctype html>")
    return record
