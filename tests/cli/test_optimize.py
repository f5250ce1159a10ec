import json
from pathlib import Path

import pytest

from silkline.models.resolve import resolve_model
from tests.cli.commands import Ended, invoked
from tests.cli.test_evaluate import write_set
from tests.optimize.bundles import make_exact


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_exact(tmp_path_factory.mktemp("bundles") / "exact")


def optimize(*arguments: object) -> Ended:
    return invoked("optimize", *arguments)


def test_what_there_is_and_whether_it_applies(exact: Path) -> None:
    found = optimize(exact, "--json")
    assert found.code == 0, found.error
    why = {each["name"]: each["why_not"] for each in json.loads(found.output)}
    assert why["vision-int8-static"] == why["decoder-int4"] == why["kv-u8"] == ""
    assert why["kv-f16"] == "its KV cache is f16 already"
    bundled = optimize("silkline-mini")
    assert "no: its weights are int8 already; start from a bundle of fp16" in bundled.output


def test_the_tower_is_calibrated_with_images_of_a_set(exact: Path, tmp_path: Path) -> None:
    out, data = tmp_path / "new", write_set(tmp_path, 12)
    found = optimize(
        *(exact, "--apply", "vision-int8-static", "--apply", "kv-u8", "--out", out),
        *("--data", data, "--images", 8, "--json"),
    )
    assert found.code == 0, found.error
    shown = json.loads(found.output)
    assert (shown["optimized_from"], shown["calibration_images"]) == ("tiny@abc", 8)
    manifest = resolve_model(str(out)).manifest
    assert manifest.calibration is not None
    assert (len(manifest.calibration.images), manifest.calibration.dataset) == (8, "set")
    entry = manifest.engines["openvino"]
    assert (entry.vision_precision, entry.kv_precision) == ("int8 static", "u8")


def test_the_next_command_is_named(exact: Path, tmp_path: Path) -> None:
    found = optimize(exact, "--apply", "kv-u8", "--out", tmp_path / "new")
    assert found.code == 0, found.error
    assert f"silkline gate {tmp_path / 'new'} --against {exact} --require" in found.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--apply", "kv-u8"), "needs --out"),
        (
            ("--apply", "kv-u9", "--out", "new"),
            "There is no optimisation kv-u9. Known are: decoder",
        ),
        (("--apply", "kv-f16", "--out", "new"), "kv-f16 does not apply to tiny"),
        (("--apply", "vision-int8-static", "--out", "new"), "Name a set of them by --data"),
        (("--apply", "kv-u8", "--out", "."), "exists already"),
    ],
)
def test_what_cannot_be_done(exact: Path, arguments: tuple[str, ...], message: str) -> None:
    found = optimize(exact, *arguments)
    assert found.code == 2
    assert message in found.error
