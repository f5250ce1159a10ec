"""Counts by tenant."""

from silkline.admission.counts import MAX_NAMES, OTHERS, AdmissionCounts, Refusal


def test_counts_are_by_tenant_and_reason() -> None:
    tally = AdmissionCounts()
    tally.admitted("a")
    tally.admitted("a")
    tally.refused("a", Refusal.SHED)
    tally.refused("b", Refusal.TOO_LATE)
    counts = tally.counts()
    assert (counts["a"].admitted, counts["a"].refused) == (2, {Refusal.SHED: 1})
    assert (counts["b"].admitted, counts["b"].refused) == (0, {Refusal.TOO_LATE: 1})


def test_names_are_bounded() -> None:
    tally = AdmissionCounts()
    for number in range(MAX_NAMES + 10):
        tally.admitted(str(number))
    tally.admitted("0")
    counts = tally.counts()
    assert len(counts) == MAX_NAMES + 1
    assert counts[OTHERS].admitted == 10
    assert counts["0"].admitted == 2
