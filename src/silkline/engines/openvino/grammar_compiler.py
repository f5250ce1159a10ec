"""Compiles grammars with a tokenizer's xgrammar compiler, outside a model's pipeline.

GenAI has no access to its compiler. It keeps one compiler for each tokenizer, with every grammar
that it has compiled, and replaces it when a pipeline has another number of logits. So a pipeline
over a model without weights can compile a grammar, and one with a single logit can free them all.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import openvino as ov
import openvino_genai as genai
from openvino import opset13 as op

MAX_BYTES: Final = 256 * 1024 * 1024
"""Maximum memory of the grammars that are kept."""

_STEPS = 8
"""Tokens that are generated with a grammar, for the cost of its masks."""

_PROMPT = np.zeros((1, 1), np.int64)


class CheckedGrammar(NamedTuple):
    """A grammar that can be compiled in bounded time.

    Attributes:
        text: The grammar in EBNF.
        bytes: The memory that it takes when it is compiled.
    """

    text: str
    bytes: int


class GrammarCompiler:
    """Compiles grammars and frees them."""

    def __init__(self, tokenizer: genai.Tokenizer) -> None:
        """Creates the pipelines; `tokenizer` is the one whose compiler is used."""
        self._compiling = _pipeline(tokenizer, len(tokenizer.get_vocab()))
        self._freeing = _pipeline(tokenizer, 1)
        self._end = tokenizer.get_eos_token_id()

    def compile(self, grammar: str) -> None:
        """Compiles a grammar in EBNF and generates some tokens with it.

        Raises:
            RuntimeError: The grammar is invalid.
        """
        structured = genai.StructuredOutputConfig(grammar=grammar)
        self._compiling.generate(ov.Tensor(_PROMPT), self._config(_STEPS, structured))

    def free(self) -> None:
        """Frees all compiled grammars; answers in progress keep theirs.

        No pipeline with this tokenizer may run at the same time.
        """
        self._freeing.generate(ov.Tensor(_PROMPT), self._config(1))

    def _config(
        self, tokens: int, structured: genai.StructuredOutputConfig | None = None
    ) -> genai.GenerationConfig:
        config = genai.GenerationConfig()
        config.set_eos_token_id(self._end)
        config.max_new_tokens = config.min_new_tokens = tokens
        config.structured_output_config = structured
        return config


class GrammarMemory:
    """Bounds the memory of the grammars that a pipeline has compiled."""

    def __init__(self, tokenizer: genai.Tokenizer, max_bytes: int = MAX_BYTES) -> None:
        """Takes the pipeline's own tokenizer."""
        self._compiler = GrammarCompiler(tokenizer)
        self._max_bytes = max_bytes
        self._kept: set[str] = set()
        self._bytes = 0

    def use(self, grammar: CheckedGrammar) -> None:
        """Makes room for a grammar that the pipeline is about to compile.

        Call it in the thread that steps the pipeline, between two steps.
        """
        if grammar.text in self._kept:
            return
        size = grammar.bytes + len(grammar.text)
        if self._bytes + size > self._max_bytes:
            self._compiler.free()
            self._kept.clear()
            self._bytes = 0
        self._kept.add(grammar.text)
        self._bytes += size


def _pipeline(tokenizer: genai.Tokenizer, logits: int) -> genai.LLMPipeline:
    with tempfile.TemporaryDirectory(prefix="silkline-grammar-") as folder:
        path = Path(folder) / "model.xml"
        ov.save_model(_model(logits), path)
        weights = np.fromfile(path.with_suffix(".bin"), np.uint8)
        return genai.LLMPipeline(
            path.read_text(),
            ov.Tensor(weights),
            tokenizer,
            "CPU",
            genai.GenerationConfig(),
            ATTENTION_BACKEND="SDPA",
            INFERENCE_NUM_THREADS=1,
        )


def _model(logits: int) -> ov.Model:
    """Returns a language model whose logits depend only on a token's index and position."""
    inputs = [
        _input("input_ids", [-1, -1], ov.Type.i64),
        _input("attention_mask", [-1, -1], ov.Type.i64),
        _input("position_ids", [-1, -1], ov.Type.i64),
        _input("beam_idx", [-1], ov.Type.i32),
    ]
    position = op.unsqueeze(op.convert(inputs[2], "f32"), op.constant(np.array([2], np.int64)))
    frequencies = np.random.default_rng(0).uniform(1, 50, (1, 1, logits)).astype(np.float32)
    found = op.result(op.sin(op.multiply(position, op.constant(frequencies))))
    found.output(0).set_names({"logits"})
    return ov.Model([found], inputs, "grammar")


def _input(name: str, shape: list[int], kind: ov.Type) -> ov.Node:
    node = op.parameter(shape, kind, name=name)
    node.output(0).set_names({name})
    return node
