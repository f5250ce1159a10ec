"""Whether another server may serve a model, which `remote` then asks."""

from __future__ import annotations

from silkline.engines.remote.listing import ENGINE
from silkline.models.resolve import Kind
from silkline.models.support import ModelFacts, Support, Verdict
from silkline.models.weights import why_pickled


def remote_support(facts: ModelFacts) -> Support:
    """Whether another server can load a model's files."""
    if pickled := why_pickled(facts.weights):
        return Support(ENGINE, Verdict.NO, pickled)
    if not facts.weights.files and facts.location.kind is not Kind.HUB:
        why = "there are no safetensors that another server could load"
        return Support(ENGINE, Verdict.NO, why)
    why = (
        "where another server can load it, such as vLLM: silkline up --engine remote "
        "--remotes http://HOST:PORT"
    )
    return Support(ENGINE, Verdict.ELSEWHERE, why)
