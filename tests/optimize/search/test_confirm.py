from pathlib import Path

import pytest

from silkline.evaluate.dataset_location import local_set
from silkline.evaluate.datasets import load_dataset
from silkline.models.gate import Verdict
from silkline.optimize.load import Load
from silkline.optimize.requirements import parse_requirements
from silkline.optimize.search.confirm import Confirmation, confirm
from silkline.optimize.search.plan import SearchPlan
from silkline.optimize.search.trial import BASELINE, Trial
from silkline.service.subject import parse_subject
from tests.cli.test_evaluate import FAKE, write_set

WORSE = FAKE.replace("=4", "=5")


async def confirmed(
    folder: Path, finalists: list[tuple[str, Trial]], *seconds: float
) -> Confirmation:
    """Judges fake models, by the share of answers that are the baseline's.

    `seconds` are left before each decision; by default, there are many.
    """
    left = iter(seconds)
    dataset = load_dataset(local_set(write_set(folder, 40)))
    plan = SearchPlan(
        subject=parse_subject(FAKE, None, {}, 16),
        dataset=dataset,
        metrics=(),
        requirements=parse_requirements(["agreement>=80%"], ()),
        confidence=0.95,
        load=Load(1.0, 4, 0.0, 0.5),
        budget=900.0,
        images=8,
        seed=0,
        target=folder / "new",
        folder=folder / "work",
        command="",
    )
    return await confirm(
        plan,
        dataset,
        (plan.subject, Trial(names=BASELINE, throughput=4.0)),
        [(parse_subject(name, None, {}, 16), trial) for name, trial in finalists],
        lambda: next(left, 900.0),
        lambda *_: None,
        lambda _: None,
    )


def finalist(name: str, *, speed: float, kept: float) -> Trial:
    return Trial(names=(name,), items=8, speed=speed, kept=kept)


@pytest.mark.slow
async def test_the_safest_is_judged_first_and_a_loss_ends_the_sequence(tmp_path: Path) -> None:
    found = await confirmed(
        tmp_path,
        [
            (FAKE, finalist("never judged", speed=3.0, kept=0.4)),
            (WORSE, finalist("worse", speed=2.0, kept=0.3)),
            (FAKE, finalist("safest", speed=1.5, kept=0.1)),
            (FAKE, finalist("slower than the safest", speed=1.2, kept=0.2)),
        ],
    )
    verdicts = [(each.names[0], each.verdict) for each in found.confirmed]
    assert verdicts == [("safest", Verdict.PASSED), ("worse", Verdict.REFUSED)]
    assert (found.picked, found.items) == (("safest",), 40)
    assert found.gated is not None
    assert found.gated.record.verdict is Verdict.PASSED


@pytest.mark.slow
async def test_a_short_budget_judges_one_on_fewer_items(tmp_path: Path) -> None:
    finalists = [
        (FAKE, finalist("first", speed=1.5, kept=0.1)),
        (FAKE, finalist("second", speed=2.0, kept=0.2)),
    ]
    found = await confirmed(tmp_path, finalists, 4.5, 3.5)
    assert [each.names for each in found.confirmed] == [("first",)]
    assert (found.picked, found.items) == (("first",), 16)
    none = await confirmed(tmp_path, [], 0.0)
    assert (none.picked, none.confirmed, none.gated) == (None, [], None)
