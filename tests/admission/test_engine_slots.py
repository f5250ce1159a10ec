"""How long an outage has lasted, as far as anybody saw."""

from silkline.admission.engine_slots import OUTAGE_SECONDS, EngineSlots


def test_an_outage_that_ended_unseen_is_not_remembered() -> None:
    now = [0.0]
    places = EngineSlots(lambda: 0, lambda: now[0], slo=0.0)

    def look(seconds: float) -> None:
        until = now[0] + seconds
        while now[0] < until:
            places.count()
            now[0] += 0.1

    seen = []
    for pause in (0.0, 3600.0):
        now[0] += pause
        places.count()
        seen.append(places.out)
        look(OUTAGE_SECONDS + 0.5)
        seen.append(places.out)
    assert seen == [False, True, False, True]
