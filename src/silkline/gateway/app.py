"""Assembles the gateway's parts into one ASGI application."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    aclosing,
    asynccontextmanager,
)
from functools import partial

from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from silkline import __version__
from silkline.admission.shared_limits import shared_limits
from silkline.cache.create import create_cache
from silkline.config import Settings
from silkline.drift.drift import Drift
from silkline.errors import SilklineError
from silkline.experiments.running import Experiments
from silkline.gateway.admin import ModelTable, NewModel, admin_routes
from silkline.gateway.auth import Gate, read_keys
from silkline.gateway.batches.create import create_batch_api
from silkline.gateway.batches.routes import BatchRequest, batch_routes
from silkline.gateway.console_files import console_routes
from silkline.gateway.direct_route import DirectApp
from silkline.gateway.disconnect import ClientLeft
from silkline.gateway.drift import drift_routes
from silkline.gateway.experiments import (
    ExperimentTable,
    Feedback,
    NextStep,
    experiment_routes,
    feedback_routes,
)
from silkline.gateway.faces.chat import chat_routes
from silkline.gateway.faces.chat_schema import ChatRequest
from silkline.gateway.faces.completions import CompletionRequest, completion_routes
from silkline.gateway.faces.embeddings import embedding_routes
from silkline.gateway.faces.messages.routes import messages_routes
from silkline.gateway.faces.messages.schema import CountRequest, MessagesRequest
from silkline.gateway.faces.models import model_routes
from silkline.gateway.faces.predict import PredictRequest, predict_routes
from silkline.gateway.faces.responses.history import History
from silkline.gateway.faces.responses.route import response_routes, stored_response_routes
from silkline.gateway.faces.responses.schema import ResponsesRequest
from silkline.gateway.faces.responses.store import ResponseStore
from silkline.gateway.faces.tokenize import TokenizeRequest, tokenize_routes
from silkline.gateway.failures import render_error
from silkline.gateway.gateway_metrics import gateway_readings
from silkline.gateway.history.routes import history_routes
from silkline.gateway.history.store import HistoryStore
from silkline.gateway.idempotency.layer import IdempotencyLayer
from silkline.gateway.live.routes import live_routes
from silkline.gateway.openapi import describe
from silkline.gateway.operations import operations_routes
from silkline.gateway.request_layer import RequestLayer
from silkline.gateway.siblings import Siblings
from silkline.idempotency.create import create_key_store
from silkline.observe.declared import families
from silkline.service.answering import Answering
from silkline.service.create import create_answering
from silkline.service.deployment import Deployment
from silkline.service.lifecycle import Lifecycle
from silkline.service.local import create_intake
from silkline.service.loop_lag import measured_lag
from silkline.service.tracing import closing, create_tracing

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

_BODIES = (
    BatchRequest,
    ChatRequest,
    CompletionRequest,
    CountRequest,
    ExperimentTable,
    Feedback,
    MessagesRequest,
    ModelTable,
    NewModel,
    NextStep,
    PredictRequest,
    ResponsesRequest,
    TokenizeRequest,
)
"""The types of JSON bodies, which the OpenAPI document describes."""


def create_app(
    settings: Settings,
    deployment: Deployment,
    lifecycle: Lifecycle,
    siblings: Siblings | None = None,
) -> ASGIApp:
    """Builds the gateway application over the served models.

    The caller starts and closes the models of the deployment. Until they have started, `/ready` and
    the answering routes return 503. The application's lifespan opens the intake and closes it with
    the caches.

    Args:
        settings: The settings.
        deployment: The models.
        lifecycle: Whether the process drains.
        siblings: What it shares with other gateway processes; None if it is the only one.
    """
    siblings = siblings or Siblings.none(settings.slo)
    keys_file = read_keys(settings)
    metrics = siblings.metrics
    intake = create_intake(settings)
    cache = create_cache(settings.cache, metrics.cache_hit)
    keys = create_key_store(settings.idempotency)
    responses = ResponseStore(settings.responses)
    history = HistoryStore(settings.history)
    tracing = create_tracing(settings.traces)
    experiments = Experiments(settings, deployment.models)
    answering = create_answering(
        settings, deployment.models, intake=intake, cache=cache, lifecycle=lifecycle,
        metrics=metrics, choose=experiments.choose,
    )  # fmt: skip
    experiments.computes_with(answering, lifecycle)
    drift = Drift(settings, answering)
    faces = _answering_routers(settings, answering, responses)
    batch = create_batch_api(settings, _application(None, faces), answering.models, lifecycle)

    lifespan = _lifespan(
        intake,
        *(aclosing(store) for store in (cache, keys, responses)),
        history.running(),
        experiments.running(),
        shared_limits(settings.admission.limits_redis, deployment.limits),
        answering.models.shared(),
        drift.running(),
        batch.running(),
        measured_lag(metrics.loop_lagged),
        closing(tracing),
    )
    routers = (
        *faces,
        batch_routes(batch.store, batch.batches),
        operations_routes(answering.models, siblings, lifecycle),
        admin_routes(deployment),
        feedback_routes(experiments),
        experiment_routes(experiments),
        drift_routes(drift),
        history_routes(history, settings),
        live_routes(settings, siblings, lifecycle, keys_file),
    )
    idempotency = IdempotencyLayer(_application(lifespan, routers), keys)
    gate = Gate(idempotency, settings, keys_file)
    own = partial(gateway_readings, idempotency, keys_file, experiments, drift, batch)
    metrics.add_source(lambda: families(own()))
    if keys_file is not None:
        lifecycle.at_hangup(keys_file.request_reload)
    listeners = (experiments.ended, lambda record, _: drift.ended(record))
    return RequestLayer(gate, settings, metrics, lifecycle, history, listeners, tracing)


def _lifespan(*parts: AbstractAsyncContextManager[object]) -> Lifespan:
    """Opens the parts when the application starts, and closes them in reverse order."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None, None]:
        async with AsyncExitStack() as stack:
            for part in parts:
                await stack.enter_async_context(part)
            yield

    return lifespan


def _application(
    lifespan: Lifespan | None,
    routers: Iterable[APIRouter],
) -> ASGIApp:
    """The application with its routes, its OpenAPI document and its error bodies."""
    app = FastAPI(
        title="Silkline",
        version=__version__,
        summary="A vision-language model behind the OpenAI API.",
        lifespan=lifespan,
        docs_url=None,  # its page would load scripts from a CDN
        redoc_url=None,
        redirect_slashes=False,  # a redirect would go to any Host that the client sends
    )
    # One flat list: FastAPI would try each included router for every request.
    for router in routers:
        app.router.routes.extend(router.routes)
    app.router.routes.extend(console_routes())
    describe(app, *_BODIES)
    for kind in (SilklineError, HTTPException, ClientLeft, ClientDisconnect, Exception):
        app.add_exception_handler(kind, render_error)
    return DirectApp(app)


def _answering_routers(
    settings: Settings, answering: Answering, responses: ResponseStore
) -> tuple[APIRouter, ...]:
    return (
        chat_routes(answering),
        messages_routes(answering),
        embedding_routes(),
        completion_routes(answering),
        tokenize_routes(answering),
        response_routes(answering, History(responses, settings)),
        stored_response_routes(responses),
        predict_routes(answering),
        model_routes(answering),
    )
