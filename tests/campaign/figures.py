"""What a campaign measured, written where the reliability page takes it from."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / ".cache" / "campaign"


def record(case: str, *, seed: int, whole: bool, **figures: Any) -> None:
    """Writes the figures of a case as JSON, and prints them.

    Args:
        case: Names the file; letters, digits and dashes.
        seed: What replays it.
        whole: Whether it ran in its whole size.
        figures: What was measured.
    """
    size = "whole" if whole else "sample"
    told = {
        "case": case,
        "size": size,
        "seed": seed,
        "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "load_before": round(os.getloadavg()[2], 2),
        **figures,
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    text = json.dumps(told, indent=2, ensure_ascii=False)
    (FOLDER / f"{case}-{size}.json").write_text(text + "\n", encoding="utf-8")
    print(text)  # noqa: T201 - shown by pytest -s, and when the test fails
