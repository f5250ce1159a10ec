from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silkline.errors import ConfigError
from silkline.models.decoder import read_decoder
from silkline.models.documents import MAX_DOCUMENT_BYTES, Document, read_document
from silkline.models.families import FAMILIES
from silkline.models.image_tokens import Count
from silkline.models.preprocessing import read_preprocessing
from silkline.models.token_rules import Documents

words = st.sampled_from(
    ["x", "clip_vision_model", "llama", "gemma3_text", "anyres_max_9", "anyres_max_0", "full"]
)
wrong = st.sampled_from([None, True, -1, 0, 10**13, 0.5, float("nan"), [], [1], [[1, 1]]])
values = words | wrong | st.integers(1, 15) | st.integers(1, 2000) | st.just([[336, 672]])
keys = st.sampled_from(
    [
        "image_size",
        "patch_size",
        "model_type",
        "vision_feature_select_strategy",
        "vision_aspect_ratio",
        "image_grid_pinpoints",
        "num_query_tokens",
        "scale_factor",
        "max_image_size",
        "size",
        "longest_edge",
        "shortest_edge",
        "min_pixels",
        "max_pixels",
        "merge_size",
        "image_seq_len",
        "image_seq_length",
        "do_resize",
        "do_image_splitting",
        "max_patches",
        "min_patches",
        "height",
        "force_image_size",
        "downsample_ratio",
        "max_dynamic_patch",
        "min_dynamic_patch",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "layer_types",
        "sliding_window",
        "crop_size",
        "image_mean",
    ]
)
sections = st.dictionaries(keys, values, max_size=8)
documents: st.SearchStrategy[dict[str, Any]] = st.builds(
    lambda own, inner: own | inner,
    sections,
    st.dictionaries(
        st.sampled_from(["vision_config", "text_config", "llm_config", "size"]),
        sections | values,
        max_size=3,
    ),
)


@settings(deadline=None)
@given(documents, documents, sections, st.sampled_from(FAMILIES))
def test_any_config_is_understood_or_refused(
    config: dict[str, Any], image: dict[str, Any], processor: dict[str, Any], family: Any
) -> None:
    files = Documents(
        Document("config.json", config),
        Document("preprocessor_config.json", image),
        Document("processor_config.json", processor),
    )
    try:
        rule = family.image_tokens(files)
        read_decoder(files.config, family.text_type)
        read_preprocessing(files.image)
    except ConfigError:
        return
    if rule is not None:
        assert isinstance(rule.count(640, 480), Count)
        assert rule.count(640, 480).total <= rule.maximum().total
        assert rule.describe()


DEEP = b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", DEEP, b'{"a": NaN}'])
def test_what_is_no_json_object_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"config\.json is (not a JSON object|empty)"):
        read_document(tmp_path / "config.json", "config.json")


def test_a_file_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(MAX_DOCUMENT_BYTES + 1)
    with pytest.raises(ConfigError, match="longer than"):
        read_document(tmp_path / "config.json", "config.json")


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_document(tmp_path, "config.json")


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("number", "7"),
        ("number", 0),
        ("number", -1),
        ("number", True),
        ("number", 1.5),
        ("number", 10**13),
        ("decimal", "1"),
        ("decimals", [1, "2"]),
        ("decimals", [0.5] * 17),
        ("text", 3),
        ("text", "x" * 1001),
        ("texts", "llava"),
        ("flag", "yes"),
        ("pairs", [[1]]),
        ("pairs", [[0, 1]]),
        ("pairs", []),
        ("pairs", [[1, 1]] * 1001),
        ("section", []),
    ],
)
def test_a_value_of_another_type_is_named(method: str, value: object) -> None:
    document = Document("config.json", {"key": value})
    with pytest.raises(ConfigError, match=r"In config\.json, key is not"):
        getattr(document, method)("key")


@pytest.mark.parametrize("sign", ["", "-"])
def test_a_number_that_no_float_holds_is_refused(sign: str) -> None:
    document = Document("f.json", {"limit": int(f"{sign}1{'0' * 400}")})
    with pytest.raises(ConfigError, match="limit is not a number"):
        document.decimal("limit")
