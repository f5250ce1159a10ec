"""What the OpenVINO engine makes of a request, for the preprocessing contract.

Where the engine embeds prompts itself, it has everything but the logits; the language model is run
once more for them. Where OpenVINO GenAI reads pictures and prompts, it tells nothing of them, so
the same pipeline is loaded a second time, with the model's own files but for one change: its
language model gets one output more, the last hidden state, which the pipeline hands out
(`GenerationConfig.return_omni_outputs`) along with the prompt's token ids. The model's own head
turns it into logits. What the vision tower took then stays hidden.
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
_SHOWN = {"last_hidden_state", "intermediate_hidden_states"}
"""The names under which the pipeline looks for what it is to hand out."""


class Sight(Protocol):
    """Looks at a request as the engine takes it, in a thread."""

    def look(self, request: Request) -> Showing:
        """Pixels, token ids and logits, as far as they can be seen."""

    def close(self) -> None:
        """Removes what was written for it."""


class OpenVinoProber:
    """See `silkline.engines.probe.Prober`."""

    def __init__(self, engine: OpenVinoEngine, sight: Sight) -> None:
        """Takes a started engine, and what looks into it."""
        self._engine = engine
        self._sight = sight

    async def show(self, request: Request) -> Showing:
        """See `Prober`."""
        first = replace(request, sampling=replace(request.sampling, max_tokens=1))
        served, usage = "", None
        async for delta in self._engine.generate(first):
            served, usage = served + delta.text, delta.usage or usage
        seen = await asyncio.to_thread(self._sight.look, first)
        return replace(seen, served=served, usage=usage)

    async def aclose(self) -> None:
        """See `Prober`."""
        await asyncio.to_thread(self._sight.close)


def open_prober(engine: OpenVinoEngine, weights: Path) -> OpenVinoProber:
    """Loads what looking takes; takes a while.

    Args:
        engine: Has started.
        weights: The folder that it serves.
    """
    if engine.embedder is not None:
        return OpenVinoProber(engine, EmbeddedSight(engine, engine.embedder, weights))
    return OpenVinoProber(engine, PipelineSight(engine, weights))


class EmbeddedSight:
    """Looks at a prompt that the engine embeds itself."""

    def __init__(self, engine: OpenVinoEngine, embedder: Embedder, weights: Path) -> None:
        """Loads the language model once more."""
        self._engine = engine
        self._embedder = embedder
        self._model = ov.Core().compile_model(weights / f"{_LANGUAGE}.xml", "CPU", arithmetic())

    def look(self, request: Request) -> Showing:
        """See `Sight`."""
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
        # A new request: the model keeps the last one's keys and values.
        logits = self._model.create_infer_request().infer(inputs)[0]
        return Showing(
            pixels=np.asarray(self._embedder.pixels(prepared), np.float32),
            prompt_ids=tuple(prepared.ids.tolist()),
            logits=np.array(logits[0, -1], np.float32),
        )

    def close(self) -> None:
        """See `Sight`."""


class PipelineSight:
    """Looks at a prompt that OpenVINO GenAI reads."""

    def __init__(self, engine: OpenVinoEngine, weights: Path) -> None:
        """Writes the changed language model, and loads the pipeline with it."""
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

    def look(self, request: Request) -> Showing:
        """See `Sight`."""
        prompt, images = self._engine.as_pipeline_takes(request)
        config = genai.GenerationConfig()
        config.apply_chat_template = False
        config.max_new_tokens = 1
        config.do_sample = False
        config.ignore_eos = True
        config.return_omni_outputs = True
        (result,) = self._pipeline.generate([prompt], [images], [config])
        shown: NDArray[np.float32] = result.intermediate_hidden_states[0][-1].data.reshape(-1)
        logits = self._head(shown[shown.size // 2 :].reshape(1, 1, -1))[0]
        return Showing(
            prompt_ids=tuple(result.full_token_ids[0][:-1]),
            logits=np.array(logits, np.float32).reshape(-1),
            hidden={"pixels": "OpenVINO GenAI keeps what its vision tower takes to itself"},
        )

    def close(self) -> None:
        """See `Sight`."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _write_language_model(weights: Path, folder: Path) -> Callable[[Any], Any]:
    """Adds the output; gives what turns its last row into logits."""
    core = ov.Core()
    model = core.read_model(weights / f"{_LANGUAGE}.xml")
    embeddings = next(port for port in model.inputs if "inputs_embeds" in port.names)
    width = embeddings.get_partial_shape()[-1].get_length()
    # Beside the embeddings: an output of its own keeps its name, one that repeats another does not.
    shown = ops.concat([embeddings, _head(model).input_value(0)], -1)
    shown.output(0).set_names(_SHOWN)
    model.add_results([ops.result(shown)])
    ov.save_model(model, folder / f"{_LANGUAGE}.xml", compress_to_fp16=False)
    rest = core.read_model(weights / f"{_LANGUAGE}.xml")
    hidden = ops.parameter([-1, -1, width], np.float32)
    _head(rest).input(0).replace_source_output(hidden.output(0))
    compiled: Callable[[Any], Any] = core.compile_model(
        ov.Model([_logits(rest)], [hidden], "head"), "CPU", arithmetic()
    )
    return compiled


def _logits(model: ov.Model) -> Any:
    return next(end for end in model.get_results() if "logits" in end.input_value(0).get_names())


def _head(model: ov.Model) -> Any:
    """The last matrix product before the logits; scaling and capping may stand behind it."""
    node = _logits(model).input_value(0).get_node()
    while node.get_type_name() != "MatMul":
        node = node.input_value(0).get_node()
    return node
