"""Metrics of the served models: their queues, their replicas, and whether they are loaded.

The label `model` has as many values as the table has models, which only the owner changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from prometheus_client.core import Metric

from silkline.admission.admission import AdmissionSnapshot
from silkline.engines.machine import this_machine
from silkline.models.gate import Verdict
from silkline.routing.health import ReplicaHealth
from silkline.service.cascade import CascadePool
from silkline.service.metrics import families
from silkline.service.models import ServedModels
from silkline.service.served_model import ServedModel

_Rows = Iterator[tuple[list[str], Mapping[str, float]]]


def model_metrics(models: ServedModels) -> Iterable[Metric]:
    """Yields the metrics of all models; a model whose name is not known yet has an empty label."""
    queues = [(model.name, model.admission.snapshot()) for model in models]
    pools = [(model.name, model.engines) for model in models]
    healths = [(name, pool.health()) for name, pool in pools if pool is not None]
    yield from families(
        "",
        ["model"],
        _OF_A_MODEL,
        (([name], {"model_loaded": float(pool is not None)}) for name, pool in pools),
    )
    yield from families(
        "queue_", ["model"], _OF_A_QUEUE, (([name], _queue_values(queue)) for name, queue in queues)
    )
    yield from families("", ["model", "tenant"], _OF_A_TENANT, _admitted(queues))
    yield from families("", ["model", "tenant", "reason"], _OF_A_TENANT, _refused(queues))
    yield from families(
        "",
        ["model"],
        _OF_A_MODEL,
        (([name], {"routing_retries": float(health.retries)}) for name, health in healths),
    )
    yield from families(
        "replica_",
        ["model", "replica"],
        _OF_A_REPLICA,
        (
            ([name, replica.name], _replica_values(replica))
            for name, health in healths
            for replica in health.replicas
        ),
    )
    yield from families("cascade_", ["model", "answered_by"], _OF_A_CASCADE, _cascades(models))
    yield from gate_metrics(models)


def gate_metrics(models: Iterable[ServedModel]) -> Iterable[Metric]:
    """Yields the metrics of the gates of models that were gated and have started."""
    gates = [
        (model, gate) for model in models if model.has_started and (gate := model.gate) is not None
    ]
    if not gates:
        return
    here = this_machine().kind
    yield from families(
        "gate_",
        ["model", "verdict"],
        _OF_A_GATE,
        (
            ([model.name, gate.verdict], {"passed": float(gate.verdict is Verdict.PASSED)})
            for model, gate in gates
        ),
    )
    yield from families(
        "gate_",
        ["model"],
        _OF_A_GATE,
        (
            (
                [model.name],
                {
                    "here": float(gate.machine.kind == here),
                    "time_seconds": datetime.fromisoformat(gate.gated_at).timestamp(),
                },
            )
            for model, gate in gates
        ),
    )


_OF_A_MODEL = {
    "model_loaded": "0 while an idle model is unloaded.",
    "routing_retries": "Requests that were retried.",
}

_OF_A_CASCADE = {"answers": "Answers of a cascade, by the model that gave them."}

_OF_A_GATE = {
    "passed": "1 if the model passed its gate.",
    "here": "1 if the model was gated on this kind of processor and GPU.",
    "time_seconds": "Unix time at which the model was gated.",
}

_OF_A_QUEUE = {
    "preparing": "Requests not yet in the queue.",
    "waiting": "Requests waiting for an engine.",
    "running": "Requests running on an engine.",
    "capacity": "Maximum requests running on the engines.",
    "tokens": "Tokens of the waiting requests.",
    "pixel_ratio": "Minimum share of the pixel budget that a tenant gets.",
    "predicted_wait_seconds": "Seconds until all waiting requests have started.",
}

_OF_A_TENANT = {
    "admitted": "Requests that were admitted.",
    "refused": "Requests that were refused.",
}

_OF_A_REPLICA = {
    "ready": "1 while a replica accepts requests.",
    "ejected": "1 while a replica is ejected because it failed or was slow.",
    "weight": "A replica's relative share of the requests.",
    "limit": "Maximum requests in flight on a replica.",
    "requests": "Requests in flight on a replica.",
    "given_requests": "Requests sent to a replica.",
    "errors": "Requests that a replica lost or answered with an invalid response.",
    "restarts": "How often a replica's process was replaced.",
    "resident_bytes": "Resident memory of a replica's process.",
    "engine_running": "Requests that a replica's engine computes.",
    "engine_queued": "Requests that wait inside a replica's engine.",
    "kv_cache_ratio": "Share of a replica's KV cache in use.",
    "progress_age_seconds": "Seconds since the last step of a replica's engine.",
}


def _cascades(models: Iterable[ServedModel]) -> _Rows:
    for model in models:
        if isinstance(pool := model.engines, CascadePool):
            for name, answers in pool.answered.items():
                yield [model.name, name], {"answers": float(answers)}


def _queue_values(snapshot: AdmissionSnapshot) -> Mapping[str, float]:
    values = {
        "preparing": float(snapshot.preparing),
        "waiting": float(snapshot.waiting),
        "running": float(snapshot.running),
        "capacity": float(snapshot.capacity),
        "tokens": float(snapshot.queue_tokens),
        "pixel_ratio": snapshot.pixel_share,
    }
    if (wait := snapshot.predicted_wait_seconds) is not None:
        values["predicted_wait_seconds"] = wait
    return values


def _admitted(queues: Iterable[tuple[str, AdmissionSnapshot]]) -> _Rows:
    for name, queue in queues:
        for tenant, counts in queue.tenants.items():
            yield [name, tenant], {"admitted": float(counts.admitted)}


def _refused(queues: Iterable[tuple[str, AdmissionSnapshot]]) -> _Rows:
    for name, queue in queues:
        for tenant, counts in queue.tenants.items():
            for reason, count in counts.refused.items():
                yield [name, tenant, reason.value], {"refused": float(count)}


def _replica_values(replica: ReplicaHealth) -> Mapping[str, float]:
    values = {
        "ready": float(replica.ready),
        "ejected": float(replica.ejected),
        "weight": replica.weight,
        "limit": float(replica.limit),
        "requests": float(replica.in_flight),
        "given_requests": float(replica.requests),
        "errors": float(replica.errors),
        "restarts": float(replica.restarts),
        "resident_bytes": float(replica.rss_bytes or 0),
    }
    if (engine := replica.engine) is not None:
        values["engine_running"] = float(engine.running)
        values["engine_queued"] = float(engine.queued)
        values["kv_cache_ratio"] = engine.cache_use
        values["progress_age_seconds"] = engine.seconds_since_progress
    return values
