"""The size of the weights that an engine loads, not of those beside them."""

from pathlib import Path

import pytest

from silkline.optimize.size import weight_bytes


@pytest.mark.parametrize(("engine", "size"), [("openvino", 50), ("torch", None), ("vllm", None)])
def test_weights_of_another_format_beside_them_do_not_count(
    tmp_path: Path, engine: str, size: int | None
) -> None:
    header = b'{"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
    tensors = len(header).to_bytes(8, "little") + header + b"1234"
    (tmp_path / "model.safetensors").write_bytes(tensors)
    (tmp_path / "openvino_language_model.xml").write_bytes(b"<net/>")
    (tmp_path / "openvino_language_model.bin").write_bytes(b"w" * 50)
    assert weight_bytes(tmp_path, engine) == (size or len(tensors))


def test_no_weights(tmp_path: Path) -> None:
    assert weight_bytes(tmp_path, "torch") is None
