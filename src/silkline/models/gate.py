"""The gate of a bundle: the recorded verdict on whether it may replace another model.

`silkline gate` writes the record into the bundle, as `gate.json`, and its digest into the manifest.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from pathlib import Path

import msgspec

from silkline.errors import UNDECODABLE, ConfigError
from silkline.models.bundle import MANIFEST, Bundle

GATE, GATE_PAGE = "gate.json", "gate.html"
SCHEMA = 1


class Verdict(StrEnum):
    """The verdict on one requirement, or on all of them."""

    PASSED = "passed"
    REFUSED = "refused"
    UNDECIDED = "undecided"


class Machine(msgspec.Struct, frozen=True):
    """The machine on which a gate measured.

    Attributes:
        processor: The CPU's name.
        instruction_set: The CPU instructions that engines use, such as "AVX-512 VNNI".
        accelerators: Names of the GPUs.
        driver: Version of the GPUs' driver; empty without GPUs.
        cores: Number of usable cores.
        memory_bytes: Bytes of memory.
        system: Operating system and its kernel.
    """

    processor: str
    instruction_set: str
    accelerators: tuple[str, ...]
    driver: str
    cores: int
    memory_bytes: int
    system: str

    @property
    def kind(self) -> str:
        """What may change answers: the CPU's instruction set, and the GPUs."""
        return " with ".join([self.instruction_set, *sorted(set(self.accelerators))])


class Finding(msgspec.Struct, frozen=True):
    """The verdict on one requirement.

    Attributes:
        requirement: The requirement as it was written.
        verdict: Its verdict.
        reason: Why, in a sentence.
        value: What was measured, in the requirement's unit; None if nothing could be.
        low: Lower end of its interval, one-sided at the gate's confidence.
        high: Upper end of its interval, likewise.
    """

    requirement: str
    verdict: Verdict
    reason: str
    value: float | None = None
    low: float | None = None
    high: float | None = None


class GateRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a gate found.

    Attributes:
        schema: Version of this format.
        verdict: Passed if every requirement passed; refused if one was refused.
        findings: By requirement; a slice that lost too much is a finding of its own.
        candidate: The gated model, as name@revision.
        engine: The engine that served it; the verdict says nothing about others.
        options: The engine's options.
        baseline: The model that it was compared with.
        confidence: Confidence of each one-sided test.
        dataset: Name of the data set.
        digest: Digest of the data set.
        items: Number of items.
        images: Number of images, or of groups where the data set names them.
        seed: Seed of the run.
        machine: The machine.
        versions: Versions of Silkline and of the candidate's compute libraries.
        content: Digest of the files and settings that were gated.
        gated_at: Time in UTC, ISO 8601.
    """

    schema: int = SCHEMA
    verdict: Verdict
    findings: tuple[Finding, ...]
    candidate: str
    engine: str
    options: dict[str, str] = {}
    baseline: str
    confidence: float
    dataset: str
    digest: str
    items: int
    images: int
    seed: int
    machine: Machine
    versions: dict[str, str]
    content: str
    gated_at: str


def content_digest(bundle: Bundle) -> str:
    """Digest of the bundle's files and of the manifest's values that Silkline reads.

    The files that the gate wrote do not count.
    """
    files = {
        name: digest
        for name, digest in bundle.manifest.files.items()
        if name not in {GATE, GATE_PAGE}
    }
    manifest = msgspec.structs.replace(bundle.manifest, files=files)
    return hashlib.sha256(msgspec.json.encode(manifest, order="sorted")).hexdigest()


def check_listed(bundle: Bundle, engine: str) -> None:
    """Checks that the manifest lists all files of an engine's folder, so that a gate holds for all.

    Engines read optional files, such as a chat template, where they find them. Hidden files are
    not read.

    Raises:
        ConfigError: The bundle has no such weights, or a file is not listed.
    """
    try:
        found = {path.name for path in bundle.weights(engine).iterdir() if not path.is_dir()}
    except OSError:
        found = set()
    parent = Path(bundle.manifest.engines[engine].path)
    listed = {*bundle.manifest.files, MANIFEST, GATE, GATE_PAGE}
    paths = sorted((parent / name).as_posix() for name in found if not name.startswith("."))
    if unlisted := [path for path in paths if path not in listed]:
        raise ConfigError(
            f"The bundle {bundle.manifest.name} has files that its {MANIFEST} does not list: "
            f"{', '.join(unlisted[:5])}. No gate holds for them: remove them."
        )


def read_gate(bundle: Bundle) -> GateRecord | None:
    """The gate's record in a bundle whose files are whole; None if it was never gated.

    Raises:
        ConfigError: The record cannot be read, or is about another content.
    """
    if GATE not in bundle.manifest.files:
        return None
    name, again = bundle.manifest.name, "Gate the bundle again: silkline gate."
    try:
        record = msgspec.json.decode((bundle.folder / GATE).read_bytes(), type=GateRecord)
    except OSError as error:
        raise ConfigError(
            f"The gate's record of the bundle {name} cannot be read: {error.strerror}. {again}"
        ) from error
    except UNDECODABLE as error:
        raise ConfigError(
            f"The gate's record of the bundle {name} is not one of this version. {again}"
        ) from error
    if record.schema != SCHEMA:
        raise ConfigError(
            f"The gate's record of the bundle {name} has schema {record.schema}; this version of "
            f"Silkline reads {SCHEMA}. {again}"
        )
    if record.content != content_digest(bundle):
        raise ConfigError(
            f"The gate of the bundle {name} judged other files or settings than its {MANIFEST} "
            f"lists now. {again}"
        )
    return record


def check_gate(bundle: Bundle, engine: str) -> GateRecord | None:
    """Checks that a bundle may be served by an engine: it passed its gate, or needs none.

    A bundle that was optimised from another one needs a gate.

    Args:
        bundle: A bundle whose files are whole.
        engine: The engine's name.

    Returns:
        The gate's record; None if there is none for this engine.

    Raises:
        ConfigError: It may not be served.
    """
    record, name = read_gate(bundle), bundle.manifest.name
    if record is None or record.engine != engine:
        if bundle.manifest.optimized_from is None:
            return None
        gated = "was never gated" if record is None else f"was gated with {record.engine} only"
        raise ConfigError(
            f"The bundle {name} was made from {bundle.manifest.optimized_from} and {gated}. Run "
            f"silkline gate with the engine {engine}, or serve it as it is with --ungated true."
        )
    if record.verdict is not Verdict.PASSED:
        why = " ".join(
            f"{finding.requirement}: {finding.reason}"
            for finding in record.findings
            if finding.verdict is record.verdict
        )
        raise ConfigError(
            f"The gate's verdict on the bundle {name} is {record.verdict}. {why} Mend it and run "
            "silkline gate again, or serve it as it is with --ungated true."
        )
    check_listed(bundle, engine)
    return record
