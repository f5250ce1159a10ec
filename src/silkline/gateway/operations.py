"""Routes for operators: `/live`, `/ready`, `/health`, `/version`, `/metrics`."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from silkline import __version__
from silkline.gateway.siblings import Siblings
from silkline.observe.exposition import Format
from silkline.service.lifecycle import Lifecycle
from silkline.service.models import ServedModels


def operations_routes(models: ServedModels, siblings: Siblings, lifecycle: Lifecycle) -> APIRouter:
    """The routes for health probes and Prometheus."""
    router = APIRouter(tags=["Operations"])

    @router.head("/live", include_in_schema=False)
    @router.get("/live", summary="Liveness: the process responds")
    async def live() -> dict[str, str]:
        return {"status": "live"}

    @router.head("/health", include_in_schema=False)
    @router.get("/health", summary="The same as /ready, under the name that other servers have")
    @router.head("/ready", include_in_schema=False)
    @router.get("/ready", summary="Readiness: requests are being answered")
    async def ready() -> JSONResponse:
        if models.ready and not lifecycle.leaving:
            return JSONResponse({"status": "ready"})
        status = "draining" if lifecycle.leaving else "not ready"
        return JSONResponse({"status": status}, status_code=503, headers={"retry-after": "1"})

    @router.get("/version", summary="The server's version")
    async def version() -> dict[str, str]:
        return {"version": __version__}

    @router.get("/metrics", summary="Prometheus metrics", response_class=Response)
    async def metrics_text(request: Request) -> Response:
        form = Format.accepted(request.headers.get("accept", ""))
        return Response(await siblings.render(form), headers={"content-type": form.value})

    return router
