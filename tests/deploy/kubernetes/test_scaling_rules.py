"""The recorded metrics that engines scale on, in a real promtool."""

from __future__ import annotations

import json
from pathlib import Path

from tests.deploy.promtool import promtool, rendered


def check(folder: Path, series: dict[str, str], expected: dict[str, float]) -> None:
    """Compares what the rendered rules record after 15 minutes."""
    rendered(folder)
    document = {
        "rule_files": [str(folder / "prometheus" / "rules" / "*.yml")],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": text} for name, text in series.items()],
                "promql_expr_test": [
                    {
                        "expr": name,
                        "eval_time": "15m",
                        "exp_samples": [{"labels": name, "value": value}],
                    }
                    for name, value in expected.items()
                ],
            }
        ],
    }
    file = folder / "test.yml"
    file.write_text(json.dumps(document))
    promtool("test", "rules", file)


def test_the_metrics_of_two_gateways_and_two_engines(tmp_path: Path) -> None:
    """Each gateway sees both engines: capacities are not added, requests and queues are."""

    def gateway(name: str, of: str) -> str:
        return f'silkline_queue_{name}{{instance="{of}",model="m"}}'

    def busy(of: str) -> str:
        return f'silkline_replica_busy_seconds_total{{instance="{of}",model="m",replica="w"}}'

    series = {
        gateway("waiting", "g1"): "12+0x20",
        gateway("waiting", "g2"): "4+0x20",
        gateway("running", "g1"): "20+0x20",
        gateway("running", "g2"): "12+0x20",
        gateway("capacity", "g1"): "32+0x20",
        gateway("capacity", "g2"): "32+0x20",
        gateway("backlog_seconds", "g1"): "6+0x20",
        gateway("backlog_seconds", "g2"): "2+0x20",
        busy("e1"): "0+60x20",
        busy("e2"): "0+30x20",
        'silkline_queue_waiting{instance="g1",model="none"}': "3+0x20",
        'silkline_queue_running{instance="g1",model="none"}': "0+0x20",
        'silkline_queue_capacity{instance="g1",model="none"}': "0+0x20",
    }
    expected = {
        'silkline:backlog_seconds{model="m"}': 6,
        'silkline:pool_saturation:ratio{model="m"}': 1.5,
        'silkline:engines_busy:ratio5m{model="m"}': 0.75,
        # Without an engine, each request counts whole: more than 1 asks for engines.
        'silkline:pool_saturation:ratio{model="none"}': 3,
    }
    check(tmp_path, series, expected)
