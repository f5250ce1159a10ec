"""Names elsewhere: pinned, and written down here a second time, so that a change is seen."""

import re

from silkline.core import Stage
from silkline.observe.catalogue import ALL
from silkline.observe.other_names import OTEL_NAMES, VLLM_NAMES


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
    for each in (*OTEL_NAMES, *VLLM_NAMES):
        assert re.search(r"/blob/[0-9a-f]{40}/", each.page)
        assert each.metric in ALL


def test_vllms_names_are_those_of_the_pinned_page() -> None:
    assert {(each.name.removeprefix("vllm:"), each.metric.name) for each in VLLM_NAMES} == {
        ("num_requests_running", "silkline_queue_running"),
        ("num_requests_waiting", "silkline_queue_waiting"),
        ("kv_cache_usage_perc", "silkline_replica_kv_cache_ratio"),
        ("prefix_cache_queries", "silkline_tokens_total"),
        ("prefix_cache_hits", "silkline_tokens_total"),
        ("prompt_tokens_total", "silkline_tokens_total"),
        ("generation_tokens_total", "silkline_tokens_total"),
        ("request_success_total", "silkline_requests_total"),
        ("time_to_first_token_seconds", "silkline_time_to_first_token_seconds"),
        ("inter_token_latency_seconds", "silkline_time_per_output_token_seconds"),
        ("e2e_request_latency_seconds", "silkline_request_seconds"),
        ("request_queue_time_seconds", "silkline_stage_seconds"),
        ("request_prefill_time_seconds", "silkline_stage_seconds"),
        ("request_decode_time_seconds", "silkline_stage_seconds"),
    }


def test_samples_of_a_stage_name_one_that_exists() -> None:
    stages = {
        found[1]
        for each in VLLM_NAMES
        if (found := re.fullmatch(r'stage="(\w+)"', each.samples)) is not None
    }
    assert stages == {"queue", "prefill", "generate"}
    assert stages <= {stage.value for stage in Stage}
