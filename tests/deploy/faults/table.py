"""The fault that raises each alert, with the real parts. A new alert needs a line here."""

from __future__ import annotations

from dataclasses import dataclass

from tests.deploy.faults import engines, experiments, gateways, quality
from tests.deploy.faults.objectives import Injection, failing, late

HOUR = 60
DAY = 24 * HOUR


@dataclass(frozen=True)
class LiveFault:
    """A fault.

    Attributes:
        inject: Serves, yields while all is well, injects the fault, and yields when it has begun.
        history: Minutes for which all is well before, on the clock of the alerts.
        also: Other alerts that the same fault may raise.
        max_factor: How much faster time may run for the alerts: a fault that no clock changes, such
            as a pause of half a second, must stay short beside their durations.
    """

    inject: Injection
    history: int = 2
    also: frozenset[str] = frozenset()
    max_factor: float = 600


LIVE_FAULTS: dict[str, LiveFault] = {
    "SilklineAvailabilityBudgetBurnsFast": LiveFault(failing(1), HOUR),
    "SilklineAvailabilityBudgetBurnsSlowly": LiveFault(failing(40), DAY),
    "SilklineLatencyBudgetBurnsFast": LiveFault(late(1, streams=False), HOUR),
    "SilklineLatencyBudgetBurnsSlowly": LiveFault(late(4, streams=False), DAY),
    "SilklineFirstTokenBudgetBurnsFast": LiveFault(late(1, streams=True), HOUR),
    "SilklineFirstTokenBudgetBurnsSlowly": LiveFault(late(4, streams=True), DAY),
    "SilklineDown": LiveFault(gateways.gateway_ends),
    "SilklineNoReplica": LiveFault(engines.last_replica_lost),
    "SilklineEngineStuck": LiveFault(engines.engine_stuck),
    "SilklineWorkerRestarts": LiveFault(engines.worker_restarts),
    "SilklineReplicaEjected": LiveFault(engines.replica_ejected),
    "SilklineQuarantine": LiveFault(engines.quarantine),
    "SilklineQueueGrows": LiveFault(
        engines.queue_grows, also=frozenset({"SilklineLatencyBudgetBurnsFast"})
    ),
    "SilklineNearDuplicateFalseHits": LiveFault(gateways.false_hits),
    "SilklineCacheDegraded": LiveFault(gateways.cache_degraded),
    "SilklineGateElsewhere": LiveFault(quality.gate_elsewhere),
    "SilklineDrift": LiveFault(quality.drift),
    "SilklineCanaryChanged": LiveFault(quality.canary_changed),
    "SilklineCanaryOverdue": LiveFault(
        quality.canary_overdue, also=frozenset({"SilklineNoReplica"})
    ),
    "SilklineExperimentRolledBack": LiveFault(
        experiments.rolled_back, also=frozenset({"SilklineAvailabilityBudgetBurnsFast"})
    ),
    "SilklineExperimentSplitMismatch": LiveFault(experiments.split_mismatch),
    "SilklineExperimentStuck": LiveFault(experiments.stuck),
    "SilklineEventLoopBlocked": LiveFault(gateways.event_loop_blocked, max_factor=15),
    "SilklineDecodersCrash": LiveFault(gateways.decoders_crash),
    "SilklineMemoryGrows": LiveFault(gateways.memory_grows, 5 * HOUR),
    "SilklineCertificateExpires": LiveFault(engines.certificate_expires),
    "SilklineKeyExpires": LiveFault(gateways.key_expires),
}
