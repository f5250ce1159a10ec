"""Judges whether a bundle that prunes image tokens really takes fewer of them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from silkline.evaluate.journal import Reply
from silkline.models.bundle import Bundle
from silkline.models.gate import Finding, Verdict

_REQUIREMENT = "fewer image tokens"


def judge_image_tokens(
    bundles: tuple[Bundle | None, Bundle | None],
    engine: str,
    replies: tuple[Sequence[Reply], Sequence[Reply]],
) -> list[Finding]:
    """Compares the image tokens that usage reports.

    Args:
        bundles: The baseline and the candidate; None for one that is no bundle.
        engine: The engine that served the candidate.
        replies: The replies of both.

    Returns:
        One finding, or none if the candidate does not prune, or the baseline prunes too.
    """
    if not _prunes(bundles[1], engine) or _prunes(bundles[0], engine):
        return []
    means = [
        statistics.fmean(found)
        if (found := [reply.image_tokens for reply in side if reply.image_tokens])
        else 0.0
        for side in replies
    ]
    before, after = means
    if not before:
        reason = "The baseline does not report the tokens of images, so nothing can be compared."
        return [Finding(_REQUIREMENT, Verdict.UNDECIDED, reason)]
    fewer = 0 < after < before
    reason = f"A question takes {after:.1f} image tokens instead of {before:.1f}."
    verdict = Verdict.PASSED if fewer else Verdict.REFUSED
    ratio = after / before
    return [Finding(_REQUIREMENT, verdict, reason, ratio, ratio, ratio)]


def _prunes(bundle: Bundle | None, engine: str) -> bool:
    entry = None if bundle is None else bundle.manifest.engines.get(engine)
    return entry is not None and entry.fewer_image_tokens
