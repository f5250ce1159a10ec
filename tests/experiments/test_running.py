"""Which ends of requests count for the arms of a server's experiments."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from silkline.config import load_settings
from silkline.experiments.assignment import Arm
from silkline.experiments.running import Experiments
from silkline.service.models import ServedModels
from silkline.service.record import RequestRecord

TRIAL = """
[engine]
engine = "fake"
[models.shop]
[models.next]
[experiments.trial]
model = "shop"
candidate = "next"
"""


@pytest.mark.parametrize(("error", "counted"), [("overloaded", 1), (None, 2)])
async def test_failures_count_once_both_models_have_started(
    error: str | None, counted: int, tmp_path: Path
) -> None:
    file = tmp_path / "silkline.toml"
    file.write_text(TRIAL)
    models = {name: SimpleNamespace(ready=name == "shop") for name in ("shop", "next")}
    found = cast("ServedModels", SimpleNamespace(find=models.get))
    experiments = Experiments(load_settings(file, {}, {}), found)
    trial = experiments.get("trial")
    assert trial is not None
    async with experiments.running():
        for name, is_ready in (("while it starts", False), ("when it has started", True)):
            models["next"].ready = is_ready
            record = RequestRecord(name, experiment="trial", arm=Arm.CANDIDATE.value, error=error)
            experiments.ended(record, 0.1)
            await trial.flush()
        assert trial.tally.requests(Arm.CANDIDATE) == counted
