"""`/admin/drift`: traffic beside its baseline, and the canary set."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from silkline.drift.drift import Drift
from silkline.gateway.openapi import ERROR_RESPONSES


def drift_routes(drift: Drift) -> APIRouter:
    """The route for admins; `auth` lets only them reach it."""
    router = APIRouter(tags=["Admin"])

    @router.get(
        "/admin/drift",
        summary="Show the last windows of traffic beside the baseline, and the canary set",
        responses=ERROR_RESPONSES,
    )
    async def shown() -> dict[str, Any]:
        return drift.shown()

    return router
