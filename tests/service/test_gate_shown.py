"""What a server says about the gate of its model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from prometheus_client.core import Metric

from silkline.core import EngineInfo
from silkline.engines.machine import this_machine
from silkline.errors import Overloaded
from silkline.models.gate import GateRecord, Machine, Verdict
from silkline.observe.declared import families
from silkline.routing.pool import EnginePool
from silkline.service.model import ModelFiles
from silkline.service.model_metrics import gate_readings
from silkline.service.served_model import ServedModel
from tests.models.gates import gated, make_bundle
from tests.service.models import served_by


class Pool:
    """A pool with one engine, or with none that has started."""

    def __init__(self, engine: str) -> None:
        self._engine = engine

    @property
    def info(self) -> EngineInfo:
        if not self._engine:
            raise Overloaded("The model is still loading.", retry_after=1)
        return EngineInfo(self._engine, "tiny", "abc", "int8", 128, 4)


def model(record: GateRecord | None, engine: str = "openvino") -> ServedModel:
    files = ModelFiles(Path("tiny"), "tiny", "abc", gate=record)
    return served_by(lambda: cast("EnginePool", Pool(engine)), files, served_name="tiny")


def values(metrics: list[Metric]) -> dict[str, Any]:
    return {each.name: (sample.labels, sample.value) for each in metrics for sample in each.samples}


def test_a_gated_model_has_metrics(tmp_path: Path) -> None:
    record = gated(make_bundle(tmp_path), machine=this_machine())
    found = values(list(families(gate_readings([model(record)]))))
    assert found == {
        "silkline_gate_passed": ({"model": "tiny", "verdict": "passed"}, 1.0),
        "silkline_gate_here": ({"model": "tiny"}, 1.0),
        "silkline_gate_time_seconds": ({"model": "tiny"}, 1767323045.0),
    }
    elsewhere = Machine("cpu", "AVX-9", (), "", 2, 2**33, "Linux 6")
    refused = msgspec.structs.replace(record, verdict=Verdict.REFUSED, machine=elsewhere)
    found = values(list(families(gate_readings([model(refused)]))))
    assert found["silkline_gate_passed"] == ({"model": "tiny", "verdict": "refused"}, 0.0)
    assert found["silkline_gate_here"] == ({"model": "tiny"}, 0.0)


@pytest.mark.parametrize("engine", ["torch", ""])
def test_a_gate_of_another_engine_or_a_model_that_loads_shows_none(
    tmp_path: Path, engine: str
) -> None:
    record = gated(make_bundle(tmp_path))
    assert values(list(families(gate_readings([model(record, engine), model(None)])))) == {}
