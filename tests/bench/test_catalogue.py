from pathlib import Path

import pytest

from silkline.bench.catalogue import load_catalogue
from silkline.bench.spec import Form, Traffic
from silkline.errors import ConfigError
from tests.pictures import encoded


def test_a_folder_is_read_in_order(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.png", "notes.txt"):
        (tmp_path / name).write_bytes(name.encode())
    catalogue = load_catalogue(Traffic(folder=str(tmp_path), prompts=("one", "two")))
    assert catalogue.size == 2
    assert [catalogue.image(n, 0).data for n in range(2)] == [b"a.png", b"b.jpg"]
    assert catalogue.image(0, 0).media_type == "image/png"
    assert [catalogue.prompt(n) for n in range(2)] == ["one", "two"]


def test_a_file_of_requests_has_paths_and_urls(tmp_path: Path) -> None:
    (tmp_path / "cup.jpg").write_bytes(encoded())
    lines = [
        '{"picture": "cup.jpg", "prompt": "Which colour?"}',
        '{"picture": "https://a.b/c.jpg"}',
    ]
    (tmp_path / "requests.jsonl").write_text("\n".join(lines) + "\n\n")
    catalogue = load_catalogue(
        Traffic(requests=str(tmp_path / "requests.jsonl"), prompts=("What?",))
    )
    assert catalogue.size == 2
    assert catalogue.image(0, 0).data == encoded()
    assert catalogue.image(1, 0).url == "https://a.b/c.jpg"
    assert [catalogue.prompt(n) for n in range(2)] == ["Which colour?", "What?"]
    with pytest.raises(ConfigError, match="cannot be uploaded"):
        load_catalogue(Traffic(requests=str(tmp_path / "requests.jsonl"), form=Form.UPLOAD))


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"image": "a.jpg"}', '{"picture": "missing.jpg"}', "\xff", '{"picture": "\xff"}'],
)
def test_what_is_no_file_of_requests_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"requests|cannot be read"):
        load_catalogue(Traffic(requests=str(path)))


def test_an_empty_folder_and_an_odd_size_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no images"):
        load_catalogue(Traffic(folder=str(tmp_path)))
    with pytest.raises(ConfigError, match="multiple of 32"):
        load_catalogue(Traffic(pixels=200))
