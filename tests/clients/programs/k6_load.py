"""k6: the load generator runs `k6_load.js` against the server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from cases import MODEL, RED, V1, case, check, in_base64, main

K6 = Path(sys.executable).with_name("k6")
SCRIPT = Path(__file__).with_suffix(".js")


def metrics(stream: str) -> Any:
    """Runs k6, and returns its summary's metrics."""
    with tempfile.TemporaryDirectory() as folder:
        summary = Path(folder) / "summary.json"
        ran = subprocess.run(
            [K6, "run", "--quiet", "--summary-export", summary, SCRIPT],
            env={
                **os.environ,
                "K6_NO_USAGE_REPORT": "true",
                "BASE_URL": V1,
                "MODEL": MODEL,
                "IMAGE": in_base64(RED),
                "STREAM": stream,
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        check(ran.returncode == 0, ran.stdout + ran.stderr)
        return json.loads(summary.read_text())["metrics"]


@case("image", "http.post")
def image() -> None:
    found = metrics("")
    check(found["checks"]["fails"] == 0 and found["checks"]["passes"] >= 20, found)


@case("stream", "http.post, stream: true")
def stream() -> None:
    found = metrics("yes")
    check(found["checks"]["fails"] == 0 and found["checks"]["passes"] >= 20, found)


if __name__ == "__main__":
    main("k6")
