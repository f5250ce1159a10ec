"""What requests leave in the metrics, in both text formats."""

import re

import pytest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from silkline.config import SloSettings
from silkline.core import Stage, Timeline, Usage
from silkline.observe.declared import families
from silkline.observe.exposition import Format
from silkline.observe.metrics import MAX_EXEMPLAR_CHARACTERS, Metrics


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def of(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[name, frozenset(labels.items())]


def test_an_answer_is_counted_by_kind_stage_and_model() -> None:
    metrics = Metrics()
    metrics.answered("m", Usage(70, 5, 64, 3), Timeline({Stage.QUEUE: 0.1, Stage.PREFILL: 0.2}))
    kinds = ("prompt", "image", "cached", "completion")
    tokens = {kind: of(metrics, "silkline_tokens_total", kind=kind, model="m") for kind in kinds}
    assert tokens == {"prompt": 70, "image": 64, "cached": 3, "completion": 5}
    assert of(metrics, "silkline_stage_seconds_sum", stage="queue", model="m") == 0.1


def test_the_time_for_each_token_leaves_out_the_first_token() -> None:
    metrics = Metrics()
    metrics.answered("m", Usage(70, 5), Timeline({Stage.PREFILL: 1.0, Stage.GENERATE: 0.8}))
    metrics.answered("m", Usage(70, 1), Timeline({Stage.PREFILL: 1.0, Stage.GENERATE: 0.1}))
    metrics.answered("m", Usage(70, 5), Timeline({Stage.CACHE: 0.1}))
    name = "silkline_time_per_output_token_seconds"
    assert of(metrics, f"{name}_count", model="m") == 1
    assert of(metrics, f"{name}_sum", model="m") == pytest.approx(0.2)


def test_what_is_watched_is_read_when_asked() -> None:
    metrics = Metrics()
    state = {"ready": 0.0}
    metrics.add_source(
        lambda: [GaugeMetricFamily("silkline_ready", "Ready.", value=state["ready"])]
    )
    assert of(metrics, "silkline_ready") == 0
    state["ready"] = 1.0
    assert of(metrics, "silkline_ready") == 1


def test_two_gateways_do_not_mix() -> None:
    first, second = Metrics(), Metrics()
    first.request_ended("/predict", 200, "miss", "m", 0.1)
    assert b'route="/predict"' in first.render()
    assert b'route="/predict"' not in second.render()


def test_openmetrics_shows_one_request_of_each_bucket() -> None:
    metrics = Metrics()
    for seconds, request_id in ((0.15, "first"), (0.16, "second"), (7.0, "slow")):
        metrics.request_ended("/predict", 200, "miss", "m", seconds, request_id)
    text = metrics.render(Format.OPENMETRICS).decode()
    exemplars = {
        (sample.labels["le"], sample.exemplar.labels["request_id"], sample.exemplar.value)
        for family in openmetrics(text)  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.exemplar
    }
    assert exemplars == {("0.2", "second", 0.16), ("10.0", "slow", 7.0)}
    assert 'slow"' not in metrics.render().decode()


@pytest.mark.parametrize("length", [MAX_EXEMPLAR_CHARACTERS, MAX_EXEMPLAR_CHARACTERS + 1, 128])
def test_a_long_request_id_is_counted_too(length: int) -> None:
    metrics = Metrics()
    metrics.request_ended("/predict", 200, "miss", "m", 0.1, "x" * length)
    text = metrics.render(Format.OPENMETRICS).decode()
    assert ("x" * length in text) is (length <= MAX_EXEMPLAR_CHARACTERS)
    assert re.search(r"silkline_request_seconds_count\{.*\} 1", text)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Format.TEXT),
        ("*/*", Format.TEXT),
        ("text/plain;version=0.0.4", Format.TEXT),
        ("application/openmetrics-text;version=1.0.0;q=0.5, text/plain;q=0.3", Format.OPENMETRICS),
        ("text/plain, application/openmetrics-text", Format.OPENMETRICS),
        ("application/openmetrics-textual", Format.TEXT),
    ],
)
def test_the_client_chooses_the_format(accept: str, form: Format) -> None:
    assert Format.accepted(accept) is form


def test_objectives_count_what_missed_them() -> None:
    metrics = Metrics(SloSettings(slo_latency_seconds=2, slo_first_token_seconds=1))
    objectives = metrics.objectives
    for seconds in (0.5, 2.0, 2.1):
        objectives.answered("m", seconds)
    objectives.failed("m")
    metrics.first_token("m", 1.5)
    metrics.add_source(lambda: families(objectives.readings(["m", "idle"])))

    def counts(model: str, objective: str) -> tuple[float, float]:
        labels = {"model": model, "objective": objective}
        questions = of(metrics, "silkline_slo_questions_total", **labels)
        return questions, of(metrics, "silkline_slo_misses_total", **labels)

    assert counts("m", "availability") == (4, 1)
    assert counts("m", "latency") == (3, 1)
    assert counts("m", "first_token") == (1, 1)
    assert counts("idle", "availability") == (0, 0)
    assert of(metrics, "silkline_slo_objective_ratio", objective="availability") == 0.995
