"""Checks whether a folder holds complete OpenVINO IR, as optimum-intel exports it."""

from __future__ import annotations

import re
from pathlib import Path

from silkline.errors import ConfigError
from silkline.models.amounts import bytes_text
from silkline.models.chat_template import read_chat_template
from silkline.models.completeness import check_documents, image_processor_lacks, special_tokens_lack
from silkline.models.stand_in import stand_in
from silkline.models.token_rules import Documents

_GRAPHS = (
    "openvino_language_model",
    "openvino_text_embeddings_model",
    "openvino_vision_embeddings_model",
    "openvino_tokenizer",
    "openvino_detokenizer",
)
"""Graphs that OpenVINO GenAI loads for every family, each an `.xml` with a `.bin` beside it."""

_MERGER, _POS = "openvino_vision_embeddings_merger_model", "openvino_vision_embeddings_pos_model"
_ADDITIONAL = {
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl"), (_MERGER,)),
    **dict.fromkeys(("qwen3_vl", "qwen3_5"), (_MERGER, _POS)),
    "gemma4": ("openvino_text_embeddings_per_layer_model",),
}
"""Additional graphs, by `model_type`."""

_TOKENIZER = "openvino_tokenizer.xml"
_CONSTANT = re.compile(rb'\boffset="(\d{1,18})"\s+size="(\d{1,18})"')
_END = b"</net>"


def ir_lacks(folder: Path, files: Documents) -> str | None:
    """What is missing of IR that the engine openvino can serve; None if it is complete.

    Args:
        folder: The folder of the IR.
        files: Its JSON files about images.

    Raises:
        ConfigError: A file is damaged.
    """
    check_documents(folder)
    additional = _ADDITIONAL.get(files.config.text("model_type") or "", ())
    lacks = [
        _graphs_lack(folder, (*_GRAPHS, *additional)),
        image_processor_lacks(files),
        special_tokens_lack(folder),
        _template_lacks(folder),
    ]
    return "; ".join(filter(None, lacks)) or None


def _graphs_lack(folder: Path, graphs: tuple[str, ...]) -> str | None:
    names = [f"{graph}.{ending}" for graph in graphs for ending in ("xml", "bin")]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        return f"files of its OpenVINO IR are not here: {', '.join(missing)}; export it again"
    for graph in graphs:
        _check_graph(folder / f"{graph}.xml", folder / f"{graph}.bin")
    return None


def _check_graph(graph: Path, weights: Path) -> None:
    """Raises `ConfigError` if a graph or its weights are incomplete."""
    try:
        text, size = graph.read_bytes(), weights.stat().st_size
        for path in (graph, weights) if size else (graph,):  # a graph may have no constants
            if instead := stand_in(path):
                raise ConfigError(f"{path.name} {instead}.")
    except OSError as error:
        raise ConfigError(f"{graph.name} cannot be read: {error.strerror}.") from error
    if not text.rstrip().endswith(_END):
        raise ConfigError(f"{graph.name} is cut off or damaged. Download or export it again.")
    needed = max((int(begin) + int(length) for begin, length in _CONSTANT.findall(text)), default=0)
    if size < needed:
        raise ConfigError(
            f"{weights.name} is cut off: {bytes_text(size)} of {bytes_text(needed)} are here. "
            "Download or export it again."
        )


def _template_lacks(folder: Path) -> str | None:
    """Says if there is no chat template. The exporter may store it in the tokenizer's graph."""
    graph = folder / _TOKENIZER
    if read_chat_template(folder) or (graph.is_file() and b"chat_template" in graph.read_bytes()):
        return None
    return "it has no chat template; get chat_template.jinja from where the model was published"
