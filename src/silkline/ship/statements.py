"""Statements about a bundle, in the form of in-toto, which others' tools read.

`provenance` says what made it (SLSA), `judgement` what judged it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from silkline.models.bundle import Bundle
from silkline.models.gate import Verdict

TYPE = "https://in-toto.io/Statement/v1"
SLSA = "https://slsa.dev/provenance/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
_BUILD_TYPE = "https://silkline.dev/ship/v1"
_BUILDER = "https://silkline.dev/silkline"

Resource = Mapping[str, Any]
"""What a statement refers to: a name, and digests by algorithm."""


def _statement(
    bundle: Bundle, digest: str, kind: str, predicate: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "_type": TYPE,
        "subject": [{"name": bundle.label, "digest": {"sha256": digest}}],
        "predicateType": kind,
        "predicate": predicate,
    }


class Made(NamedTuple):
    """How a bundle was made.

    Attributes:
        ship: The ship's id.
        external: What the user asked for.
        internal: What else decided about the result.
        dependencies: The model and the data.
        byproducts: Reports and figures that were written.
        versions: Versions of Silkline and the libraries that computed.
        began: Unix time in seconds.
        ended: Unix time in seconds.
    """

    ship: str
    external: Mapping[str, Any]
    internal: Mapping[str, Any]
    dependencies: Sequence[Resource]
    byproducts: Sequence[Resource]
    versions: Mapping[str, str]
    began: float
    ended: float


def provenance(bundle: Bundle, digest: str, made: Made) -> dict[str, Any]:
    """What made a bundle: the command, what it was made of, with which versions, and when.

    Args:
        bundle: The bundle.
        digest: Its content's SHA-256.
        made: How it was made.
    """
    predicate = {
        "buildDefinition": {
            "buildType": _BUILD_TYPE,
            "externalParameters": made.external,
            "internalParameters": made.internal,
            "resolvedDependencies": list(made.dependencies),
        },
        "runDetails": {
            "builder": {"id": _BUILDER, "version": dict(made.versions)},
            "metadata": {
                "invocationId": made.ship,
                "startedOn": _time(made.began),
                "finishedOn": _time(made.ended),
            },
            "byproducts": list(made.byproducts),
        },
    }
    return _statement(bundle, digest, SLSA, predicate)


def judgement(
    bundle: Bundle,
    digest: str,
    verdicts: Mapping[str, Verdict],
    configuration: Sequence[Resource],
) -> dict[str, Any]:
    """What judged a bundle.

    Args:
        bundle: The bundle.
        digest: Its content's SHA-256.
        verdicts: The verdict on each requirement.
        configuration: What the verdicts rest on.
    """
    named = {
        verdict: [name for name, found in verdicts.items() if found is verdict]
        for verdict in Verdict
    }
    result = "PASSED"
    if named[Verdict.UNDECIDED]:
        result = "WARNED"
    if named[Verdict.REFUSED]:
        result = "FAILED"
    predicate = {
        "result": result,
        "configuration": list(configuration),
        "passedTests": named[Verdict.PASSED],
        "warnedTests": named[Verdict.UNDECIDED],
        "failedTests": named[Verdict.REFUSED],
    }
    return _statement(bundle, digest, TEST_RESULT, predicate)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
