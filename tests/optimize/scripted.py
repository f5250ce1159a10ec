"""An engine and optimisations for tests of the search: a bundle's speed and answers are scripted.

The engine is the fake one, whose options lie in the bundle as `script.json`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from silkline.core import EngineInfo
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.extra_options import read_extra
from silkline.engines.fake.engine import FakeEngine
from silkline.engines.fake.options import FakeOptions
from silkline.engines.spec import EngineSpec
from silkline.models.bundle import Bundle, EngineWeights, load_bundle
from silkline.optimize.optimisation import Optimisation, Work

ROOT = Path(__file__).parents[2]
SCRIPT = "script.json"
BASE = {"answer_words": "4", "token_seconds": "0.02"}
KILL = "SCRIPTED_ENGINE_KILL"
"""Where this file is, the process kills itself instead of building the optimisation `dear`."""


class _Scripted(FakeEngine):
    @property
    def info(self) -> EngineInfo:
        return replace(super().info, engine="scripted")


def _create(options: EngineOptions) -> Engine:
    assert options.model is not None
    folder = load_bundle(options.model).weights("scripted")
    script = read_extra(json.loads((folder / SCRIPT).read_text()), FakeOptions, "scripted")
    return _Scripted(options.max_batch, script, options.name)


SPEC = EngineSpec(name="scripted", create=_create)


def _set(values: dict[str, str], work: Work) -> EngineWeights:
    path = work.folder / SCRIPT
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return work.weights


def _anything(_: Bundle) -> str:
    return ""


def _optimisation(
    name: str, parts: set[str], apply: Callable[[Work], EngineWeights], *, order: int = 0
) -> Optimisation:
    return Optimisation(
        name, name, "scripted", _anything, apply, parts=frozenset(parts), order=order
    )


def _failing(_: Work) -> EngineWeights:
    raise RuntimeError("not this model")


def _dear(work: Work) -> EngineWeights:
    if Path(os.environ.get(KILL, "")).is_file():
        os.kill(os.getpid(), 9)
    return _set({"token_seconds": "0.015"}, work)


def _needing(bundle: Bundle) -> str:
    return f"{bundle.manifest.name} has no such part"


FASTER = _optimisation("faster", {"decoder"}, partial(_set, {"token_seconds": "0.004"}))
SLOWER = _optimisation("slower", {"vision"}, partial(_set, {"prefill_seconds": "0.05"}))
WRONG = _optimisation(
    "wrong", {"decoder"}, partial(_set, {"token_seconds": "0.002", "answer_words": "3"})
)
BROKEN = _optimisation("broken", {"kv"}, _failing)
DEAR = _optimisation("dear", {"decoder"}, _dear, order=1)
UNFIT = Optimisation("unfit", "unfit", "scripted", _needing, _failing)


def install(site: Path) -> dict[str, str]:
    """Writes the distribution that registers all of these; returns the variables that find it."""
    metadata = site / "silkline_scripted-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: silkline-scripted\nVersion: 1\n"
    )
    names = ("faster", "slower", "wrong", "broken", "dear", "unfit")
    lines = ["[silkline.engines]", "scripted = tests.optimize.scripted:SPEC"]
    lines += ["[silkline.optimizations]"]
    lines += [f"{name} = tests.optimize.scripted:{name.upper()}" for name in names]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    paths = [str(site), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths)}


def make_scripted(folder: Path) -> Path:
    """A bundle for the scripted engine."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "engine").mkdir(parents=True)
    script = json.dumps(BASE).encode()
    (folder / "engine" / SCRIPT).write_bytes(script)
    manifest = {
        "schema": 1, "name": "scripted", "family": "llava", "revision": "1", "license": "MIT",
        "context_length": 512, "image_tokens": 4, "image_size": None,
        "engines": {"scripted": {"path": "engine", "precision": "none"}},
        "files": {f"engine/{SCRIPT}": hashlib.sha256(script).hexdigest()},
    }  # fmt: skip
    (folder / "bundle.json").write_text(json.dumps(manifest))
    return folder
