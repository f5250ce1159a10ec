import hashlib
import json
import re
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from openvino import opset13 as opset

from silkline.config import EngineSettings
from silkline.errors import ConfigError
from silkline.evaluate.dataset_location import HELD_OUT, find_set
from silkline.evaluate.datasets import load_dataset
from silkline.models.resolve import bundled_folder
from silkline.service.model import prepare_model
from tests.cli.commands import Ended, invoked
from tests.cli.test_evaluate import FAKE, lines_of, write_set
from tests.cli.test_main import run
from tests.serving import served

OTHER = FAKE.replace("=4", "=5")


def gate(*arguments: object) -> Ended:
    return invoked("gate", *arguments)


@pytest.mark.slow
def test_an_equal_model_passes_another_is_refused_and_a_second_run_asks_nothing(
    tmp_path: Path,
) -> None:
    data, out = write_set(tmp_path, 60), tmp_path / "out"
    common = ("--against", FAKE, "--data", data, "--out", out, "--json", "--require")
    same = gate(FAKE, *common, "agreement>=90%")
    assert same.code == 0, same.error
    record = json.loads(same.output)["record"]
    assert (record["verdict"], record["items"], record["images"]) == ("passed", 60, 60)
    assert record["machine"]["cores"] >= 1
    assert record["versions"]["silkline"]
    written = json.loads((out / "gate.json").read_text())
    assert written["record"] == record
    # the fake engine tells its probabilities, and no answer is right
    assert all(0 < side["calibration_error"] <= 1 for side in written["evaluation"]["results"])
    page = (out / "gate.html").read_text()
    assert "Passed: every requirement holds" in page
    assert "agreement&gt;=90%" in page
    assert not re.search(r"<script|<link|(src|href)=.(?!data:)", page)
    assert len(lines_of(out / "answers.jsonl")) == 120
    other = gate(OTHER, *common, "agreement>=90%")
    assert other.code == 3, other.error
    assert json.loads(other.output)["record"]["verdict"] == "refused"
    assert len(lines_of(out / "answers.jsonl")) == 180  # the baseline's answers were there


