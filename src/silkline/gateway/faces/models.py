"""`GET /v1/models`, compatible with the official clients of OpenAI and Anthropic."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException

from silkline.core import Feature
from silkline.gateway.openapi import ERROR_RESPONSES
from silkline.models.gate import GateRecord
from silkline.service.answering import Answering
from silkline.service.served_model import ServedModel


def model_routes(answering: Answering) -> APIRouter:
    """The routes that list the models of an `Answering`."""
    router = APIRouter(tags=["OpenAI"])

    @router.get("/v1/models", summary="List the served models")
    async def models() -> dict[str, Any]:
        found = [_model(model) for model in answering.models.reported]
        return {
            "object": "list",
            "data": found,
            "first_id": found[0]["id"],
            "last_id": found[-1]["id"],
            "has_more": False,
        }

    @router.get(
        "/v1/models/{name:path}",
        summary="Get a served model by name",
        responses=ERROR_RESPONSES,
    )
    async def model(name: str) -> dict[str, Any]:
        if not name:
            raise HTTPException(404)
        return _model(answering.models.choose(name))

    return router


def _model(model: ServedModel) -> dict[str, Any]:
    info, gate = model.info, model.gate
    return {
        "id": info.model,
        "object": "model",
        "type": "model",
        "display_name": info.model,
        "created": 0,
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
        "owned_by": "silkline",
        "root": info.model if model.base is None else model.base.info.model,
        "parent": None if model.base is None else model.base.info.model,
        "aliases": sorted(model.aliases),
        "revision": info.revision,
        "engine": info.engine,
        "path": info.path,
        "precision": info.precision,
        "instruction_set": info.instruction_set,
        "context_length": info.context_length,
        "max_model_len": info.context_length,
        "max_input_tokens": info.context_length,
        "image_tokens": info.image_tokens,
        "capabilities": {
            "images": info.image_tokens > 0,
            "tools": Feature.TOOLS in info.features,
            "structured_output": Feature.JSON_SCHEMA in info.features,
            "reasoning": Feature.THINKING in info.features,
        },
        "features": sorted(info.features),
        "pixel_budget": {
            "max_pixels": info.pixel_budget.max_pixels,
            "shortest_edge": info.pixel_budget.shortest_edge,
        },
        "gate": None if gate is None else _gate(gate),
    }


def _gate(gate: GateRecord) -> dict[str, Any]:
    return {
        "verdict": gate.verdict,
        "requirements": [
            {"requirement": each.requirement, "verdict": each.verdict, "reason": each.reason}
            for each in gate.findings
        ],
        "baseline": gate.baseline,
        "confidence": gate.confidence,
        "dataset": gate.dataset,
        "dataset_digest": gate.digest,
        "items": gate.items,
        "gated_at": gate.gated_at,
        "gated_on": gate.machine.kind,
    }
