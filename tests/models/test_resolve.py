from pathlib import Path

import pytest

from silkline.errors import ConfigError, EnvironmentFault
from silkline.models.hub import cache_folder, parse_hub_id
from silkline.models.resolve import BUNDLED_MODEL, Kind, bundled_folder, locate_model
from silkline.models.store import store_folder
from tests.models.samples import LLAVA_15_7B, save

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A hub cache as huggingface_hub leaves it, with one model on two branches."""
    repository = tmp_path / "hub" / "models--llava-hf--llava-1.5-7b-hf"
    for revision, commit in (("main", COMMIT), ("pr/7", OTHER)):
        reference = repository / "refs" / revision
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(commit)
        save(repository / "snapshots" / commit, LLAVA_15_7B)
    card = "---\nlanguage:\n- en\nlicense: llama2\n---\n# LLaVA\nlicense: none of this\n"
    (repository / "snapshots" / COMMIT / "README.md").write_text(card)
    return tmp_path / "hub"


@pytest.mark.parametrize(
    ("model", "commit"),
    [
        ("llava-hf/llava-1.5-7b-hf", COMMIT),
        ("llava-hf/llava-1.5-7b-hf@main", COMMIT),
        ("llava-hf/llava-1.5-7b-hf@pr/7", OTHER),
        (f"llava-hf/llava-1.5-7b-hf@{OTHER}", OTHER),
    ],
)
def test_a_hub_id_is_pinned_to_a_commit(cache: Path, model: str, commit: str) -> None:
    place = locate_model(model, {"HF_HUB_CACHE": str(cache)})
    assert place.kind is Kind.HUB
    assert place.revision == commit
    assert place.folder.name == commit
    assert place.license == ("llama2" if commit == COMMIT else None)


@pytest.mark.parametrize(
    ("model", "said", "command"),
    [
        ("org/absent", "org/absent is not in the local cache", "hf download org/absent"),
        (
            "llava-hf/llava-1.5-7b-hf@v9",
            f"not its revision v9; it has: main, pr/7, {COMMIT}",
            "hf download llava-hf/llava-1.5-7b-hf --revision v9",
        ),
        (
            f"llava-hf/llava-1.5-7b-hf@{'a' * 40}",
            "no files of",
            f"hf download llava-hf/llava-1.5-7b-hf --revision {'a' * 40}",
        ),
    ],
)
def test_what_is_not_there_is_named_with_the_command_that_gets_it(
    cache: Path, model: str, said: str, command: str
) -> None:
    with pytest.raises(EnvironmentFault) as caught:
        locate_model(model, {"HF_HUB_CACHE": str(cache)})
    assert said in caught.value.message
    assert caught.value.remedy == command


def test_a_snapshot_without_a_config_is_not_whole(cache: Path) -> None:
    (cache / "models--llava-hf--llava-1.5-7b-hf" / "snapshots" / COMMIT / "config.json").unlink()
    with pytest.raises(EnvironmentFault, match=r"without its config\.json"):
        locate_model("llava-hf/llava-1.5-7b-hf", {"HF_HUB_CACHE": str(cache)})


def test_a_reference_that_points_outside_is_not_followed(cache: Path) -> None:
    reference = cache / "models--llava-hf--llava-1.5-7b-hf" / "refs" / "main"
    reference.write_text("../../../../etc")
    with pytest.raises(EnvironmentFault, match="not its revision main"):
        locate_model("llava-hf/llava-1.5-7b-hf", {"HF_HUB_CACHE": str(cache)})


@pytest.mark.parametrize(
    "model",
    [
        "org/name@../x",
        "org/name@/etc",
        "../org/name",
        "org/../name",
        "org/na--me",
        "org/name/more",
        "name",
        "org/",
        "org/name@",
        "org/name\n",
        "",
    ],
)
def test_what_is_no_hub_id_is_refused(model: str, cache: Path) -> None:
    assert parse_hub_id(model) is None


def test_a_text_that_is_nothing_is_refused(cache: Path) -> None:
    with pytest.raises(ConfigError, match="expected silkline-mini, a folder, or a hub id"):
        locate_model("no such model", {"HF_HUB_CACHE": str(cache)})


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"HF_HUB_CACHE": "/a", "HF_HOME": "/b"}, "/a"),
        ({"HF_HOME": "/b", "XDG_CACHE_HOME": "/c"}, "/b/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({}, str(Path("~/.cache/huggingface/hub").expanduser())),
        ({"HF_HUB_CACHE": ""}, str(Path("~/.cache/huggingface/hub").expanduser())),
    ],
)
def test_the_cache_lies_where_its_owner_says(environment: dict[str, str], expected: str) -> None:
    assert str(cache_folder(environment)) == expected


def test_a_folder_wins_over_a_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    save(tmp_path / "llava-hf" / "llava-1.5-7b-hf", LLAVA_15_7B)
    monkeypatch.chdir(tmp_path)
    place = locate_model("llava-hf/llava-1.5-7b-hf", {"HF_HUB_CACHE": str(cache)})
    assert place.kind is Kind.FOLDER
    assert place.revision is None


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is empty: expected a config\.json"):
        locate_model(str(tmp_path), {})


def test_the_bundled_model_is_a_bundle() -> None:
    place = locate_model(BUNDLED_MODEL, {})
    assert place.kind is Kind.BUNDLE
    assert place.folder == bundled_folder()
    assert place.license == "Apache-2.0"
    assert place.bundle is not None
    assert place.revision == place.bundle.manifest.revision


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("README.md", "---\nlicense: apache-2.0\n---\n", "apache-2.0"),
        ("README.md", "---\r\nlicense: 'mit'\r\n---\r\n", "mit"),
        ("README.md", "---\nlicense:\n- gemma\n---\n", "gemma"),
        ("README.md", "---\nlicense: other\nlicense_name: qwen-research\n---\n", "qwen-research"),
        ("README.md", "# Card\nlicense: mit\n", None),
        ("README.md", "---\nlicense: mit\n", None),
        ("LICENSE", "\n      Apache License\n   Version 2.0, January 2004\n", "apache-2.0"),
        ("LICENSE.md", "Terms of our own.", "see LICENSE.md"),
        ("LICENSE", "", None),
    ],
)
def test_the_licence_is_what_the_files_say(
    tmp_path: Path, name: str, text: str, expected: str | None
) -> None:
    save(tmp_path, LLAVA_15_7B)
    (tmp_path / name).write_text(text, newline="")
    assert locate_model(str(tmp_path), {}).license == expected


def test_what_the_system_does_not_look_for_is_told(tmp_path: Path) -> None:
    for there in ("a" * 5000, str(tmp_path / ("a" * 300))):
        with pytest.raises(EnvironmentFault, match="cannot be accessed: File name too long") as e:
            locate_model(there, {})
        assert len(e.value.message) < 400
    with pytest.raises(EnvironmentFault, match="cannot be accessed"):
        locate_model("org/name", {"HF_HUB_CACHE": "/" + "a" * 300})


def test_a_home_that_nobody_has_is_told() -> None:
    with pytest.raises(ConfigError, match="The home in ~no-such-user/m is not known"):
        locate_model("~no-such-user/m", {})
    with pytest.raises(ConfigError, match="set HOME"):
        cache_folder({"HF_HOME": "~no-such-user"})
    with pytest.raises(ConfigError, match="set HOME"):
        store_folder("", {"XDG_CACHE_HOME": "~no-such-user"})
