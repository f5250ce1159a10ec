"""Puts the serving rooms together into one ASGI application."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from silkline import __version__
from silkline.config import Settings
from silkline.errors import SilklineError
from silkline.gateway.answering import Answering
from silkline.gateway.caching import cache_metrics, create_cache
from silkline.gateway.chat import chat_routes
from silkline.gateway.chat_schema import ChatRequest
from silkline.gateway.console_files import console_routes
from silkline.gateway.disconnect import ClientLeft
from silkline.gateway.failures import render_error
from silkline.gateway.lifecycle import Lifecycle
from silkline.gateway.openapi import describe
from silkline.gateway.operations import operations_routes
from silkline.gateway.predict import PredictRequest, predict_routes
from silkline.gateway.request_layer import RequestLayer
from silkline.ingress.intake import Intake
from silkline.observe.metrics import Metrics
from silkline.routing.pool import EnginePool, PoolHealth


def create_app(settings: Settings, pool: EnginePool, lifecycle: Lifecycle) -> ASGIApp:
    """Builds the gateway over a pool of engines.

    The pool is started and ended by the caller, at the same time: until an engine is ready,
    `/ready` and the answering routes say 503. The lifespan is that of the intake and the cache.
    """
    metrics = Metrics()
    metrics.watch_replicas(lambda: replica_gauges(pool.health()))
    intake = Intake(settings.limits, settings.fetch, settings.decode)
    cache = create_cache(settings.cache)
    metrics.watch(lambda: cache_metrics(cache.snapshot()))
    answering = Answering(settings, intake, cache, pool, metrics, lifecycle)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None, None]:
        async with intake, aclosing(cache):
            yield

    app = FastAPI(
        title="Silkline",
        version=__version__,
        summary="A vision-language model behind the OpenAI API.",
        lifespan=lifespan,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # a redirect would go to whatever Host the client names
    )
    app.include_router(chat_routes(answering))
    app.include_router(predict_routes(answering))
    app.include_router(operations_routes(pool, metrics, lifecycle))
    app.router.routes.extend(console_routes())
    describe(app, ChatRequest, PredictRequest)
    for kind in (SilklineError, HTTPException, ClientLeft, ClientDisconnect, Exception):
        app.add_exception_handler(kind, render_error)
    return RequestLayer(app, settings, metrics, lifecycle)


def replica_gauges(health: PoolHealth) -> dict[str, dict[str, float]]:
    """The pool's state as gauges: value by replica, by the last part of the metric's name."""
    gauges: dict[str, dict[str, float]] = {}
    for replica in health.replicas:
        values = {
            "ready": float(replica.ready),
            "requests": float(replica.in_flight),
            "restarts": float(replica.restarts),
            "resident_bytes": float(replica.rss_bytes or 0),
        }
        if replica.engine is not None:
            values["engine_running"] = float(replica.engine.running)
            values["engine_queued"] = float(replica.engine.queued)
            values["kv_cache_ratio"] = replica.engine.cache_use
            values["progress_age_seconds"] = replica.engine.seconds_since_progress
        for name, value in values.items():
            gauges.setdefault(name, {})[replica.name] = value
    return gauges
