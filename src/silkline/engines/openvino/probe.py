"""Exposes how the OpenVINO engine processes a request, for the preprocessing contract.

If the engine embeds prompts itself, it has everything but the logits, for which the language model
runs once more. If OpenVINO GenAI processes images and prompts, it exposes nothing of them. So the
same pipeline is loaded a second time with one change: the language model gets another output, the
last hidden state, which the pipeline returns (`GenerationConfig.return_omni_outputs`) along with
the prompt's token ids. The model's own head turns it into logits. The input of the vision tower
then stays hidden.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import openvino as ov
import openvino_genai as genai
from numpy.typing import NDArray
from openvino import opset13 as ops

from silkline.core import Request
from silkline.engines.openvino.arithmetic import arithmetic
from silkline.engines.openvino.embedding import Embedder
from silkline.engines.probe import Showing

if TYPE_CHECKING:
    from silkline.engines.openvino.engine import OpenVinoEngine

_LANGUAGE = "openvino_language_model"
_OUTPUT_NAMES = {"last_hidden_state", "intermediate_hidden_states"}
"""Names by which the pipeline finds the outputs to return."""


class Inspector(Protocol):
    """Inspects how the engine processes a request; called in a thread."""

    def inspect(self, request: Request) -> Showing:
        """Pixels, token ids and logits, as far as they are accessible."""

    def close(self) -> None:
        """Removes its temporary files."""


class OpenVinoProber:
    """See `silkline.engines.probe.Prober`."""

    def __init__(self, engine: OpenVinoEngine, inspector: Inspector) -> None:
        """Takes a started engine and its inspector."""
        self._engine = engine
        self._inspector = inspector

    async def show(self, request: Request) -> Showing:
        """See `Prober`."""
        first = replace(request, sampling=replace(request.sampling, max_tokens=1))
        served, usage = "", None
        async for delta in self._engine.generate(first):
            served, usage = served + delta.text, delta.usage or usage
        showing = await asyncio.to_thread(self._inspector.inspect, first)
        return replace(showing, served=served, usage=usage)

    async def aclose(self) -> None:
        """See `Prober`."""
        await asyncio.to_thread(self._inspector.close)


def open_prober(engine: OpenVinoEngine, weights: Path) -> OpenVinoProber:
    """Loads a prober; takes a while.

    Args:
        engine: A started engine.
        weights: The folder of its model.
    """
    if engine.embedder is not None:
        return OpenVinoProber(engine, EmbedderInspector(engine, engine.embedder, weights))
    return OpenVinoProber(engine, PipelineInspector(engine, weights))


class EmbedderInspector:
    """Inspects prompts that the engine embeds itself."""

    def __init__(self, engine: OpenVinoEngine, embedder: Embedder, weights: Path) -> None:
        """Loads the language model a second time."""
        self._engine = engine
        self._embedder = embedder
        self._model = ov.Core().compile_model(weights / f"{_LANGUAGE}.xml", "CPU", arithmetic())

    def inspect(self, request: Request) -> Showing:
        """See `Inspector`."""
        prepared = self._engine.prepared(request)
        if prepared is None:
            raise RuntimeError("the engine does not embed this prompt itself")
        (embeddings,) = self._embedder.embed([prepared])
        count = embeddings.shape[1]
        inputs = {
            "inputs_embeds": embeddings,
            "attention_mask": np.ones((1, count), np.int64),
            "position_ids": np.arange(count)[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        # A new infer request: an old one keeps its keys and values.
        logits = self._model.create_infer_request().infer(inputs)[0]
        return Showing(
            pixels=np.asarray(self._embedder.pixels(prepared), np.float32),
            prompt_ids=tuple(prepared.ids.tolist()),
            logits=np.array(logits[0, -1], np.float32),
        )

    def close(self) -> None:
        """See `Inspector`."""


class PipelineInspector:
    """Inspects prompts that OpenVINO GenAI processes."""

    def __init__(self, engine: OpenVinoEngine, weights: Path) -> None:
        """Writes the changed language model and loads a pipeline with it."""
        self._engine = engine
        self._folder = Path(tempfile.mkdtemp(prefix="silkline-contract-"))
        try:
            self._head = _write_language_model(weights, self._folder)
            for file in weights.resolve().iterdir():
                if not (self._folder / file.name).exists():
                    (self._folder / file.name).symlink_to(file)
            self._pipeline = engine.load_pipeline(self._folder)
        except BaseException:
            self.close()
            raise

    def inspect(self, request: Request) -> Showing:
        """See `Inspector`."""
        prompt, images, _ = self._engine.pipeline_inputs(request)
        config = genai.GenerationConfig()
        config.apply_chat_template = False
        config.max_new_tokens = 1
        config.do_sample = False
        config.ignore_eos = True
        config.return_omni_outputs = True
        (result,) = self._pipeline.generate([prompt], [images], [config])
        output: NDArray[np.float32] = result.intermediate_hidden_states[0][-1].data.reshape(-1)
        logits = self._head(output[output.size // 2 :].reshape(1, 1, -1))[0]
        return Showing(
            prompt_ids=tuple(result.full_token_ids[0][:-1]),
            logits=np.array(logits, np.float32).reshape(-1),
            hidden={"pixels": "OpenVINO GenAI does not expose the input of its vision tower"},
        )

    def close(self) -> None:
        """See `Inspector`."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _write_language_model(weights: Path, folder: Path) -> Callable[[Any], Any]:
    """Writes the model with the added output; returns the head, which computes the logits."""
    core = ov.Core()
    model = core.read_model(weights / f"{_LANGUAGE}.xml")
    embeddings = next(port for port in model.inputs if "inputs_embeds" in port.names)
    width = embeddings.get_partial_shape()[-1].get_length()
    # Joined with the embeddings: an output that duplicates another would lose its name.
    output = ops.concat([embeddings, _head(model).input_value(0)], -1)
    output.output(0).set_names(_OUTPUT_NAMES)
    model.add_results([ops.result(output)])
    ov.save_model(model, folder / f"{_LANGUAGE}.xml", compress_to_fp16=False)
    head_model = core.read_model(weights / f"{_LANGUAGE}.xml")
    hidden = ops.parameter([-1, -1, width], np.float32)
    _head(head_model).input(0).replace_source_output(hidden.output(0))
    compiled: Callable[[Any], Any] = core.compile_model(
        ov.Model([_logits(head_model)], [hidden], "head"), "CPU", arithmetic()
    )
    return compiled


def _logits(model: ov.Model) -> Any:
    return next(
        result for result in model.get_results() if "logits" in result.input_value(0).get_names()
    )


def _head(model: ov.Model) -> Any:
    """The last matrix product before the logits; scaling and capping may follow it."""
    node = _logits(model).input_value(0).get_node()
    while node.get_type_name() != "MatMul":
        node = node.input_value(0).get_node()
    return node
