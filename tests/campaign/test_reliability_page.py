"""`docs/reliability.md` names tests that exist, and leaves no case out."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"
CASES = [*range(1, 48), *range(51, 56)]
"""Those of the acceptance plan that are not about batches."""

NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def names_of(module: Path) -> set[str]:
    """The functions of a module."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def rows() -> list[list[str]]:
    """The cells of the table's rows."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if re.match(r"\| *\d", line)
    ]


def test_every_case_has_a_row() -> None:
    found: list[int] = []
    for cells in rows():
        first, _, last = cells[0].partition("-")
        found += range(int(first), int(last or first) + 1)
    assert sorted(set(found)) == CASES


def test_every_row_names_a_test_that_exists() -> None:
    for cells in rows():
        named = NAMED.findall(cells[-1])
        assert named, cells
        for file, function in named:
            assert (ROOT / file).is_file(), file
            assert not function or function in names_of(ROOT / file), (file, function)


def test_every_campaign_is_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rig = {"test_checker.py", "test_fault_proxy.py", Path(__file__).name}
    campaigns = {path.name for path in Path(__file__).parent.glob("test_*.py")} - rig
    assert not {name for name in campaigns if f"tests/campaign/{name}" not in text}
