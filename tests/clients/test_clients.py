"""Clients that others write, unchanged, against the real server."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.clients.clients import (
    CLIENTS,
    HERE,
    OFFICIAL,
    ROOT,
    Client,
    Servers,
    outcomes,
    run_example,
    servers,
)
from tests.clients.page import COMMAND, PAGE, example, summary_row, ways

ADDRESS = "http://127.0.0.1:8000"

pytestmark = pytest.mark.timeout(300)

EVERY = [
    pytest.param(
        client,
        id=client.program,
        marks=() if client in OFFICIAL else pytest.mark.full,
    )
    for client in CLIENTS
]


@pytest.fixture(scope="module")
def running() -> Iterator[Servers]:
    with servers() as both:
        yield both


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("client", EVERY)
def test_a_client_works_as_the_page_says(client: Client, running: Servers, page: str) -> None:
    found = outcomes(client, running)
    broken = [
        f"{each.feature}, {each.way}: {each.message}" for each in found if each.outcome == "broken"
    ]
    assert not broken, "\n".join(broken)
    assert summary_row(client, found) in page, f"write the page anew: {COMMAND}"
    assert ways(found) in page, f"write the page anew: {COMMAND}"


@pytest.mark.slow
@pytest.mark.parametrize("client", EVERY)
def test_the_example_of_a_client_works(client: Client, running: Servers, page: str) -> None:
    language, code = example(page, client)
    assert ADDRESS in code
    ran = run_example(client, language, code.replace(ADDRESS, running.url))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.strip()


def test_the_page_has_a_section_for_each_client(page: str) -> None:
    assert re.findall(r"^## (.*)", page, re.MULTILINE) == [client.name for client in CLIENTS]


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.program)
def test_a_version_in_the_page_is_the_one_that_is_installed(client: Client, page: str) -> None:
    row = next(line for line in page.splitlines() if line.startswith(f"| [{client.name}]("))
    version = row.split("|")[2].strip()
    pins = "".join(
        path.read_text(encoding="utf-8")
        for path in (
            ROOT / "constraints.txt",
            *HERE.glob("requirements/*.txt"),
            HERE / "node/package.json",
        )
    )
    assert version in pins
