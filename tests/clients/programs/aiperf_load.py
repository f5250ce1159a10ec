"""AIPerf: measures the server with synthetic images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from cases import MODEL, URL, case, check, main

AIPERF = Path(sys.executable).with_name("aiperf")
REQUESTS = 10


def measured(endpoint: str, *more: str) -> Any:
    """Runs AIPerf, and returns its report."""
    images = ("--image-width-mean", "64", "--image-height-mean", "64", "--image-format", "png")
    with tempfile.TemporaryDirectory() as folder:
        ran = subprocess.run(
            [
                AIPERF, "profile", "--model", MODEL, "--url", URL, "--endpoint-type", endpoint,
                "--tokenizer", os.environ["TOKENIZER"], "--synthetic-input-tokens-mean", "20",
                "--output-tokens-mean", "8", "--request-rate", "10", "--request-count",
                str(REQUESTS), "--random-seed", "1", "--ui-type", "none",
                "--no-gpu-telemetry", "--workers-max", "1",
                "--output-artifact-dir", folder, *(images if endpoint == "chat" else ()), *more,
            ],
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )  # fmt: skip
        check(ran.returncode == 0, ran.stdout + ran.stderr)
        return json.loads(next(Path(folder).rglob("*aiperf.json")).read_text())


@case("stream", "--endpoint-type chat --streaming, with images")
def stream() -> None:
    report = measured("chat", "--streaming")
    check(report["request_count"]["avg"] == REQUESTS, report)
    check(not report.get("error_summary"), report)
    check(report["time_to_first_token"]["avg"] > 0, report)


if __name__ == "__main__":
    main("aiperf")
