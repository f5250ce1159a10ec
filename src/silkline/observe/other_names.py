"""The names that OpenTelemetry's conventions for generative AI, and vLLM, have for our metrics.

Both rename metrics often, so each page is pinned to a commit. A collector that wants these names
can rename ours by these tables.
"""

from __future__ import annotations

from dataclasses import dataclass

from silkline.observe import catalogue
from silkline.observe.declared import Declared

_ROOT = "https://github.com/open-telemetry/semantic-conventions-genai/blob"
SERVER_PAGE = f"{_ROOT}/004902b8cb70aa5ae6ca4ae07132b7daabcd3e10/docs/gen-ai/gen-ai-metrics.md"
USAGE_PAGE = (
    f"{_ROOT}/ef678ba719ea37126378b12e2f434426cdf574cc/docs/gen-ai/"
    "gen-ai-inference-usage-metrics.md"
)
_USAGE = "gen_ai.client.inference.usage.detailed"


@dataclass(frozen=True, slots=True)
class OtherName:
    """A metric elsewhere.

    Attributes:
        name: Its name there.
        metric: Our metric.
        page: The page that defines it, at a commit.
        samples: Which samples of our metric it is, in PromQL's words.
        attributes: Their attributes there.
    """

    name: str
    metric: Declared
    page: str
    samples: str = ""
    attributes: str = ""


OTEL_NAMES = (
    OtherName("gen_ai.server.request.duration", catalogue.REQUEST_SECONDS, SERVER_PAGE),
    OtherName("gen_ai.server.time_to_first_token", catalogue.TIME_TO_FIRST_TOKEN, SERVER_PAGE),
    OtherName("gen_ai.server.time_per_output_token", catalogue.TIME_PER_OUTPUT_TOKEN, SERVER_PAGE),
    OtherName(
        f"{_USAGE}.input_tokens",
        catalogue.TOKENS,
        USAGE_PAGE,
        'kind="image"',
        'gen_ai.token.modality="image"',
    ),
    OtherName(
        f"{_USAGE}.input_tokens",
        catalogue.TOKENS,
        USAGE_PAGE,
        'kind="prompt" minus kind="image"',
        'gen_ai.token.modality="text"',
    ),
    OtherName(
        f"{_USAGE}.output_tokens",
        catalogue.TOKENS,
        USAGE_PAGE,
        'kind="completion"',
        'gen_ai.token.modality="text"',
    ),
    OtherName(
        f"{_USAGE}.cache_read.input_tokens",
        catalogue.TOKENS,
        USAGE_PAGE,
        'kind="cached"',
        'gen_ai.token.modality="unknown"',
    ),
)
"""Those of OpenTelemetry; a label `model` is `gen_ai.response.model`."""

VLLM_PAGE = (
    "https://github.com/vllm-project/vllm/blob/f7e3a0879e633f9924d477b85a3775cb1ae2a2e5/"
    "docs/design/metrics.md"
)


def _vllm(name: str, metric: Declared, samples: str = "") -> OtherName:
    return OtherName(f"vllm:{name}", metric, VLLM_PAGE, samples)


VLLM_NAMES = (
    _vllm("num_requests_running", catalogue.QUEUE_RUNNING),
    _vllm("num_requests_waiting", catalogue.QUEUE_WAITING),
    _vllm("kv_cache_usage_perc", catalogue.KV_CACHE_RATIO),
    _vllm("prefix_cache_queries", catalogue.TOKENS, 'kind="prompt"'),
    _vllm("prefix_cache_hits", catalogue.TOKENS, 'kind="cached"'),
    _vllm("prompt_tokens_total", catalogue.TOKENS, 'kind="prompt"'),
    _vllm("generation_tokens_total", catalogue.TOKENS, 'kind="completion"'),
    _vllm("request_success_total", catalogue.REQUESTS, 'code="200"'),
    _vllm("time_to_first_token_seconds", catalogue.TIME_TO_FIRST_TOKEN),
    _vllm("inter_token_latency_seconds", catalogue.TIME_PER_OUTPUT_TOKEN, "mean of each answer"),
    _vllm("e2e_request_latency_seconds", catalogue.REQUEST_SECONDS),
    _vllm("request_queue_time_seconds", catalogue.STAGE_SECONDS, 'stage="queue"'),
    _vllm("request_prefill_time_seconds", catalogue.STAGE_SECONDS, 'stage="prefill"'),
    _vllm("request_decode_time_seconds", catalogue.STAGE_SECONDS, 'stage="generate"'),
)
"""Those of vLLM; a label `model` is `model_name`."""
