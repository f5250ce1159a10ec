"""The names that OpenTelemetry's conventions for generative AI have for our metrics.

The conventions are in development and rename metrics often, so each page is pinned to a commit. A
collector that wants these names can rename ours by this table.
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
class OtelName:
    """A metric of the conventions.

    Attributes:
        name: Its name in the conventions.
        metric: Our metric.
        page: The page that defines it, at a commit.
        samples: Which samples of our metric it is, in PromQL's words.
        attributes: Their attributes in the conventions.
    """

    name: str
    metric: Declared
    page: str
    samples: str = ""
    attributes: str = ""


OTEL_NAMES = (
    OtelName("gen_ai.server.request.duration", catalogue.REQUEST_SECONDS, SERVER_PAGE),
    OtelName("gen_ai.server.time_to_first_token", catalogue.TIME_TO_FIRST_TOKEN, SERVER_PAGE),
    OtelName("gen_ai.server.time_per_output_token", catalogue.TIME_PER_OUTPUT_TOKEN, SERVER_PAGE),
    OtelName(
        f"{_USAGE}.input_tokens",
        catalogue.TOKENS,
        USAGE_PAGE,
        'kind="image"',
        'gen_ai.token.modality="image"',
    ),
    OtelName(
        f"{_USAGE}.input_tokens",
        catalogue.TOKENS,
        USAGE_PAGE,
        'kind="prompt" minus kind="image"',
        'gen_ai.token.modality="text"',
    ),
    OtelName(
        f"{_USAGE}.output_tokens",
        catalogue.TOKENS,
        USAGE_PAGE,
        'kind="completion"',
        'gen_ai.token.modality="text"',
    ),
    OtelName(
        f"{_USAGE}.cache_read.input_tokens",
        catalogue.TOKENS,
        USAGE_PAGE,
        'kind="cached"',
        'gen_ai.token.modality="unknown"',
    ),
)
"""All of them; a label `model` is `gen_ai.response.model`."""
