from pathlib import Path

import pytest

from silkline.errors import ConfigError
from silkline.models.weights import INDEX, Part, part_of, read_weights, size_on_disk
from tests.models.samples import save, save_tensors


@pytest.mark.parametrize(
    ("tensor", "part"),
    [
        ("vision_tower.vision_model.embeddings.patch_embedding.weight", Part.VISION),
        ("model.vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight", Part.VISION),
        ("visual.blocks.0.attn.qkv.weight", Part.VISION),
        ("visual.merger.mlp.0.weight", Part.PROJECTOR),
        ("model.visual.merger.ln_q.weight", Part.PROJECTOR),
        ("multi_modal_projector.linear_1.weight", Part.PROJECTOR),
        ("model.connector.modality_projection.proj.weight", Part.PROJECTOR),
        ("image_newline", Part.PROJECTOR),
        ("qformer.encoder.layer.0.attention.attention.key.weight", Part.PROJECTOR),
        ("query_tokens", Part.PROJECTOR),
        ("mlp1.1.weight", Part.PROJECTOR),
        ("language_model.model.embed_tokens.weight", Part.EMBEDDINGS),
        ("language_model.lm_head.weight", Part.EMBEDDINGS),
        ("lm_head.weight", Part.EMBEDDINGS),
        ("model.embed_tokens.weight", Part.EMBEDDINGS),
        ("model.text_model.layers.0.mlp.up_proj.weight", Part.LANGUAGE),
        ("model.layers.0.self_attn.q_proj.weight", Part.LANGUAGE),
        ("language_model.model.decoder.layers.0.fc1.weight", Part.LANGUAGE),
        ("model.norm.weight", Part.LANGUAGE),
        ("something.else", Part.OTHER),
    ],
)
def test_tensors_belong_to_parts(tensor: str, part: Part) -> None:
    assert part_of(tensor) is part


def test_shards_are_added_up(tmp_path: Path) -> None:
    save_tensors(tmp_path / "a.safetensors", {"visual.w": ("BF16", [10, 10])})
    save_tensors(tmp_path / "b.safetensors", {"lm_head.weight": ("F32", [3, 5])})
    index = {"visual.w": "a.safetensors", "lm_head.weight": "b.safetensors"}
    save(tmp_path, {INDEX: {"metadata": {"total_size": 260}, "weight_map": index}})
    weights = read_weights(tmp_path)
    assert weights.files == ("a.safetensors", "b.safetensors")
    assert weights.parameters == {Part.VISION: 100, Part.EMBEDDINGS: 15}
    assert weights.dtypes == {"BF16": 100, "F32": 15}
    assert weights.total == 115
    assert weights.declared_bytes == 260


def test_a_missing_shard_is_named_and_nothing_is_totalled(tmp_path: Path) -> None:
    save_tensors(tmp_path / "a.safetensors", {"visual.w": ("BF16", [10, 10])})
    index = {"visual.w": "a.safetensors", "lm_head.weight": "b.safetensors"}
    save(tmp_path, {INDEX: {"weight_map": index}})
    weights = read_weights(tmp_path)
    assert weights.missing == ("b.safetensors",)
    assert weights.total is None


@pytest.mark.parametrize(
    "names",
    [["../a.safetensors"], ["/etc/passwd"], ["pytorch_model.bin"], [3], [], ["a/b.safetensors"]],
)
def test_an_index_that_points_elsewhere_is_refused(tmp_path: Path, names: list[object]) -> None:
    weight_map = {str(place): name for place, name in enumerate(names)}
    save(tmp_path, {INDEX: {"weight_map": weight_map}})
    with pytest.raises(ConfigError, match="does not name safetensors files beside it"):
        read_weights(tmp_path)


def test_pickled_weights_are_named_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"not even a pickle")
    (tmp_path / "old.pt").write_bytes(b"")
    weights = read_weights(tmp_path)
    assert weights.refused == ("old.pt", "pytorch_model.bin")
    assert weights.files == ()
    assert weights.total is None


def test_openvino_s_bin_files_are_not_taken_for_pickles(tmp_path: Path) -> None:
    (tmp_path / "openvino_language_model.xml").write_bytes(b"<net/>")
    (tmp_path / "openvino_language_model.bin").write_bytes(b"1234")
    weights = read_weights(tmp_path)
    assert weights.refused == ()
    assert weights.openvino == {
        "openvino_language_model.bin": 4,
        "openvino_language_model.xml": 6,
    }


def test_one_whole_file_wins_over_copies_beside_it(tmp_path: Path) -> None:
    for name in ("model.safetensors", "model.fp16.safetensors", "adapter/model.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save_tensors(tmp_path / name, {"lm_head.weight": ("F32", [4])})
    assert read_weights(tmp_path).total == 4


def test_links_count_as_what_they_point_to(tmp_path: Path) -> None:
    """As in the snapshots of the hub's cache."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    save_tensors(blobs / "abc", {"lm_head.weight": ("F32", [4])})
    (snapshot / "model.safetensors").symlink_to(blobs / "abc")
    (snapshot / "gone.safetensors").symlink_to(blobs / "gone")
    assert read_weights(snapshot).total == 4
    assert size_on_disk(snapshot) == (blobs / "abc").stat().st_size
