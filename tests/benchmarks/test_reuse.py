"""The benchmark of reuse, on the bundled model: that it runs and sees what is reused."""

import pytest

from benchmarks.reuse import Report, markdown, measure
from silkline.models.resolve import bundled_folder

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("engine", ["openvino", "torch"])
async def test_it_measures_an_engine_with_reuse_and_without(engine: str) -> None:
    pytest.importorskip({"openvino": "openvino_genai"}.get(engine, engine))
    found = [
        await measure(engine, bundled_folder(), reuse=reuse, rounds=1, bursts=1, start=0)
        for reuse in (False, True)
    ]
    off, on = found
    assert off.cached == 0 < on.cached < 1
    assert all(each.first > 0 and each.again > 0 for each in found)
    page = markdown(Report("command", {}, {}, found))
    assert page.count(f"| {engine} | on |") == 2
