"""Builds an optimised bundle from another one."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from silkline.core import Image
from silkline.engines.registry import library_versions
from silkline.errors import ConfigError, EnvironmentFault
from silkline.models.bundle import MANIFEST, Bundle, Calibration, EngineWeights, load_bundle
from silkline.models.families import token_rule
from silkline.models.gate import GATE, GATE_PAGE
from silkline.models.preprocessing import read_preprocessing, shorter_edge
from silkline.models.pruning import pruned
from silkline.models.source import file_digest
from silkline.models.token_rules import read_documents
from silkline.optimize.optimisation import OnStage, Optimisation, Sample, Work, check_applies
from silkline.stores.whole_folder import whole_folder

_REVISION_LENGTH = 16


def check_target(target: Path) -> None:
    """Checks that nothing is where a bundle is to be built.

    Raises:
        ConfigError: Something is there.
    """
    if target.exists():
        raise ConfigError(f"{target} exists already. Choose another folder by --out.")


def build(
    base: Bundle,
    chosen: Sequence[Optimisation],
    target: Path,
    images: Sequence[Image],
    calibration: Calibration | None,
    on_stage: OnStage,
    samples: Sequence[Sample] = (),
) -> Bundle:
    """Builds a bundle with optimisations applied, for the engine that they are about.

    The bundle appears only when it is complete.

    Args:
        base: The bundle to start from; its files are whole.
        chosen: What to apply, in this order; all for the same engine.
        target: The new folder.
        images: The images of the calibration.
        calibration: What is recorded about them; None if nothing needs images.
        on_stage: Called with what is being done, from this thread.
        samples: The questions of the calibration.

    Raises:
        ConfigError: The target exists, the optimisations are for several engines, or one does not
            apply to what those before it made.
        EnvironmentFault: A file cannot be written, or a library cannot do it for this model.
    """
    check_target(target)
    engines = {each.engine for each in chosen}
    if len(engines) != 1:
        raise ConfigError("The optimisations are for several engines. Apply them one by one.")
    engine = engines.pop()
    try:
        with whole_folder(target) as draft:
            _copy(base, engine, draft)
            weights = base.manifest.engines[engine]
            findings: dict[str, Mapping[str, Any]] = {}
            for each in chosen:
                check_applies(each, _changed(base, draft, engine, weights))
                on_stage(each.about)
                with redirect_stdout(io.StringIO()):  # libraries print their progress
                    work = Work(draft / weights.path, weights, images, samples)
                    weights = each.apply(work)
                if work.findings:
                    findings[each.name] = work.findings
            applied = _Applied(chosen, weights, calibration, findings)
            _write_manifest(base, draft, engine, applied)
    except OSError as error:
        raise EnvironmentFault(
            f"{target} cannot be written: {error.strerror}. Free space, or choose another folder "
            "by --out."
        ) from error
    except RuntimeError as error:  # of native code
        raise EnvironmentFault(
            f"A library cannot apply this to {base.manifest.name}: {error}. Leave it out."
        ) from error
    return load_bundle(target)


def _changed(base: Bundle, draft: Path, engine: str, weights: EngineWeights) -> Bundle:
    """The bundle as the optimisations so far made it."""
    engines = {engine: weights}
    return Bundle(draft, msgspec.structs.replace(base.manifest, engines=engines))


def _copy(base: Bundle, engine: str, draft: Path) -> None:
    """Copies the files of the manifest, without other engines' weights and without the gate's."""
    own = base.manifest.engines[engine].path
    others = {each.path for name, each in base.manifest.engines.items() if name != engine}
    for name in base.manifest.files:
        inside = own == "." or name.startswith(f"{own}/")
        of_another = any(
            other not in {own, "."} and name.startswith(f"{other}/") for other in others
        )
        is_weights = Path(name).suffix == ".safetensors" and not inside
        if name in {GATE, GATE_PAGE} or of_another or is_weights:
            continue
        (draft / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(base.folder / name, draft / name)


def _image_facts(folder: Path, weights: EngineWeights) -> dict[str, int | None]:
    """What the manifest says of images, from the files in the engine's folder.

    Empty if they do not state the family, or how many tokens its images take.
    """
    files = read_documents(folder)
    rule = token_rule(files)
    if rule is None:
        return {}
    return {
        "image_tokens": pruned(rule.maximum(), weights.pruning).total,
        "image_size": shorter_edge(read_preprocessing(files.image)),
    }


@dataclass(frozen=True, slots=True)
class _Applied:
    """What was applied, with what it left."""

    chosen: Sequence[Optimisation]
    weights: EngineWeights
    calibration: Calibration | None
    findings: Mapping[str, Mapping[str, Any]]


def _write_manifest(base: Bundle, draft: Path, engine: str, applied: _Applied) -> None:
    """Writes the manifest: that of the base, without what only holds for its files."""
    old: dict[str, Any] = msgspec.json.decode((base.folder / MANIFEST).read_bytes())
    files = {
        path.relative_to(draft).as_posix(): file_digest(path)
        for path in sorted(draft.rglob("*"))
        if path.is_file()
    }
    entry = old["engines"][engine] | msgspec.to_builtins(applied.weights)
    content = msgspec.json.encode([files, entry], order="sorted")
    revision = hashlib.sha256(content).hexdigest()[:_REVISION_LENGTH]
    manifest = old | {
        "revision": revision,
        "engines": {engine: entry},
        "files": files,
        **_image_facts(draft / applied.weights.path, applied.weights),
        "optimized_from": base.label,
        "optimizations": [each.name for each in applied.chosen],
        "optimized_with": library_versions(engine),
        "calibration": applied.calibration,
        "findings": applied.findings,
    }
    for name in ("bytes", "evaluation"):
        manifest.pop(name, None)
    encoded = msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"
    (draft / MANIFEST).write_bytes(encoded)
