"""How gateway processes divide the engines' slots and the server's limits."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.config import AdminSettings, EngineSettings, ModelSettings, Settings
from silkline.config.sections import MIB, DecodeSettings, LimitSettings, ServerSettings
from silkline.errors import ConfigError
from silkline.service.shares import divided, only_model, settings_of_process

_DEMANDS = st.lists(st.integers(0, 50), min_size=2, max_size=8)


def shares(slots: int, demands: list[int], turn: int = 0) -> list[int]:
    """What each process may use, with its own demand as the limit."""
    return [
        min(demand, divided(slots, demands, index, turn)) for index, demand in enumerate(demands)
    ]


def test_a_process_leaves_to_others_what_it_does_not_need() -> None:
    assert shares(20, [100, 0]) == [20, 0]
    assert shares(20, [100, 100]) == [10, 10]
    assert shares(20, [100, 3]) == [17, 3]
    assert shares(20, [100, 2, 100]) == [9, 2, 9]


@given(st.integers(0, 100), _DEMANDS, st.integers(0, 1000))
def test_no_more_than_all_slots_are_given_out(slots: int, demands: list[int], turn: int) -> None:
    given_out = shares(slots, demands, turn)
    assert sum(given_out) == min(slots, sum(demands))


@given(st.integers(0, 100), _DEMANDS)
def test_each_process_gets_its_equal_share_if_it_needs_it(slots: int, demands: list[int]) -> None:
    equal = slots // len(demands)
    assert all(
        share >= min(demand, equal)
        for share, demand in zip(shares(slots, demands), demands, strict=True)
    )


def test_processes_take_turns_where_slots_are_fewer() -> None:
    turns = [shares(1, [9, 9, 9], turn) for turn in range(3)]
    assert sorted(turns) == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]


def test_memory_and_children_are_divided_and_files_are_shared(tmp_path: Path) -> None:
    settings = Settings(
        server=ServerSettings(processes=3, max_connections=100),
        limits=LimitSettings(max_held_body_bytes=62 * MIB, max_request_pixels=10 * MIB),
        decode=DecodeSettings(decode_processes=2),
    )
    own = settings_of_process(settings, tmp_path)
    assert own.server.max_connections == 34
    # The largest request must fit, and others beside it.
    assert own.limits.max_held_body_bytes == (32 + 10) * MIB
    assert own.limits.max_inflight_bytes == (30 + 32) * MIB + (512 - 62) // 3 * MIB
    assert own.decode.decode_processes == 1
    assert own.admission.max_queue == 86
    assert own.idempotency.idempotency_store.startswith(str(tmp_path))
    assert own.responses.response_file.startswith(str(tmp_path))
    assert own.drift.drift_journal.startswith(str(tmp_path))
    assert Settings.model_validate_json(own.model_dump_json(exclude_unset=True)) == own


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        (Settings(models={"a": ModelSettings(), "b": ModelSettings()}), "2 models"),
        (Settings(models={"a": ModelSettings(idle_s=5)}), "idle_s"),
        (Settings(admin=AdminSettings(admin_state="changes.json")), "admin API"),
    ],
)
def test_models_that_may_change_are_refused(settings: Settings, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        only_model(settings)


def test_the_one_model_is_found() -> None:
    named = Settings(engine=EngineSettings(max_batch=3), models={"a": ModelSettings()})
    again = Settings.model_validate_json(named.model_dump_json(exclude_unset=True))
    for settings in (named, again):
        assert (only_model(settings).served_name, only_model(settings).max_batch) == ("a", 3)


def test_settings_reach_a_process_as_they_are(tmp_path: Path) -> None:
    settings = Settings(engine=EngineSettings(hang_timeout=math.inf))
    own = settings_of_process(settings, tmp_path)
    assert Settings.model_validate_json(own.model_dump_json(exclude_unset=True)) == own
