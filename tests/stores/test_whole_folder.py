"""A folder is there when it is complete, and not before."""

from pathlib import Path

import pytest

from silkline.stores.whole_folder import whole_folder


def test_it_appears_after_the_block(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "made"
    with whole_folder(target) as draft:
        (draft / "file").write_text("x")
        assert not target.exists()
    assert (target / "file").read_text() == "x"
    assert list(target.parent.iterdir()) == [target]


def test_after_an_error_nothing_is_left_and_remains_of_a_killed_run_are_removed(
    tmp_path: Path,
) -> None:
    target = tmp_path / "made"
    (tmp_path / ".made.draft").mkdir()
    (tmp_path / ".made.draft" / "old").touch()
    seen: list[Path] = []

    def fail_midway() -> None:
        with whole_folder(target) as draft:
            seen.extend(draft.iterdir())
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        fail_midway()
    assert seen == list(tmp_path.iterdir()) == []
