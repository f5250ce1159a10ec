"""The generated parts of `docs/clients.md`: `python -m tests.clients.page` writes them anew.

Arguments choose clients by the names of their programs, such as `openai_sdk.py`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence

from tests.clients.clients import CLIENTS, ROOT, Client, Outcome, outcomes, servers

PAGE = ROOT / "docs" / "clients.md"
COMMAND = "make clients && .venv/bin/python -m tests.clients.page"

COLUMNS = (
    "plain",
    "stream",
    "image",
    "documents",
    "structured",
    "tools",
    "n",
    "logprobs",
    "sampling",
    "reasoning",
    "responses",
    "messages",
)
"""The features of the summary; all others are only in a client's own table."""

_BEGIN = "| client | version |"
_WAYS = "| feature | with | |\n|---|---|---|\n"


def summary_head() -> str:
    """The first two lines of the summary."""
    return f"{_BEGIN} {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 2)}\n"


def summary_row(client: Client, found: Sequence[Outcome]) -> str:
    """A client's line of the summary."""
    cells = [_cell([each for each in found if each.feature == name]) for name in COLUMNS]
    return (
        f"| [{client.name}](#{anchor(client.name)}) | {found[0].version} | {' | '.join(cells)} |\n"
    )


def ways(found: Sequence[Outcome]) -> str:
    """A client's own table: one line for each way to use a feature."""
    lines = [f"| {each.feature} | `{each.way}` | {_result(each)} |\n" for each in found]
    return _WAYS + "".join(lines)


def anchor(name: str) -> str:
    """The anchor of a heading, as it is made on GitHub."""
    return re.sub(r"[^a-z0-9 _-]", "", name.lower()).replace(" ", "-")


def rewritten(text: str, found: Mapping[Client, Sequence[Outcome]]) -> str:
    """The page with its generated parts replaced; those of other clients stay."""
    rows = [
        summary_row(client, found[client]) if client in found else _row(text, client)
        for client in CLIENTS
    ]
    text = _replaced(text, _BEGIN, summary_head() + "".join(rows))
    for client, each in found.items():
        before, heading, rest = text.partition(f"\n## {client.name}\n")
        section, following, after = rest.partition("\n## ")
        text = before + heading + _replaced(section, _WAYS[:10], ways(each)) + following + after
    return text


def example(text: str, client: Client) -> tuple[str, str]:
    """The language and the code of the example in a client's section; both empty without one."""
    section = text.partition(f"\n## {client.name}\n")[2].partition("\n## ")[0]
    block = re.search(r"^```(\w+)\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    if block is None:
        return "", ""
    language, code = block.groups()
    return language, code.removeprefix("$ ") if language == "console" else code


def _row(text: str, client: Client) -> str:
    """A client's line in the summary of the page; empty if there is none."""
    found = re.search(rf"^\| \[{re.escape(client.name)}\].*\n", text, re.MULTILINE)
    return found[0] if found else ""


def _cell(found: Sequence[Outcome]) -> str:
    works = sum(each.outcome == "works" for each in found)
    if works == len(found):
        return "yes" if found else ""
    return f"{works} of {len(found)}" if works else "no"


def _result(outcome: Outcome) -> str:
    return "works" if outcome.outcome == "works" else f"{outcome.outcome}: {outcome.message}"


def _replaced(text: str, begin: str, table: str) -> str:
    """Replaces the table that begins so."""
    pattern = rf"^{re.escape(begin)}.*\n(?:\|.*\n)*"
    return re.sub(pattern, lambda _: table, text, count=1, flags=re.MULTILINE)


def main() -> None:
    """Runs clients and rewrites the page."""
    with servers() as running:
        found = {
            client: outcomes(client, running)
            for client in CLIENTS
            if client.program in sys.argv[1:] or not sys.argv[1:]
        }
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")
    broken = [
        f"{client.name}: {each.way}: {each.message}"
        for client, all_of_it in found.items()
        for each in all_of_it
        if each.outcome == "broken"
    ]
    if broken:
        sys.exit("\n".join(broken))


if __name__ == "__main__":
    main()