@pytest.mark.full
def test_both_are_loaded_side_by_side(tmp_path: Path) -> None:
    data, out = write_set(tmp_path, 8), tmp_path / "out"
    found = gate(
        *(f"{FAKE} max_batch=4", "--against", FAKE, "--data", data, "--out", out),
        *("--require", "p50<=60s", "--require", "throughput>=0.001x", "--require", "memory<=9GiB"),
        *("--for", "2s", "--slice", "0.5s", "--clients", "2"),
    )
    assert found.code == 0, found.output + found.error
    figures = json.loads((out / "gate.json").read_text())
    first, second = figures["load"]
    assert first["served"] == first["requests"] > 4
    assert second["first_token"]["count"] == second["served"] > 4
    assert "passed    p50<=60s: The latency is " in found.output
    assert "passed    memory<=9GiB: The peak memory is " in found.output
    assert "latency P99" in (out / "gate.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--against"),
        (("--against", FAKE), "has no requirement"),
        (("--against", FAKE, "--require", "speed<=1s"), "There is: accuracy_drop"),
        (
            ("--against", f"{FAKE} max_pixels=64", "--require", "p99<=1s"),
            "need the same requests to both sides",
        ),
    ],
)
def test_usage(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    found = gate(FAKE, *arguments, "--out", tmp_path / "out")
    assert found.code == 2
    assert message in found.error


def models(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/v1/models") as response:
        found: dict[str, Any] = json.load(response)["data"][0]
    return found


def metrics(url: str) -> str:
    with urllib.request.urlopen(f"{url}/metrics") as response:
        text: str = response.read().decode()
    return text


def copy_of_the_bundled_model(folder: Path) -> Path:
    """The bundled model for OpenVINO only, as if it were made from the one of the package.

    It says that it was calibrated with the first two images of the held-out set.
    """
    held_out = load_dataset(find_set(HELD_OUT, {}), maximum=2).items
    shutil.copytree(bundled_folder(), folder, ignore=shutil.ignore_patterns("*.safetensors"))
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest |= {
        "optimized_from": "silkline-mini@1",
        "calibration": {
            "dataset": HELD_OUT,
            "digest": "0",
            "seed": 0,
            "images": [item.image.digest for item in held_out],
        },
        "engines": {"openvino": manifest["engines"]["openvino"]},
        "files": {
            name: each for name, each in manifest["files"].items() if (folder / name).exists()
        },
    }
    (folder / "bundle.json").write_text(json.dumps(manifest))
    return folder


def break_vision_tower(folder: Path) -> None:
    """Sets the large weights of the vision tower to zero, with a manifest that fits."""
    path = folder / "openvino" / "openvino_vision_embeddings_model.xml"
    graph = openvino.Core().read_model(path)
    for node in graph.get_ops():
        if node.get_type_name() == "Constant" and np.prod(node.get_output_shape(0)) > 10_000:
            kind = node.get_output_element_type(0)
            zeros = opset.constant(np.zeros(node.get_output_shape(0), kind.to_dtype()), kind)
            node.output(0).replace(zeros.output(0))
    openvino.save_model(graph, path.with_name("broken.xml"), compress_to_fp16=False)
    manifest = json.loads((folder / "bundle.json").read_text())
    for ending in (".xml", ".bin"):
        path.with_name("broken").with_suffix(ending).replace(path.with_suffix(ending))
        content = path.with_suffix(ending).read_bytes()
        name = path.with_suffix(ending).relative_to(folder).as_posix()
        manifest["files"][name] = hashlib.sha256(content).hexdigest()
    (folder / "bundle.json").write_text(json.dumps(manifest))


def gate_copy(folder: Path, out: Path) -> Ended:
    return gate(
        *(folder, "--against", "silkline-mini", "--engine", "openvino", "--limit", 24),
        *("--metric", "fields", "--require", "accuracy_drop<=20pt", "--require", "size<=1x"),
        *("--out", out),
    )


def served_gate(model: Path, *, ungated: bool = False) -> str | None:
    """The verdict with which `silkline up` would serve a model. Raises as it does."""
    wanted = EngineSettings(model=str(model), ungated=ungated)
    found = prepare_model(wanted, "openvino", {}, lambda _: None).gate
    return None if found is None else found.verdict.value


@pytest.mark.full
@pytest.mark.timeout(900)
def test_the_bundled_model_passes_and_a_broken_copy_is_refused(tmp_path: Path) -> None:
    folder = copy_of_the_bundled_model(tmp_path / "tiny")
    with pytest.raises(ConfigError, match="made from silkline-mini@1 and was never gated"):
        served_gate(folder)
    good = gate_copy(folder, tmp_path / "out")
    assert good.code == 0, good.output + good.error
    assert f"The verdict is in {folder}." in good.output
    assert served_gate(folder) == "passed"
    break_vision_tower(folder)
    with pytest.raises(ConfigError, match="judged other files"):
        served_gate(folder)
    broken = gate_copy(folder, tmp_path / "out")  # the answers of the whole one do not count
    assert broken.code == 3, broken.output + broken.error
    assert "Refused: a requirement does not hold." in broken.output
    with pytest.raises(ConfigError, match="verdict on the bundle silkline-mini is refused"):
        served_gate(folder)
    assert served_gate(folder, ungated=True) == "refused"


@pytest.mark.full
@pytest.mark.timeout(900)
def test_the_verdict_is_shown_by_the_server(tmp_path: Path) -> None:
    folder = copy_of_the_bundled_model(tmp_path / "tiny")
    assert gate_copy(folder, tmp_path / "out").code == 0
    with served(str(folder)) as server:
        shown, text = models(server.url)["gate"], metrics(server.url)
    assert (shown["verdict"], shown["items"]) == ("passed", 22)  # two images calibrated it
    assert [each["verdict"] for each in shown["requirements"]] == ["passed", "passed"]
    assert 'silkline_gate_passed{model="silkline-mini",verdict="passed"} 1.0' in text
    assert 'silkline_gate_here{model="silkline-mini"} 1.0' in text
    break_vision_tower(folder)
    assert gate_copy(folder, tmp_path / "broken").code == 3
    refused = run("up", str(folder), "--port", "0")
    assert refused.returncode == 2
    assert "verdict on the bundle silkline-mini is refused" in refused.stderr
    with served(str(folder), "--ungated", "true") as server:
        assert models(server.url)["gate"]["verdict"] == "refused"
        text = metrics(server.url)
    assert 'silkline_gate_passed{model="silkline-mini",verdict="refused"} 0.0' in text
