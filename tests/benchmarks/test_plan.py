"""The benchmark of plans: its workloads and its report."""

from benchmarks.plan import BATCH, Case, Report, markdown, workloads
from silkline.plan.prediction import Figures
from silkline.plan.roofline import Reached


def test_the_workloads_differ_in_images_answers_load_and_hit_rate() -> None:
    found = workloads(80.0, 5.0)
    assert len(found) == 5
    assert len({work.image for _, work, _ in found}) == 2
    assert len({work.answer_tokens for _, work, _ in found}) == 2
    assert {load.clients for _, _, load in found} == {0, 4, BATCH}
    (cached,) = ((work, load) for _, work, load in found if work.hit_rate)
    assert cached[1].rate * (1 - cached[0].hit_rate) == 40.0


def test_the_report_has_signed_errors_and_how_many_are_within_the_aim() -> None:
    predicted, measured = Figures(110, 8.0, 0.1, 0.4), Figures(100, 10.0, 0.1, 0.2)
    errors = {"memory": 0.1, "throughput": -0.2, "mean": 0.0, "p99": None}
    cases = [Case(name, work, load, predicted, measured, errors)
             for name, work, load in workloads(80.0, 5.0)]  # fmt: skip
    text = markdown(Report("python -m benchmarks.plan", "2026-01-01", {}, 8, Reached(), cases))
    assert "| 4 clients | throughput | 8.0 /s | 10.0 /s | -20.0% | 15% |" in text
    assert "- memory: 5 of 5 within 10%; mean 10.0%" in text
    assert "- throughput: 0 of 5 within 15%; mean 20.0%" in text
    assert "- p99: 0 of 0 within 30%" in text
