"""All alerts. Each has a runbook in docs/runbooks.md."""

from __future__ import annotations

import math
from collections.abc import Iterator

from silkline.config import Settings
from silkline.deploy.prometheus.alert import Alert, Severity
from silkline.deploy.prometheus.recording import RESIDENT
from silkline.deploy.prometheus.scrape import JOB
from silkline.deploy.prometheus.slo_alerts import slo_alerts

_DAY = 24 * 3600
_OF_REPLICA = "{{ $labels.replica }} of {{ $labels.model }}"


def all_alerts(settings: Settings) -> tuple[Alert, ...]:
    """Returns the alerts, with the thresholds of the settings."""
    return (
        *slo_alerts(settings.slo),
        *_of_gateways(),
        *_of_workers(settings),
        *_of_answers(settings),
        *_of_quality(settings),
        *_of_experiments(),
        *_of_the_process(),
        *_of_credentials(),
    )


def _of_gateways() -> Iterator[Alert]:
    """Servers that do not answer, or have nobody to ask."""
    yield Alert(
        "SilklineDown",
        f'up{{job="{JOB}"}} == 0',
        "2m",
        Severity.PAGE,
        "The gateway {{ $labels.instance }} cannot be scraped",
        "Prometheus gets no metrics from it.",
        "a gateway stops",
        3,
    )
    yield Alert(
        "SilklineNoReplica",
        "sum by (instance, model) (silkline_replica_ready) == 0\n"
        "and on (instance, model) silkline_model_loaded == 1",
        "2m",
        Severity.PAGE,
        "No replica of {{ $labels.model }} accepts requests",
        "All of its workers and remote servers are starting, lost or stuck.",
        "the last replica is lost",
        3,
    )


def _of_workers(settings: Settings) -> Iterator[Alert]:
    """Workers and remote servers that are stuck, end or fail."""
    hang = max(model.hang_timeout for model in settings.served.values())
    yield Alert(
        "SilklineEngineStuck",
        f"silkline_replica_progress_age_seconds > {1.5 * hang:g}",
        "1m",
        Severity.PAGE,
        f"The replica {_OF_REPLICA} makes no progress",
        "Its engine has requests, and has made no step for {{ $value | humanizeDuration }}.",
        "an engine makes its last step",
        math.ceil((1.5 * hang + 60) / 60) + 1,
    )
    yield Alert(
        "SilklineWorkerRestarts",
        "max by (instance, model, replica) (increase(silkline_replica_restarts_total[15m])) > 2",
        "1m",
        Severity.PAGE,
        f"The worker {_OF_REPLICA} ends again and again",
        "It was replaced {{ $value | humanize }} times in 15 minutes.",
        "the third restart",
        3,
    )
    yield Alert(
        "SilklineReplicaEjected",
        "silkline_replica_ejected == 1",
        "1m",
        Severity.TICKET,
        f"The replica {_OF_REPLICA} is ejected",
        "It fails or is slow, and gets only trial requests.",
        "a replica is ejected",
        2,
    )
    yield Alert(
        "SilklineQuarantine",
        "sum by (instance, model) (increase(silkline_quarantines_total[15m])) > 0",
        "0s",
        Severity.TICKET,
        "A request to {{ $labels.model }} ended two workers",
        "It is refused for ten minutes when it is sent again.",
        "a request is quarantined",
        1,
    )


def _of_answers(settings: Settings) -> Iterator[Alert]:
    """Queues that grow, a cache that fails or errs, and a model whose gate does not hold here."""
    patience = settings.slo.slo_latency_seconds
    yield Alert(
        "SilklineQueueGrows",
        f"silkline_queue_predicted_wait_seconds > {patience:g}\n"
        "and on (instance, model) deriv(silkline_queue_waiting[10m]) > 0",
        "5m",
        Severity.TICKET,
        "The queue of {{ $labels.model }} grows",
        "The requests in it wait {{ $value | humanizeDuration }} for an engine.",
        "more requests come than are answered",
        8,
    )
    yield Alert(
        "SilklineNearDuplicateFalseHits",
        "sum by (instance) (increase(silkline_cache_near_false_hits_total[6h]))\n"
        "/ (sum by (instance) (increase(silkline_cache_near_samples_total[6h])) > 0) > 0.02\n"
        "and sum by (instance) (increase(silkline_cache_near_false_hits_total[6h])) >= 3",
        "5m",
        Severity.TICKET,
        "Near duplicates get answers that are wrong for them",
        "{{ $value | humanizePercentage }} of the samples had another answer.",
        "the third false hit of a tier that errs in 1 of 10",
        8,
    )
    yield Alert(
        "SilklineCacheDegraded",
        "silkline_cache_degraded == 1",
        "5m",
        Severity.TICKET,
        "The cache tier {{ $labels.tier }} fails",
        "Its reads miss, and answers are computed again.",
        "a tier fails",
        6,
    )
    yield Alert(
        "SilklineGateElsewhere",
        "silkline_gate_here == 0 or silkline_gate_passed == 0",
        "10m",
        Severity.TICKET,
        "{{ $labels.model }} did not pass its gate on this kind of machine",
        "Its answers may differ from those that were evaluated.",
        "the model is loaded",
        11,
    )


