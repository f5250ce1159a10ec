"""All metrics of a server. Each is declared here and nowhere else; docs/metrics.md lists them.

A label has a bounded number of values: routes, models and replicas are the owner's, tenants are
counted by name only up to `admission.counts.MAX_NAMES`, the rest are enumerations.
"""

from __future__ import annotations

from silkline.observe.declared import Declared, counter, gauge, histogram

_REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.42, 0.7, 1, 2, 5, 10, 30, 60, 120)
_STAGE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2.5)
_LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
_AGE_BUCKETS = (1, 10, 60, 300, 900, 1800, 3600, 6 * 3600, 24 * 3600, 7 * 24 * 3600)
_PIXEL_BUCKETS = (1e4, 1e5, 5e5, 1e6, 2e6, 5e6, 1e7, 2e7, 5e7)
_TOKEN_BUCKETS = (16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
_SHARED_TIERS = dict.fromkeys(("disk", "redis", "objects"), max)

# --- requests and answers

REQUESTS = counter(
    "requests",
    "Requests by route, HTTP status, cache state and model.",
    "route", "code", "cache", "model",
)  # fmt: skip
ERRORS = counter(
    "errors",
    "Requests that ended in an error, by route and code, including started streams.",
    "route", "code",
)  # fmt: skip
IGNORED_FIELDS = counter("ignored_fields", "Unknown request fields that were ignored.")
REQUEST_SECONDS = histogram(
    "request_seconds",
    "Seconds from the end of a request's headers to the last byte of its response.",
    _REQUEST_BUCKETS,
    "route", "model",
)  # fmt: skip
STAGE_SECONDS = histogram(
    "stage_seconds", "Seconds that an answer spent in a stage.", _STAGE_BUCKETS, "stage", "model"
)
TIME_TO_FIRST_TOKEN = histogram(
    "time_to_first_token_seconds",
    "Seconds from the end of a streaming request's headers to its first chunk of text.",
    _REQUEST_BUCKETS,
    "model",
)
TIME_PER_OUTPUT_TOKEN = histogram(
    "time_per_output_token_seconds",
    "Mean seconds between two tokens of a computed answer, after the first one.",
    _TOKEN_SECONDS,
    "model",
)
TOKENS = counter(
    "tokens", "Tokens by kind (prompt, image, cached, completion) and model.", "kind", "model"
)
IMAGE_PIXELS = histogram(
    "image_pixels", "Pixels of an image as received, before it is reduced.", _PIXEL_BUCKETS
)
IMAGE_TOKENS = histogram(
    "image_tokens", "Prompt tokens of a request's images.", _TOKEN_BUCKETS, "model"
)
KEYED_REQUESTS = counter("idempotency_requests", "Requests with a key, by outcome.", "outcome")

# --- objectives and cost

SLO_QUESTIONS = counter(
    "slo_questions",
    "Questions that count for an objective: availability, latency or first_token.",
    "model", "objective",
)  # fmt: skip
SLO_MISSES = counter("slo_misses", "Those that missed the objective.", "model", "objective")
SLO_OBJECTIVE = gauge(
    "slo_objective_ratio", "Share of the questions that must meet it.", "objective", merge=max
)
MACHINE_PRICE = gauge(
    "machine_price_per_hour", "Price of the machine per hour; 0 if unknown.", merge=max
)

# --- the gateway process

OPEN_REQUESTS = gauge("open_requests", "Requests that are being served.")
GATEWAY_TASKS = gauge("gateway_tasks", "Tasks of the event loop.")
GATEWAY_RESIDENT = gauge("gateway_resident_bytes", "Resident memory of the gateway's processes.")
GATEWAY_STARTED = gauge(
    "gateway_start_time_seconds", "Unix time at which the newest gateway process began.", merge=max
)
CONNECTIONS_ENDED = counter("connections_ended", "Connections that the server closed.", "reason")
LOOP_LAG = histogram(
    "event_loop_lag_seconds",
    "How late the event loop wakes from a sleep of half a second.",
    _LAG_BUCKETS,
)
KEYS_EXPIRY = gauge(
    "keys_next_expiry_seconds",
    "Unix time at which the next valid API key expires; absent if none does.",
    merge=min,
)
KEYS = gauge("keys", "API keys in the keys file.", merge=max)

# --- images on their way in

RECOGNISED = counter("intake_recognised", "Requests all of whose images were known.")
FETCHES = counter("intake_fetches", "Fetches of images.")
DECODES = counter("intake_decodes", "Decodings of images.")
SHARED_FETCHES = counter(
    "intake_shared_fetches", "Images that shared the fetch of another request."
)
SHARED_DECODES = counter(
    "intake_shared_decodes", "Images that shared the decoding of another request."
)
KNOWN = gauge("intake_known", "Known images.")
KNOWN_BYTES = gauge("intake_known_bytes", "Memory of the known images' records.")
INFLIGHT_BYTES = gauge("intake_inflight_bytes", "Bytes of fetched images in memory.")
INFLIGHT_WAITING = gauge("intake_inflight_waiting", "Fetches that wait for memory.")
DECODERS = gauge("decode_processes", "Child processes that decode, by kind.", "kind")
DECODERS_BUSY = gauge("decode_busy", "Child processes that are decoding.", "kind")
DECODERS_WAITING = gauge("decode_waiting", "Images that wait for a child process.", "kind")
DECODERS_REPLACED = counter(
    "decode_replaced", "Child processes that crashed or took too long, and were replaced.", "kind"
)

# --- the answer cache

CACHE_READS = counter("cache_reads", "Reads by tier and outcome.", "tier", "outcome")
CACHE_HIT_AGE = histogram(
    "cache_hit_age_seconds", "Age of the answers that a tier returned.", _AGE_BUCKETS, "tier"
)
CACHE_ERRORS = counter("cache_errors", "Failed operations of a tier.", "tier")
CACHE_EVICTIONS = counter("cache_evictions", "Answers evicted from a tier.", "tier")
CACHE_WRITES_DROPPED = counter(
    "cache_writes_dropped", "Writes dropped because the queue was full.", "tier"
)
CACHE_WRITES_WAITING = gauge("cache_writes_waiting", "Writes waiting for a tier.", "tier")
CACHE_ENTRIES = gauge("cache_entries", "Answers in a tier.", "tier", merge_where=_SHARED_TIERS)
CACHE_BYTES = gauge(
    "cache_bytes", "Bytes of the answers in a tier.", "tier", merge_where=_SHARED_TIERS
)
CACHE_DEGRADED = gauge(
    "cache_degraded", "1 while a tier fails; its reads then miss.", "tier", merge=max
)
CACHE_COMPUTING = gauge("cache_computing", "Computations that may be shared.")
NEAR_ENTRIES = gauge("cache_near_entries", "Images in the near-duplicate index.")
NEAR_HITS = counter("cache_near_hits", "Answers reused for a near duplicate.")
NEAR_SAMPLES = counter("cache_near_samples", "Near hits that were also computed.")
NEAR_FALSE_HITS = counter("cache_near_false_hits", "Samples whose computed answer was different.")

# --- models and their queues

MODEL_LOADED = gauge("model_loaded", "0 while an idle model is unloaded.", "model", merge=max)
MODEL_MAX_BATCH = gauge(
    "model_max_batch", "Maximum requests in the batch of one worker.", "model", merge=max
)
QUEUE_PREPARING = gauge("queue_preparing", "Requests not yet in the queue.", "model")
QUEUE_WAITING = gauge("queue_waiting", "Requests waiting for an engine.", "model")
QUEUE_RUNNING = gauge("queue_running", "Requests running on an engine.", "model")
QUEUE_CAPACITY = gauge(
    "queue_capacity", "Maximum requests running on the engines.", "model", merge=max
)
QUEUE_TOKENS = gauge("queue_tokens", "Tokens of the waiting requests.", "model")
QUEUE_PIXEL_RATIO = gauge(
    "queue_pixel_ratio",
    "Minimum share of the pixel budget that a tenant gets.",
    "model",
    merge=min,
)
QUEUE_BACKLOG = gauge(
    "queue_backlog_seconds",
    "Seconds that the engines need for the work of the waiting requests (image, text and answer "
    "tokens), at their measured rate; absent while that is not known.",
    "model",
    merge=max,
)
QUEUE_WAIT = gauge(
    "queue_predicted_wait_seconds",
    "Seconds until all waiting requests have started.",
    "model",
    merge=max,
)
ADMITTED = counter("admitted", "Requests that were admitted.", "model", "tenant")
REFUSED = counter("refused", "Requests that were refused.", "model", "tenant", "reason")
RETRIES = counter("routing_retries", "Requests that were retried.", "model")
QUARANTINES = counter(
    "quarantines", "Requests that were quarantined because they ended workers.", "model"
)
CASCADE_ANSWERS = counter(
    "cascade_answers", "Answers of a cascade, by the model that gave them.", "model", "answered_by"
)
GATE_PASSED = gauge("gate_passed", "1 if the model passed its gate.", "model", "verdict", merge=max)
GATE_HERE = gauge(
    "gate_here", "1 if the model was gated on this kind of processor and GPU.", "model", merge=max
)
GATE_TIME = gauge(
    "gate_time_seconds", "Unix time at which the model was gated.", "model", merge=max
)

# --- replicas: workers and remote servers

_OF_A_REPLICA = ("model", "replica")
REPLICA_READY = gauge(
    "replica_ready", "1 while a replica accepts requests.", *_OF_A_REPLICA, merge=max
)
REPLICA_EJECTED = gauge(
    "replica_ejected",
    "1 while a replica is ejected because it failed or was slow.",
    *_OF_A_REPLICA,
    merge=max,
)
REPLICA_WEIGHT = gauge(
    "replica_weight", "A replica's relative share of the requests.", *_OF_A_REPLICA, merge=max
)
REPLICA_LIMIT = gauge(
    "replica_limit", "Maximum requests in flight on a replica.", *_OF_A_REPLICA, merge=max
)
REPLICA_REQUESTS = gauge("replica_requests", "Requests in flight on a replica.", *_OF_A_REPLICA)
REPLICA_GIVEN = counter("replica_given_requests", "Requests sent to a replica.", *_OF_A_REPLICA)
REPLICA_ERRORS = counter(
    "replica_errors",
    "Requests that a replica lost or answered with an invalid response.",
    *_OF_A_REPLICA,
)
REPLICA_RESTARTS = counter(
    "replica_restarts", "How often a replica's process was replaced.", *_OF_A_REPLICA, merge=max
)
REPLICA_RESIDENT = gauge(
    "replica_resident_bytes", "Resident memory of a replica's process.", *_OF_A_REPLICA, merge=max
)
REPLICA_BUSY = counter(
    "replica_busy_seconds",
    "Seconds in which a worker's engine had at least one request.",
    *_OF_A_REPLICA,
    merge=max,
)
REPLICA_SLOTS = counter(
    "replica_slot_seconds",
    "Requests in a worker's engine, times the seconds that they were in it.",
    *_OF_A_REPLICA,
    merge=max,
)
ENGINE_RUNNING = gauge(
    "replica_engine_running", "Requests that a replica's engine computes.", *_OF_A_REPLICA,
    merge=max,
)  # fmt: skip
ENGINE_QUEUED = gauge(
    "replica_engine_queued", "Requests that wait inside a replica's engine.", *_OF_A_REPLICA,
    merge=max,
)  # fmt: skip
KV_CACHE_RATIO = gauge(
    "replica_kv_cache_ratio", "Share of a replica's KV cache in use.", *_OF_A_REPLICA, merge=max
)
PROGRESS_AGE = gauge(
    "replica_progress_age_seconds",
    "Seconds since the last step of a replica's engine.",
    *_OF_A_REPLICA,
    merge=max,
)
CERTIFICATE_EXPIRY = gauge(
    "replica_certificate_expiry_seconds",
    "Unix time at which the TLS certificate of a remote server expires.",
    *_OF_A_REPLICA,
    merge=min,
)

# --- the machine

MACHINE_CORES = gauge("machine_cores", "Cores whose time the server may use.", merge=max)
MACHINE_MEMORY = gauge("machine_memory_bytes", "Memory of the machine or the container.", merge=max)
MACHINE_MEMORY_FREE = gauge(
    "machine_memory_free_bytes", "Memory that can still be allocated.", merge=max
)
THROTTLED_SECONDS = counter(
    "machine_throttled_seconds", "Time for which the container's CPU was throttled.", merge=max
)
PRESSURE_SECONDS = counter(
    "machine_pressure_seconds",
    "Time for which tasks waited for a resource: some of them, or all (Linux PSI).",
    "resource", "share",
    merge=max,
)  # fmt: skip
GPU_BUSY = gauge(
    "gpu_busy_ratio", "Share of the last sample in which a GPU computed.", "gpu", merge=max
)
GPU_MEMORY = gauge("gpu_memory_bytes", "Memory of a GPU.", "gpu", merge=max)
GPU_MEMORY_USED = gauge("gpu_memory_used_bytes", "Memory of a GPU in use.", "gpu", merge=max)
GPU_POWER = gauge("gpu_power_watts", "Power that a GPU draws.", "gpu", merge=max)
GPU_TEMPERATURE = gauge("gpu_temperature_celsius", "Temperature of a GPU.", "gpu", merge=max)

# --- shipping of logs

LOG_QUEUED = gauge("log_queued_bytes", "Log events in memory.")
LOG_SPOOL = gauge("log_spool_bytes", "Log events on disk that are not shipped.")
LOG_FAILING = gauge("log_failing", "1 while the log server fails.", merge=max)
LOG_SPOOLED = counter("log_spooled", "Log events that were written to the spool.")
LOG_SHIPPED = counter("log_shipped", "Log events that the log server has.")
LOG_RETRIES = counter("log_retries", "Log events that were sent again.")
LOG_DEAD = counter("log_dead", "Log events that the log server refused for good.")
LOG_DROPPED = counter("log_dropped", "Log events that were lost, by reason.", "reason")

# --- experiments

EXPERIMENT_SHARE = gauge(
    "experiment_share", "The candidate's share of the requests, 0 to 1.", "experiment", merge=max
)
EXPERIMENT_SERVING = gauge(
    "experiment_serving",
    "1 for what answers: both models (split), the model, the candidate, or paused: the model.",
    "experiment", "serving", merge=max,
)  # fmt: skip
EXPERIMENT_REQUESTS = counter(
    "experiment_requests", "Requests of an arm that ended.", "experiment", "arm"
)
EXPERIMENT_FAILURES = counter(
    "experiment_failures", "Requests of an arm that failed.", "experiment", "arm"
)
EXPERIMENT_REWARDS = counter(
    "experiment_rewards", "Requests of an arm with feedback.", "experiment", "arm"
)
EXPERIMENT_SHADOW = counter(
    "experiment_shadow_requests",
    "Requests in the sample of a shadow: compared, or why not (busy, budget, failed, unscored).",
    "experiment", "outcome",
)  # fmt: skip
EXPERIMENT_SHADOW_SECONDS = counter(
    "experiment_shadow_seconds", "Seconds that a shadow and its judges computed.", "experiment"
)
EXPERIMENT_SCORE = gauge(
    "experiment_score",
    "Mean score of the candidate's answers over the model's, -1 to 1.",
    "experiment", "scorer", merge=max,
)  # fmt: skip
EXPERIMENT_VERDICTS = counter(
    "experiment_verdicts",
    "Decisions that the evidence took, by what answers from then on.",
    "experiment", "serving",
)  # fmt: skip
EXPERIMENT_MISMATCH = gauge(
    "experiment_mismatch", "1 while the arms' sizes differ by more than chance.", "experiment",
    merge=max,
)  # fmt: skip
EXPERIMENT_INTERVAL = gauge(
    "experiment_interval",
    "Latency over the control's, reward minus the control's (gain), or share of failures: its "
    "estimate, and the low and high end of its interval.",
    "experiment", "metric", "bound", merge=max,
)  # fmt: skip
EXPERIMENT_LOST = counter(
    "experiment_lost", "Requests that do not count since the journal failed.", "experiment"
)

# --- drift and the canary set

_OF_A_FEATURE = ("model", "feature")
DRIFT_WINDOWS = counter("drift_windows", "Windows of traffic that were compared.", "model")
DRIFT_WINDOW_END = gauge(
    "drift_window_end_seconds", "Unix time at which the last window ended.", "model", merge=max
)
DRIFT_INDEX = gauge(
    "drift_index",
    "Population stability index of a feature: the last window beside the baseline.",
    *_OF_A_FEATURE,
    merge=max,
)
DRIFT_LIMIT = gauge(
    "drift_limit", "The index up to which a feature is unchanged.", *_OF_A_FEATURE, merge=max
)
DRIFT_DETECTED = gauge(
    "drift_detected", "1 if the index was above the limit.", *_OF_A_FEATURE, merge=max
)
CANARY_ITEMS = gauge("canary_items", "Items of the canary set.", "model", merge=max)
CANARY_TIME = gauge(
    "canary_run_time_seconds", "Unix time of the last run of the canary set.", "model", merge=max
)
CANARY_ANSWERS = gauge(
    "canary_answers",
    "Answers of the last run that changed, were unsteady, failed or were skipped.",
    "model", "state", merge=max,
)  # fmt: skip
CANARY_SCORE = gauge("canary_score", "Mean score of the last run.", "model", "metric", merge=max)

# --- batches

BATCH_UNFINISHED = gauge("batch_unfinished", "Batches that have not ended.", merge=max)
BATCH_WAITING = gauge("batch_waiting_requests", "Requests of batches without a result.", merge=max)
BATCH_REQUESTS = counter(
    "batch_requests", "Requests of batches with a result: completed or failed.", "outcome"
)
BATCH_PREEMPTED = counter(
    "batch_preempted", "Requests of batches that were stopped for live traffic, to start again."
)
BATCH_FILE_BYTES = gauge("batch_file_bytes", "Bytes of all stored files.", merge=max)

ALL: tuple[Declared, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Declared)
)
"""All metrics, in the order of declaration."""

MERGED_BY = {key: rule for metric in ALL for key, rule in metric.rules.items()}
"""How the families of several gateway processes are merged; see `families.MergedMetrics`."""
