"""How many threads a model gets when nobody says."""

from pathlib import Path

import pytest

from silkline.engines.openvino.engine import usual_threads

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("mebibytes", "cores", "threads"),
    [(14, 1, 1), (14, 2, 1), (14, 16, 8), (64, 2, 0), (900, 16, 0)],
)
def test_a_small_model_leaves_cores_to_others(
    tmp_path: Path, mebibytes: int, cores: int, threads: int
) -> None:
    for name in ("vision.bin", "language.bin"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(mebibytes * MIB // 2)
    assert usual_threads(tmp_path, cores) == threads
