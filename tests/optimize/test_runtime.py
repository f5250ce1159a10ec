"""The options that are fastest here: how they are searched, measured, written and served."""

import json
import shutil
from pathlib import Path

import pytest

from silkline.config import EngineSettings, Settings
from silkline.errors import EnvironmentFault
from silkline.models.bundle import load_bundle
from silkline.models.resolve import resolve_model
from silkline.optimize import runtime
from silkline.optimize.build import build
from silkline.optimize.runtime import RUNTIME, Step, Trial, search
from silkline.service.served import served
from silkline.service.subject import SubjectSpec
from tests.engines.asking import picture

SDPA, EAGER, HALF = {"attention": "sdpa"}, {"attention": "eager"}, {"dtype": "bfloat16"}
CHOICES = (Step(options=(SDPA, EAGER)), Step(options=(HALF,)), Step(threads=(1, 2)))


def found(rates: dict[str, float]) -> list[Trial]:
    """The trials of a search in which these options, and threads, have these rates."""

    def measure(trial: Trial) -> Trial:
        name = " ".join([*trial.options.values(), str(trial.threads)])
        rate = rates.get(name, 1.0)
        return Trial(trial.options, trial.threads, rate, failure="" if rate else "no kernel")

    return search(CHOICES, measure)


def test_each_choice_builds_on_the_best_so_far() -> None:
    best, *others = found({"eager 0": 2.0, "eager bfloat16 0": 3.0, "eager bfloat16 1": 4.0})
    assert (best.options, best.threads, best.rate) == (EAGER | HALF, 1, 4.0)
    assert len(others) == 5


def test_the_engines_own_choice_stays_unless_another_is_faster_than_noise() -> None:
    best, *_ = found({"0": 1.0, "eager 0": 1.02, "sdpa 0": 0.9})
    assert (best.options, best.threads) == ({}, 0)


def test_what_does_not_serve_here_is_no_choice() -> None:
    best, *others = found({"eager 0": 2.0, "eager bfloat16 0": 0.0})
    assert best.options == EAGER
    assert [each.failure for each in others if each.options == EAGER | HALF] == ["no kernel"]


@pytest.mark.slow
def test_candidates_are_measured_and_the_best_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(runtime, "_SECONDS", 1.0)
    monkeypatch.setattr(runtime, "steps", lambda: (Step(options=({"dtype": "nonsense"},)),))
    images = [picture(seed) for seed in range(4)]
    base = resolve_model("silkline-mini")
    bundle = build(base, [RUNTIME], tmp_path / "tuned", images, None, lambda _: None)
    trials = json.loads((bundle.folder / "bundle.json").read_text())["findings"]["runtime"][
        "trials"
    ]
    assert trials[0]["rate"] > 0
    assert trials[0]["memory"] > 50 * 2**20
    assert "nonsense" in trials[1]["failure"]
    assert bundle.manifest.engines["torch"].options == {}


@pytest.mark.slow
async def test_a_bundle_is_served_with_its_options(tmp_path: Path) -> None:
    folder = shutil.copytree(resolve_model("silkline-mini").folder, tmp_path / "bundle")
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["engines"]["torch"]["options"] = {"attention": "nonsense"}
    (folder / "bundle.json").write_text(json.dumps(manifest))
    assert load_bundle(folder).manifest.engines["torch"].options
    engine = EngineSettings(model=str(folder), engine="torch", ungated=True)
    with pytest.raises(EnvironmentFault, match="attention"):
        async with served(SubjectSpec("x", Settings(engine=engine), 8, 0), "x"):
            pass
