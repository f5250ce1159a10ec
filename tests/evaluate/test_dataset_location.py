"""Where data sets lie, the cache of the Hugging Face hub included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from silkline.errors import ConfigError, EnvironmentFault
from silkline.evaluate.dataset_location import HUB, find_set
from silkline.evaluate.datasets import Dataset, load_dataset
from silkline.evaluate.item import ImageKind
from tests.pictures import encoded

COMMIT = "0123456789abcdef" * 2 + "01234567"
ROW = '{"file_name": "pictures/a.png", "prompt": "?", "reference": "m"}\n'


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache with one data set, its files links into the blobs as the hub's client has it."""
    repository = tmp_path / "hub" / "datasets--shop--pictures"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    files = {
        "README.md": b"rows",
        "data/test-0.jsonl": ROW.encode(),
        "data/test-1.jsonl": ROW.replace('"?"', '"!"').encode(),
        "data/train.csv": b"file_name,prompt,reference\npictures/a.png,?,n\n",
        "data/pictures/a.png": encoded(kind="PNG"),
        "pictures/a.png": encoded(kind="PNG"),
    }
    for number, (name, content) in enumerate(files.items()):
        blob = repository / "blobs" / str(number)
        blob.parent.mkdir(exist_ok=True)
        blob.write_bytes(content)
        link = repository / "snapshots" / COMMIT / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    return tmp_path / "hub"


def load(cache: Path, text: str, **options: Any) -> Dataset:
    return load_dataset(find_set(text, {"HF_HUB_CACHE": str(cache)}), **options)


def test_a_pattern_of_files(cache: Path) -> None:
    found = load(cache, f"{HUB}shop/pictures/data/test-*.jsonl")
    assert found.name == "shop/pictures@0123456789ab"
    assert [one.prompt for one in found.items] == ["?", "!"]
    assert all(one.image.kind is ImageKind.FILE for one in found.items)


def test_one_file_names_its_pictures_from_where_it_lies(cache: Path) -> None:
    (only,) = load(cache, f"{HUB}shop/pictures@{COMMIT}/data/train.csv").items
    assert only.references == ("n",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shop/pictures", r"has 3 data files: README.md, data/.*test-\*\.parquet"),
        ("shop/pictures/validation.csv", r"has no file validation\.csv .* The cache has: README"),
        ("shop/pictures/../../x.csv", "is no data set"),
        ("shop/pictures//etc/x.csv", "is no data set"),
        ("shop/pictures/**.csv", "is no data set"),
        ("shop", "is no data set"),
    ],
)
def test_what_does_not_fit_is_named(cache: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(cache, HUB + text)


@pytest.mark.parametrize("text", ["shop/others", "shop/pictures@v2"])
def test_what_is_not_in_the_cache_names_the_command(cache: Path, text: str) -> None:
    with pytest.raises(EnvironmentFault) as caught:
        load(cache, HUB + text)
    repository, _, revision = text.partition("@")
    wanted = f" --revision {revision}" if revision else ""
    assert caught.value.remedy == f"hf download {repository} --repo-type dataset{wanted}"


def test_a_picture_outside_the_repository_is_refused(cache: Path) -> None:
    repository = cache / "datasets--shop--pictures"
    (cache / "secret.png").write_bytes(encoded(kind="PNG"))
    picture = repository / "snapshots" / COMMIT / "data" / "pictures" / "a.png"
    picture.unlink()
    picture.symlink_to(cache / "secret.png")
    with pytest.raises(ConfigError, match="not a file inside"):
        load(cache, f"{HUB}shop/pictures/data/train.csv")


def test_no_such_path(cache: Path) -> None:
    with pytest.raises(ConfigError, match="There is no data set nowhere"):
        load(cache, "nowhere")


@pytest.mark.parametrize(
    ("name", "combinations"),
    [
        ("held-out", {"seen", "new colour", "new pattern"}),
        ("combinations", {"new colour", "new pattern", "new colour and pattern"}),
    ],
)
def test_the_sets_that_come_with_the_bundled_model_have_names(
    name: str, combinations: set[str], cache: Path
) -> None:
    found = load(cache, name)
    assert (found.name, len(found.items)) == (name, 64)
    assert {item.fields["combination"] for item in found.items} == combinations


def test_a_folder_of_such_a_name_is_spelled_as_a_path(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "combinations").mkdir()
    (tmp_path / "combinations" / "metadata.jsonl").write_text(ROW.replace("pictures/", ""))
    (tmp_path / "combinations" / "a.png").write_bytes(encoded(kind="PNG"))
    monkeypatch.chdir(tmp_path)
    assert len(load(cache, "./combinations").items) == 1
    assert len(load(cache, "combinations").items) == 64


def test_what_is_not_there_is_told_with_what_is(cache: Path) -> None:
    with pytest.raises(ConfigError, match="Expected held-out, combinations, a file, a folder, or"):
        load(cache, "combination")


def test_a_name_that_no_file_can_have_is_told() -> None:
    for name in ("a" * 5000, "hf://datasets/org/name"):
        with pytest.raises(EnvironmentFault, match="cannot be accessed: File name too long") as e:
            find_set(name, {"HF_HUB_CACHE": "/" + "a" * 300})
        assert len(e.value.message) < 400
