"""The shop's benchmark: its schedule, its check of the answers, its report, and a quick run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks.headline_report import Side
from benchmarks.shop.load import Answered, Door, Play, due, text_of
from benchmarks.shop.meter import Meter
from benchmarks.shop.page import page
from benchmarks.shop.plan import QUICK, Phase, Plan
from benchmarks.shop.report import Other, PhaseFound, Report, aims, markdown
from benchmarks.shop.truth import judge, unseen
from examples.shop.generated import Drawn, product_of
from recipes.mini.scene import TEST_SEEDS, sample_scene
from silkline.bench.record import Record
from silkline.bench.summary import summarise
from tests.bench.runs import good_run

DRAWN = [
    product_of(number, sample_scene(TEST_SEEDS[number]), f"digest-{number}", planted_share=0.0)
    for number in range(4)
]
ROOT = Path(__file__).parents[2]


def text(drawn: Drawn, **changes: object) -> str:
    return json.dumps(drawn.truth | changes, separators=(",", ":"))


def answer(number: int, cache: str, words: str = "", **fields: object) -> Answered:
    record = Record(number, 0, number, 0, 0.0, ended=0.01, status=200, cache=cache, **fields)  # type: ignore[arg-type]
    return Answered(record, words or text(DRAWN[number]), model="shop@1")


def test_phases_follow_each_other_and_new_products_come_once() -> None:
    phases = (Phase("before", 50, 4), Phase("sale", 250, 4), Phase("after", 50, 4))
    order = Play(Door("http://127.0.0.1:1"), phases, 100, 130, 0.1, 1.0, 7, "", 30)
    found = list(due(order))
    times, numbers = [at for at, _ in found], [number for _, number in found]
    assert times == sorted(times)
    assert times[-1] < 12
    in_sale = sum(4 <= at < 8 for at in times)
    assert in_sale == pytest.approx(1000, rel=0.15)
    assert len(found) - in_sale == pytest.approx(400, rel=0.2)
    fresh = [number for number in numbers if number >= 100]
    assert fresh == list(range(130, 130 + len(fresh)))
    assert len(fresh) == pytest.approx(140, rel=0.3)


@pytest.mark.parametrize("plan", [Plan(), QUICK])
def test_a_plan_has_enough_new_products(plan: Plan) -> None:
    order = Play(Door(""), plan.phases, plan.catalogue, plan.catalogue, plan.new, 1.0, 1, "", 30)
    fresh = sum(number >= plan.catalogue for _, number in due(order))
    assert fresh < plan.new_products()
    assert plan.canary_at < plan.calm_seconds < plan.kill_at < plan.restart_at < plan.seconds


def test_texts_of_both_designs() -> None:
    assert text_of(b'{"choices": [{"message": {"content": "{}"}}]}') == "{}"
    assert text_of(b'{"response": "a mug"}') == "a mug"
    assert text_of(b"<html>") == ""


def test_right_answers_are_found_right() -> None:
    answers = [answer(0, "miss"), answer(0, "hit"), answer(1, "miss"), answer(1, "coalesced")]
    found = judge(answers, [answer(0, "bypass")], DRAWN)
    assert (found.answers, found.products, found.from_cache) == (4, 2, 2)
    assert (found.right, found.right_of_sample, found.right_alone) == (1, 1, 1)
    assert (found.wrong, found.unseen, found.recomputed, found.published) == (0, 0, 0, 2)


def test_a_hit_of_another_image_is_unequal() -> None:
    found = judge([answer(0, "miss"), answer(0, "hit", text(DRAWN[1]))], [], DRAWN)
    assert (found.unequal, found.wrong) == (1, 1)
    assert found.right == 0.5


def test_an_answer_that_the_model_does_not_give_differs() -> None:
    other = "red" if DRAWN[0].truth["colour"] != "red" else "blue"
    wrong = text(DRAWN[0], colour=other)
    found = judge([answer(0, "miss", wrong)], [answer(0, "bypass")], DRAWN)
    assert (found.differing, found.right_of_sample, found.right_alone) == (1, 0, 1)
    misread = judge([answer(0, "miss", wrong)], [answer(0, "bypass", wrong)], DRAWN)
    assert (misread.differing, misread.right, misread.wrong) == (0, 0, 0)
    assert misread.published == 0


def test_an_answer_that_is_no_record_is_invalid() -> None:
    found = judge([answer(0, "miss", "a mug"), answer(0, "hit", "a mug")], [], DRAWN)
    assert found.invalid == 2


def test_a_planted_value_is_held_back() -> None:
    planted = [
        product_of(number, sample_scene(TEST_SEEDS[number]), "digest", planted_share=1.0)
        for number in range(2)
    ]
    found = judge([answer(0, "miss"), answer(1, "miss")], [], planted)
    assert (found.planted, found.flagged, found.published_wrong) == (2, 2, 0)


def test_computed_answers_that_differ_are_unstable() -> None:
    other = text(DRAWN[0], count=3 if DRAWN[0].truth["count"] != 3 else 1)
    found = judge([answer(0, "miss"), answer(0, "miss", other), answer(0, "hit", other)], [], DRAWN)
    assert (found.recomputed, found.unstable, found.unequal) == (1, 1, 0)


def test_a_hit_without_a_computed_answer_is_looked_up() -> None:
    """Its computed answer went to a gateway that was killed."""
    answers = [answer(0, "hit"), answer(1, "miss")]
    assert unseen(answers) == {0}
    assert judge(answers, [answer(0, "bypass")], DRAWN).unseen == 1


def test_a_replaced_process_goes_on_from_what_the_old_one_took() -> None:
    own = subprocess.Popen([sys.executable, "-c", _BURN], stdout=subprocess.PIPE)
    assert own.stdout is not None
    pids = {"gateway": own.pid}
    with Meter(lambda: dict(pids)) as meter:
        own.stdout.readline()
        meter.sample()
        taken = meter.between(0, 1e12)["gateway"]
        own.kill()
        own.wait()
        meter.sample()
    assert taken >= 0.2
    assert meter.between(0, 1e12)["gateway"] == taken


_BURN = "import time\nwhile time.process_time() < 0.5: pass\nprint(flush=True)\ntime.sleep(60)"


def report() -> Report:
    whole = summarise(good_run(), 0, 0.42)
    slow = msgspec.structs.replace(
        whole, latency=msgspec.structs.replace(whole.latency, p99=whole.latency.p99 * 6)
    )
    cores, busy = {"gateway 0": 0.5, "load": 0.1}, {"shop": 0.4}
    names = [phase.name for phase in Plan().phases]
    naive = Other(Side(139, 30, False, slow, {}), Side(695, 8, False, slow, {}), [], 0.9)
    naive.steps.append(Side(50, 8, True, slow, {}))
    return Report(
        command="python -m benchmarks.shop",
        date="2026-12-01",
        machine={"processor": "two cores"},
        model="silkline-mini@1",
        plan=Plan(),
        phases=[PhaseFound(name, whole, cores, busy) for name in names],
        whole=whole,
        resent=2,
        judged=judge([answer(0, "miss")], [], DRAWN),
        tiers={"memory hit": 90.0, "memory miss": 10.0, "redis miss": 10.0},
        scrapes_missed={"127.0.0.1:1": 3.0},
        events=[(1.0, "canary"), (2.0, "sale")],
        canary=[{"serving": "split"}],
        memory={"gateway 0": (2**20, 2**21)},
        left_behind=0,
        steps=[Side(695, 8, True, whole, {}), Side(868, 8, False, whole, {})],
        naive=naive,
    )


def test_aims_are_compared() -> None:
    found = {row[0]: row[2:] for row in aims(report())}
    assert found["lost requests"] == ["0", "yes"]
    assert found["P99 beside the guide's design at 139/s, times better"] == ["6.0", "yes"]
    assert found["load held beside the guide's design, times"] == ["13.9", "yes"]


def test_the_report_shows_tiers_parts_and_cost() -> None:
    told = markdown(report())
    for words in (
        "| memory | 100 | 90 | 90.0% |",
        "| gateway 0 | 0.50 | 0.50 | 0.50 |",
        "2 requests were sent again, 0 were lost",
        "- 2 s: sale",
    ):
        assert words in told
    # 10 s of a machine at 0.1 an hour, for 100 answers
    assert report().cost_per_million == pytest.approx(0.1 * 10 / 3600 / 100 * 1e6)


def test_the_page_marks_what_happened() -> None:
    shown = page(report(), good_run())
    assert shown.count('class="moment"') >= 2 * 3
    assert ">canary</text>" in shown
    assert "http://" not in shown.replace("http://127.0.0.1", "").replace("http://www.w3.org", "")


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_quick_run_loses_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.shop", "--quick", "--without-naive"]
    command += ["--results", str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (path,) = tmp_path.glob("*.json")
    found = json.loads(path.read_text())
    assert found["whole"]["requests"] == found["whole"]["served"] > 500
    assert found["left_behind"] == 0
    assert [words for _, words in found["events"]] == [
        "canary", "sale", "gateway killed", "ready again", "sale ends",
    ]  # fmt: skip
