import msgspec
from hypothesis import example, given, settings

from silkline.bench.summary import summarise
from silkline.evaluate.report.cases import Case
from silkline.models.gate import Finding, GateRecord, Machine, Verdict
from silkline.optimize.gate import Gated
from silkline.optimize.quality import SliceDrop
from silkline.optimize.report.page import gate_page
from tests.bench.runs import good_run
from tests.report.test_page import HOSTILE, TEXTS, evaluation_of, safe


def page(text: str, verdict: Verdict = Verdict.REFUSED) -> str:
    """A gate's page in which every text is this one."""
    return gate_page(*gated(text, verdict))


def gated(text: str, verdict: Verdict = Verdict.PASSED) -> tuple[Gated, list[Case]]:
    """What a gate found, in which every text is this one, and its cases."""
    evaluation, cases = evaluation_of(text, as_record=False)
    run = good_run(2)
    record = GateRecord(
        verdict=verdict,
        findings=(Finding(text, verdict, text, 0.1, 0.0, 0.2), Finding(text, verdict, text)),
        candidate=text,
        engine=text,
        baseline=text,
        confidence=0.95,
        dataset=text,
        digest=text,
        items=3,
        images=1,
        seed=0,
        machine=Machine(text, text, (text,), text, 2, 2**33, text),
        versions={text: text},
        content=text,
        gated_at=text,
    )
    part = SliceDrop(text, text, text, 3, 0.1, 0.0, 0.2, 0.04, refused=True)
    load = [summarise(run, side, 0.0) for side in (0, 1)]
    return Gated(record, "", evaluation, [part], load), cases


@settings(deadline=None, max_examples=25)
@given(text=TEXTS)
@example(HOSTILE)
def test_no_text_breaks_out_of_the_page(text: str) -> None:
    parsed = safe(page(text))
    usual = {one.name for one in safe(page("a b")).elements}
    assert {one.name for one in parsed.elements} <= usual | {"ins", "del", "mark", "details"}
    assert parsed.scripts == []


def test_the_page_says_the_verdict() -> None:
    for verdict, words in (
        (Verdict.PASSED, "Passed: every requirement holds"),
        (Verdict.UNDECIDED, "Undecided: too little was measured to tell"),
    ):
        assert words in safe(page("plain", verdict)).text


def test_the_calibration_error_stands_beside_the_metrics() -> None:
    found, cases = gated("plain")
    assert "calibration error" not in gate_page(found, cases).partition("All figures")[0]
    sides = [
        msgspec.structs.replace(result, calibration_error=error)
        for result, error in zip(found.evaluation.results, (0.034, 0.125), strict=True)
    ]
    evaluation = msgspec.structs.replace(found.evaluation, results=sides)
    text = safe(gate_page(msgspec.structs.replace(found, evaluation=evaluation), cases)).text
    assert "calibration error3.4%12.5%" in text
