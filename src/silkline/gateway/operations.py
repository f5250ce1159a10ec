"""Routes for those who run the server: `/live`, `/ready`, `/metrics`."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from silkline.gateway.lifecycle import Lifecycle
from silkline.observe.metrics import CONTENT_TYPE, Metrics
from silkline.routing.pool import EnginePool


def operations_routes(pool: EnginePool, metrics: Metrics, lifecycle: Lifecycle) -> APIRouter:
    """The operating routes."""
    router = APIRouter(tags=["Operations"])

    @router.get("/live", summary="The process answers")
    async def live() -> dict[str, str]:
        return {"status": "live"}

    @router.get("/ready", summary="Requests are being answered: judged by recent progress")
    async def ready() -> JSONResponse:
        if lifecycle.draining:
            return JSONResponse({"status": "draining"}, status_code=503)
        if not pool.ready:
            return JSONResponse(
                {"status": "starting"}, status_code=503, headers={"retry-after": "1"}
            )
        return JSONResponse({"status": "ready"})

    @router.get("/metrics", summary="Prometheus metrics", response_class=Response)
    async def metrics_text() -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    return router
