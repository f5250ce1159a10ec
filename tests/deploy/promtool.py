"""promtool, and the input of its rule tests."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.cli.commands import invoked

INSTALL = "apt-get update && apt-get install -y prometheus prometheus-alertmanager"


def program(name: str) -> str:
    found = shutil.which(name)
    assert found, f"{name} is missing: {INSTALL}"
    return found


def promtool(*arguments: object) -> None:
    ended = subprocess.run(
        [program("promtool"), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def rendered(folder: Path, settings: str = "", *targets: str) -> Path:
    """Renders targets, by default Prometheus', and returns the folder."""
    config = folder / "silkline.toml"
    config.write_text(settings)
    ended = invoked("render", *(targets or ("prometheus",)), "-o", folder, "--config", config)
    assert ended.code == 0, ended.error
    return folder


def rising(*parts: tuple[float, int], step: int = 1) -> str:
    """A counter that rises by so much a minute, for so many minutes; a value each `step`."""
    text, value = ["0"], 0.0
    for rate, minutes in parts:
        text.append(f"{value + rate * step:g}{rate * step:+g}x{minutes // step - 1}")
        value += rate * minutes
    return " ".join(text)


def level(*parts: tuple[float, int]) -> str:
    """A gauge that has a value for so many minutes."""
    return " ".join(f"{value:g}+0x{minutes - 1}" for value, minutes in parts)


class RuleTest:
    """One test for promtool: series, and how many alerts fire at which minute."""

    def __init__(self, series: dict[str, str], step: int = 1) -> None:
        """Takes series with a value each `step` minutes, which is also the evaluation interval."""
        self._series = series
        self._interval = f"{step}m"
        self._expected: list[dict[str, object]] = []

    def fires(self, minute: float, count: int, alert: str = ".*", labels: str = "") -> None:
        firing = f'ALERTS{{alertstate="firing",alertname=~"{alert}"{labels}}}'
        self._expected.append(
            {
                "expr": f"count({firing}) or vector(0)",
                "eval_time": f"{round(minute * 60)}s",
                "exp_samples": [{"labels": "{}", "value": count}],
            }
        )

    def run(self, rules: Path, folder: Path) -> None:
        document = {
            "rule_files": [str(rules / "rules" / "*.yml")],
            "evaluation_interval": self._interval,
            # Else an alert may see ratios of the evaluation before, which a long step makes stale.
            "group_eval_order": ["silkline-objectives", "silkline-engines", "silkline-alerts"],
            "tests": [
                {
                    "interval": self._interval,
                    "input_series": [
                        {"series": name, "values": values} for name, values in self._series.items()
                    ],
                    "promql_expr_test": self._expected,
                }
            ],
        }
        file = folder / "test.yml"
        file.write_text(json.dumps(document))  # JSON is YAML
        promtool("test", "rules", file)


def check_rules(files: Sequence[Path]) -> None:
    promtool("check", "rules", *files)
