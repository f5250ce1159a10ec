from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from silkline.core import Stage, Timeline, Usage
from silkline.observe.metrics import Metrics


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def test_an_answer_is_counted_by_kind_and_stage() -> None:
    metrics = Metrics()
    metrics.answered(Usage(70, 5, 64, 3), Timeline({Stage.QUEUE: 0.1, Stage.PREFILL: 0.2}))
    seen = samples(metrics)
    tokens = {
        kind: seen["silkline_tokens_total", frozenset({("kind", kind)})]
        for kind in ("prompt", "image", "cached", "completion")
    }
    assert tokens == {"prompt": 70, "image": 64, "cached": 3, "completion": 5}
    queue = frozenset({("stage", "queue")})
    assert seen["silkline_stage_seconds_sum", queue] == 0.1


def test_what_is_watched_is_read_when_asked() -> None:
    metrics = Metrics()
    state = {"ready": 0.0}
    metrics.add_source(
        lambda: [GaugeMetricFamily("silkline_ready", "Ready.", value=state["ready"])]
    )
    assert samples(metrics)["silkline_ready", frozenset()] == 0
    state["ready"] = 1.0
    assert samples(metrics)["silkline_ready", frozenset()] == 1


def test_two_gateways_do_not_mix() -> None:
    first, second = Metrics(), Metrics()
    first.request_ended("/predict", 200, "miss", "m", 0.1)
    assert b'route="/predict"' in first.render()
    assert b'route="/predict"' not in second.render()