def _of_quality(settings: Settings) -> Iterator[Alert]:
    """Traffic that is not what the baseline was, and known questions with other answers."""
    yield Alert(
        "SilklineDrift",
        "max by (instance, model, feature) (silkline_drift_detected) == 1",
        "1m",
        Severity.TICKET,
        "The traffic of {{ $labels.model }} has drifted: {{ $labels.feature }}",
        "The last window differs from the baseline by more than chance and its own days do.",
        "a window of changed traffic ends",
        2,
    )
    yield Alert(
        "SilklineCanaryChanged",
        'max by (instance, model) (silkline_canary_answers{state=~"changed|failed"}) > 0',
        "1m",
        Severity.TICKET,
        "{{ $labels.model }} answers known questions in another way",
        "{{ $value }} answers of the canary set changed or failed.",
        "a run finds another answer",
        2,
    )
    every = settings.canary_set.canary_every
    yield Alert(
        "SilklineCanaryOverdue",
        f"time() - silkline_canary_run_time_seconds > {3 * every:g}",
        "5m",
        Severity.TICKET,
        "The canary set of {{ $labels.model }} is not asked",
        "The last run was {{ $value | humanizeDuration }} ago.",
        "the third run is missed",
        6,
    )


def _of_experiments() -> Iterator[Alert]:
    """Experiments that rolled a candidate back, or cannot come to a verdict."""
    verdicts = 'increase(silkline_experiment_verdicts_total{serving="model"}[1h])'
    yield Alert(
        "SilklineExperimentRolledBack",
        f"max by (instance, experiment) ({verdicts}) > 0",
        "0s",
        Severity.TICKET,
        "The candidate of {{ $labels.experiment }} is rolled back",
        "It was worse, or no verdict came in time; the model answers all requests.",
        "the evidence rolls a candidate back",
        1,
    )
    yield Alert(
        "SilklineExperimentSplitMismatch",
        "max by (instance, experiment) (silkline_experiment_mismatch) == 1",
        "5m",
        Severity.TICKET,
        "The arms of {{ $labels.experiment }} are of unequal size",
        "Requests are lost or assigned wrongly, so nothing is concluded.",
        "the arms' sizes differ by more than chance",
        6,
    )
    requests = "increase(silkline_experiment_requests_total[1h])"
    yield Alert(
        "SilklineExperimentStuck",
        'max by (instance, experiment) (silkline_experiment_serving{serving="split"}) == 1\n'
        f"and on (instance, experiment) sum by (instance, experiment) ({requests}) == 0",
        "5m",
        Severity.TICKET,
        "The experiment {{ $labels.experiment }} gets no requests",
        "None of its arms has ended a request for an hour.",
        "the last request of an arm ends",
        67,
    )


def _of_the_process() -> Iterator[Alert]:
    """A gateway that blocks, that grows, or whose decoders crash."""
    yield Alert(
        "SilklineEventLoopBlocked",
        "histogram_quantile(0.9, sum by (instance, le) "
        "(rate(silkline_event_loop_lag_seconds_bucket[5m]))) > 0.25",
        "10m",
        Severity.TICKET,
        "The gateway {{ $labels.instance }} blocks its event loop",
        "One in ten wakes is late by {{ $value | humanizeDuration }} or more.",
        "each second wake is late by half a second",
        15,
    )
    yield Alert(
        "SilklineDecodersCrash",
        "sum by (instance, kind) (increase(silkline_decode_replaced_total[15m])) > 10",
        "1m",
        Severity.TICKET,
        "Decoders of {{ $labels.kind }} crash or hang",
        "{{ $value | humanize }} of them were replaced in 15 minutes.",
        "the eleventh crash",
        3,
    )
    yield Alert(
        "SilklineMemoryGrows",
        f"predict_linear({RESIDENT}[2h], {_DAY}) > on (instance) silkline_machine_memory_bytes\n"
        "and on (instance) time() - silkline_gateway_start_time_seconds > 4 * 3600",
        "30m",
        Severity.TICKET,
        "The memory of {{ $labels.instance }} runs out within a day",
        "Gateway and workers would have {{ $value | humanize1024 }}B tomorrow.",
        "a leak that fills the memory in a day begins",
        180,
    )


def _of_credentials() -> Iterator[Alert]:
    """Certificates of remote servers, and API keys."""
    yield Alert(
        "SilklineCertificateExpires",
        f"silkline_replica_certificate_expiry_seconds - time() < {14 * _DAY}",
        "10m",
        Severity.TICKET,
        f"The TLS certificate of the remote server {_OF_REPLICA} expires soon",
        "{{ $value | humanizeDuration }} are left.",
        "14 days are left",
        11,
    )
    yield Alert(
        "SilklineKeyExpires",
        f"silkline_keys_next_expiry_seconds - time() < {7 * _DAY}",
        "10m",
        Severity.TICKET,
        "An API key of {{ $labels.instance }} expires soon",
        "{{ $value | humanizeDuration }} are left.",
        "7 days are left",
        11,
    )
