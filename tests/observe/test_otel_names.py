"""OpenTelemetry's names: pinned, and written down here a second time, so that a change is seen."""

import re

from silkline.observe.catalogue import ALL
from silkline.observe.otel_names import OTEL_NAMES


def test_the_names_are_those_of_the_pinned_pages() -> None:
    assert {(each.name, each.metric.name, each.attributes) for each in OTEL_NAMES} == {
        ("gen_ai.server.request.duration", "silkline_request_seconds", ""),
        ("gen_ai.server.time_to_first_token", "silkline_time_to_first_token_seconds", ""),
        ("gen_ai.server.time_per_output_token", "silkline_time_per_output_token_seconds", ""),
        *(
            (
                f"gen_ai.client.inference.usage.detailed.{name}",
                "silkline_tokens_total",
                f'gen_ai.token.modality="{modality}"',
            )
            for name, modality in (
                ("input_tokens", "image"),
                ("input_tokens", "text"),
                ("output_tokens", "text"),
                ("cache_read.input_tokens", "unknown"),
            )
        ),
    }


def test_each_is_pinned_to_a_commit_and_is_a_declared_metric() -> None:
    for each in OTEL_NAMES:
        assert re.search(r"/blob/[0-9a-f]{40}/", each.page)
        assert each.metric in ALL
