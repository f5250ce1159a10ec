"""`silkline ship` through its command line, as far as no model is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from silkline.ship.journal import Journal
from silkline.ship.ships import alone
from silkline.ship.stages import NAMES
from tests.cli.commands import Ended, invoked
from tests.cli.test_evaluate import write_set
from tests.models.gates import make_bundle


class Dock:
    """A store, a bundle and a data set."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.bundle = make_bundle(folder / "bundle")
        self.data = write_set(folder, 16)

    def ship(self, *arguments: object) -> Ended:
        return invoked(
            "ship", "silkline-mini", "--data", self.data, "--store", self.store,
            "--bundle", self.bundle, "--url", "http://127.0.0.1:9", *arguments,
        )  # fmt: skip

    def command(self, name: str, *arguments: object) -> Ended:
        return invoked("ship", name, *arguments, "--store", self.store)

    def kinds(self, ship: str) -> list[tuple[str, str]]:
        with Journal(self.store / "ship.sqlite") as journal:
            return [(event.stage, event.kind.value) for event in journal.events(ship)]


@pytest.fixture
def dock(tmp_path: Path) -> Dock:
    return Dock(tmp_path)


def shipped(ended: Ended, code: int = 0) -> tuple[str, str]:
    """The id and the state of a ship."""
    assert ended.code == code, ended.error
    found: dict[str, Any] = json.loads(ended.output)
    return found["ship"]["id"], found["state"]


def test_a_dry_run_says_what_would_be_done_and_does_nothing(dock: Dock) -> None:
    found = dock.ship("--dry-run", "--json", "--slo", "p99=420ms")
    assert found.code == 0, found.error
    steps = json.loads(found.output)["steps"]
    assert [step["stage"] for step in steps] == list(NAMES)
    assert all(step["seconds"] >= 0 and step["basis"] == "a guess" for step in steps)
    assert "accuracy_drop<=0.5pt and p99=420ms" in steps[3]["about"]
    assert json.loads(dock.command("history", "--json").output) == []
    assert not dock.store.exists()
    assert "All together about" in dock.ship("--dry-run").output


def test_a_search_takes_its_budget(dock: Dock) -> None:
    found = invoked("ship", "silkline-mini", "--data", dock.data, "--store", dock.store,
                    "--budget", "7m", "--dry-run", "--json")  # fmt: skip
    first = json.loads(found.output)["steps"][1]
    assert (first["seconds"], first["basis"]) == (420, "the budget")
    assert "accuracy_drop<=0.5pt and throughput>=1x" in first["about"]


def test_until_a_stage_then_status_history_and_the_same_again(dock: Dock) -> None:
    id_, state = shipped(dock.ship("--until", "optimise", "--json"))
    assert state == "stopped"
    done = [("plan", "began"), ("plan", "skipped"), ("optimise", "began"), ("optimise", "done")]
    assert dock.kinds(id_) == done
    assert shipped(dock.ship("--until", "optimise", "--json")) == (id_, "stopped")
    assert shipped(dock.command("resume", "--until", "optimise", "--json")) == (id_, "stopped")
    assert dock.kinds(id_) == done  # nothing was done twice
    assert shipped(dock.command("status", id_[:4], "--json")) == (id_, "stopped")
    assert f"silkline ship resume {id_}" in dock.command("status").output
    assert [each["state"] for each in json.loads(dock.command("history", "--json").output)] == [
        "stopped"
    ]
    left = json.loads(dock.ship("--dry-run", "--json").output)
    assert (left["ship"], left["steps"][0]["stage"]) == (id_, "evaluate")


def test_an_aborted_ship_stays_so_until_it_is_shipped_again(dock: Dock) -> None:
    id_, _ = shipped(dock.ship("--until", "optimise", "--json"))
    assert dock.command("abort").code == 0
    assert dock.kinds(id_)[-1] == ("evaluate", "aborted")
    assert shipped(dock.ship("--json"), code=3) == (id_, "aborted")
    assert "has ended: it is aborted" in dock.command("abort").error
    other, state = shipped(dock.ship("--again", "--until", "optimise", "--json"))
    assert (other != id_, state) == (True, "stopped")
    assert shipped(dock.command("resume", "--until", "optimise", "--json")) == (other, "stopped")


def test_changed_data_is_another_ship_and_cannot_be_resumed(dock: Dock) -> None:
    id_, _ = shipped(dock.ship("--until", "optimise", "--json"))
    lines = dock.data.read_text().splitlines(keepends=True)
    dock.data.write_text("".join(lines[:-1]))
    resumed = dock.command("resume")
    assert (resumed.code, "since it began, dataset changed" in resumed.error) == (2, True)
    assert shipped(dock.ship("--until", "optimise", "--json"))[0] != id_


def test_a_damaged_bundle_fails_and_a_mended_one_continues(dock: Dock) -> None:
    (dock.bundle / "weights").write_bytes(b"changed")
    failed = dock.ship("--until", "optimise")
    assert failed.code == 2
    (dock.bundle / "weights").write_bytes(b"weights")
    id_, state = shipped(dock.ship("--until", "optimise", "--json"))
    assert state == "stopped"
    optimise = [kind for stage, kind in dock.kinds(id_) if stage == "optimise"]
    assert optimise == ["began", "failed", "began", "done"]


def test_one_command_at_a_time(dock: Dock) -> None:
    with alone(dock.store):
        assert "Another command ships with" in dock.ship("--until", "optimise").error


def test_traffic_is_planned_for(dock: Dock) -> None:
    found = dock.ship("--traffic", "12M/day", "--slo", "p99=1s", "--until", "plan", "--json")
    ship, _ = shipped(found)
    (page,) = dock.store.rglob("plan.html")
    assert "417/s" in page.read_text()
    assert dock.kinds(ship)[-1] == ("plan", "done")
    assert "A first estimate" in found.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--slo", "p99"), "is not NAME<=VALUE"),
        (("--slo", "q98=1s"), "q98"),
        (("--traffic", "12M/day"), "is planned for a P99"),
        (("--traffic", "many", "--slo", "p99=1s"), "is not a rate"),
        (("--canary", "ramp"), "expected NAME=VALUE"),
        (("--canary", "model=x"), "expected NAME=VALUE"),
        (("--canary", "ramp=[0.9]"), "--canary ramp.0 is wrong"),
        (("--canary", "unit=planet"), "--canary unit is wrong"),
        (("--apply", "kv-f16"), "exclude each other"),
        (("--until", "landing"), "landing"),
    ],
)
def test_usage(dock: Dock, arguments: tuple[str, ...], message: str) -> None:
    found = dock.ship(*arguments)
    assert (found.code, message in found.error) == (2, True), found.error


@pytest.mark.parametrize("name", ["status", "resume", "abort"])
def test_without_a_ship(dock: Dock, name: str) -> None:
    found = dock.command(name)
    assert (found.code, "There is no ship yet" in found.error) == (2, True)
    assert not (dock.store / "ship.sqlite").exists()


def test_a_digest_that_was_not_shipped(dock: Dock) -> None:
    found = dock.command("show", "0123456789")
    assert (found.code, "No bundle 0123456789 was shipped" in found.error) == (2, True)
