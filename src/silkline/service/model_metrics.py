"""Metrics of the served models: their queues, their replicas, and whether they are loaded.

The label `model` has as many values as the table has models, which only the owner changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from silkline.admission.admission import AdmissionSnapshot
from silkline.core import Health
from silkline.engines.machine import this_machine
from silkline.models.gate import Verdict
from silkline.observe import catalogue
from silkline.observe.declared import Reading
from silkline.routing.health import PoolHealth, ReplicaHealth
from silkline.service.cascade import CascadePool
from silkline.service.models import ServedModels
from silkline.service.served_model import ServedModel


def model_readings(models: ServedModels) -> Iterator[Reading]:
    """Metrics of all models; a model whose name is not known yet has an empty label."""
    for model in models:
        pool, name = model.engines, (model.name,)
        yield catalogue.MODEL_LOADED, name, pool is not None
        yield catalogue.MODEL_MAX_BATCH, name, model.engine_settings.max_batch
        if model.base is None:  # an adapter waits in the queue of its base
            yield from _queue_readings(model.name, model.admission.snapshot())
        if pool is not None:
            yield from _pool_readings(model.name, pool.health())
        if isinstance(pool, CascadePool):
            for by, answers in pool.answered.items():
                yield catalogue.CASCADE_ANSWERS, (model.name, by), answers
    yield from gate_readings(models)


def gate_readings(models: Iterable[ServedModel]) -> Iterator[Reading]:
    """Metrics of the gates of models that were gated and have started."""
    for model in models:
        gate = model.gate if model.has_started else None
        if gate is None:
            continue
        name = (model.name,)
        here = gate.machine.kind == this_machine().kind
        passed = gate.verdict is Verdict.PASSED
        yield catalogue.GATE_PASSED, (model.name, gate.verdict), passed
        yield catalogue.GATE_HERE, name, here
        yield catalogue.GATE_TIME, name, datetime.fromisoformat(gate.gated_at).timestamp()


def _queue_readings(model: str, queue: AdmissionSnapshot) -> Iterator[Reading]:
    name = (model,)
    yield catalogue.QUEUE_PREPARING, name, queue.preparing
    yield catalogue.QUEUE_WAITING, name, queue.waiting
    yield catalogue.QUEUE_RUNNING, name, queue.running
    yield catalogue.QUEUE_CAPACITY, name, queue.capacity
    yield catalogue.QUEUE_TOKENS, name, queue.queue_tokens
    yield catalogue.QUEUE_PIXEL_RATIO, name, queue.pixel_share
    if queue.backlog_seconds is not None:
        yield catalogue.QUEUE_BACKLOG, name, queue.backlog_seconds
    if (wait := queue.predicted_wait_seconds) is not None:
        yield catalogue.QUEUE_WAIT, name, wait
    for tenant, counts in queue.tenants.items():
        yield catalogue.ADMITTED, (model, tenant), counts.admitted
        for reason, count in counts.refused.items():
            yield catalogue.REFUSED, (model, tenant, reason.value), count


def _pool_readings(model: str, health: PoolHealth) -> Iterator[Reading]:
    yield catalogue.RETRIES, (model,), health.retries
    yield catalogue.QUARANTINES, (model,), health.quarantines
    for replica in health.replicas:
        yield from _replica_readings((model, replica.name), replica)


def _replica_readings(labels: tuple[str, str], replica: ReplicaHealth) -> Iterator[Reading]:
    yield catalogue.REPLICA_READY, labels, replica.ready
    yield catalogue.REPLICA_EJECTED, labels, replica.ejected
    yield catalogue.REPLICA_WEIGHT, labels, replica.weight
    yield catalogue.REPLICA_LIMIT, labels, replica.limit
    yield catalogue.REPLICA_REQUESTS, labels, replica.in_flight
    yield catalogue.REPLICA_GIVEN, labels, replica.requests
    yield catalogue.REPLICA_ERRORS, labels, replica.errors
    yield catalogue.REPLICA_RESTARTS, labels, replica.restarts
    yield catalogue.REPLICA_RESIDENT, labels, replica.rss_bytes or 0
    if replica.certificate_expiry is not None:
        yield catalogue.CERTIFICATE_EXPIRY, labels, replica.certificate_expiry
    if replica.engine is not None:
        yield from _engine_readings(labels, replica.engine)


def _engine_readings(labels: tuple[str, str], engine: Health) -> Iterator[Reading]:
    yield catalogue.ENGINE_RUNNING, labels, engine.running
    yield catalogue.ENGINE_QUEUED, labels, engine.queued
    yield catalogue.KV_CACHE_RATIO, labels, engine.cache_use
    yield catalogue.PROGRESS_AGE, labels, engine.seconds_since_progress
    yield catalogue.REPLICA_BUSY, labels, engine.busy_seconds
    yield catalogue.REPLICA_SLOTS, labels, engine.slot_seconds
