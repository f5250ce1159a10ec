"""Loads a model onto its device and builds its KV cache and batch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from silkline.core import Message, Role, TextPart
from silkline.engines.kv_budget import USUAL_CONTEXT, kv_budget, spare_memory
from silkline.engines.threads import choose_threads
from silkline.engines.torch import attention
from silkline.engines.torch.adapters import Adapters
from silkline.engines.torch.attention_choice import Sizes, choose
from silkline.engines.torch.batch import Batch
from silkline.engines.torch.decode import Decoder
from silkline.engines.torch.families.base import Family, Served
from silkline.engines.torch.families.common import Adapter
from silkline.engines.torch.features import FeatureCache
from silkline.engines.torch.generic.batch import StaticBatch
from silkline.engines.torch.generic.loading import batch_of, load_generic
from silkline.engines.torch.linear import pack_linears
from silkline.engines.torch.loading import load_family
from silkline.engines.torch.options import TorchOptions
from silkline.engines.torch.placement import choose_device, choose_dtype
from silkline.engines.torch.prefixes import Prefixes
from silkline.engines.torch.quantised import compute_quantised
from silkline.engines.torch.runner import Runner
from silkline.engines.torch.slots import KvSlots, state_bytes, token_bytes
from silkline.engines.torch.support import GENERIC, PACKED, torch_path
from silkline.engines.torch.text_forward import probe
from silkline.engines.torch.vision import Vision
from silkline.errors import ConfigError
from silkline.models.bundle import EngineWeights
from silkline.models.token_rules import read_documents
from silkline.models.weights import read_weights

_CHUNK_TOKENS = {"cpu": 256, "cuda": 2048}
"""Prompt tokens in a step: they delay decoding requests by about the time of a few steps."""

_HELLO = (Message(Role.USER, (TextPart("Hello"),)),)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready to serve.

    Attributes:
        family: The model.
        batch: Runs the model.
        max_tokens: Maximum number of tokens of prompt and answer together.
        dtype: Type of its weights.
        device: "cpu" or "cuda".
        path: How it is run; see `EngineInfo.path`.
    """

    family: Served
    batch: Batch | StaticBatch
    max_tokens: int
    dtype: torch.dtype
    device: str
    path: str


@dataclass(frozen=True, slots=True)
class PackedModel(LoadedModel):
    """A model of a known family, which runs in packed batches.

    Attributes:
        adapters: Its LoRA adapters.
    """

    family: Family
    batch: Batch
    adapters: Adapters


def load(
    folder: Path,
    options: TorchOptions,
    *,
    max_batch: int,
    kv_cache_bytes: int,
    kv_cache_limit: int = 0,
    threads: int = 0,
    entry: EngineWeights | None = None,
) -> LoadedModel:
    """Loads a model and builds its batch.

    Args:
        folder: The folder of the model's weights.
        options: The engine's options.
        max_batch: Maximum number of requests in a batch.
        kv_cache_bytes: Memory for keys and values; 0 chooses by the model and the free memory.
        kv_cache_limit: Maximum main memory that this choice may take; 0 for no other limit.
        threads: Compute threads on the CPU; 0 lets the engine choose.
        entry: What a bundle's manifest says of the weights; None if there is none.

    Raises:
        ConfigError: The model is not supported, or the KV cache cannot hold a single request.
        EnvironmentFault: This machine does not have the device that the options require.
    """
    weights = read_weights(folder)
    if threads := choose_threads(threads, weights.bytes):
        torch.set_num_threads(threads)
    device = choose_device(options)
    dtype = choose_dtype(options, weights.dtypes, device)
    if torch_path(read_documents(folder)) == GENERIC:
        _check_whole(entry)
        spare = _spare(device, kv_cache_limit)
        return _load_generic(folder, dtype, device, max_batch, kv_cache_bytes, spare)
    family = _load_packed(folder, dtype, device, max_batch, entry)
    with torch.inference_mode():
        prompt = family.prepare(_HELLO, ())
        inputs = family.embed(prompt, ())[:1]
        found = probe(family, inputs, prompt.positions[:, :1].to(device))
        spare = _spare(device, kv_cache_limit)
        slots = _slots(found, family, max_batch, kv_cache_bytes, spare, inputs)
    _check_room(slots, len(prompt.ids))
    chunk = options.prefill_chunk or _CHUNK_TOKENS[device.type]
    with torch.inference_mode():
        chosen = choose(options.attention, Sizes.of(found, max_batch, chunk), inputs)
    packed = attention.PackedAttention(slots, chosen.prefill, chosen.decode, found.reads)
    attention.install(family.text_model, packed)
    adapters = Adapters(family.model, family.text_model, inputs[:0], options.adapter_bytes)
    decoder = Decoder(
        family,
        slots,
        packed,
        adapters,
        windows=found.windows,
        position_rows=prompt.positions.shape[0],
        dtype=inputs.dtype,
        padded=device.type == "cuda",
    )
    # A recurrent state belongs to the whole prompt, and so do tokens that are picked by its text.
    pruning = None if entry is None else entry.pruning
    by_text = pruning is not None and pruning.method.needs_prompt
    reuses_prefixes = options.reuse and not found.states and not by_text
    batch = Batch(
        Runner(family, slots, packed, decoder, adapters, device=device),
        slots,
        Vision(family, FeatureCache(options.feature_cache_bytes if options.reuse else 0), adapters),
        end_ids=family.end_ids,
        chunk_tokens=chunk,
        prefixes=Prefixes(slots, family.image_token_id) if reuses_prefixes else None,
    )
    max_tokens = min(family.context_length, slots.max_tokens)
    return PackedModel(family, batch, max_tokens, inputs.dtype, device.type, PACKED, adapters)


def _check_room(slots: KvSlots, tokens: int) -> None:
    """Checks that the slots hold a request of more than this many tokens."""
    if slots.max_tokens <= tokens:
        raise ConfigError(
            f"The KV cache holds {slots.max_tokens} tokens of this model, too few for any "
            f"request; each takes {slots.token_bytes} bytes. Raise kv_cache_bytes."
        )


def _check_whole(entry: EngineWeights | None) -> None:
    """Refuses a bundle with fewer image tokens, which only adapters can do."""
    if entry is not None and entry.fewer_image_tokens:
        raise ConfigError(
            "Image tokens are pruned (bundle.json), which the torch engine can do only for "
            "families that have an adapter (docs/torch.md). Serve the bundle that this one was "
            "optimised from."
        )


def _load_packed(
    folder: Path,
    dtype: torch.dtype,
    device: torch.device,
    max_batch: int,
    entry: EngineWeights | None,
) -> Adapter:
    """Loads a model with an adapter; its linear layers compute in the fastest way."""
    family = load_family(folder, dtype=dtype, device=device, entry=entry)
    compute_quantised(family.model, batch=max_batch, dtype=dtype)
    if device.type == "cpu":
        pack_linears(family.model, batch=max_batch)
    return family


def _load_generic(
    folder: Path,
    dtype: torch.dtype,
    device: torch.device,
    max_batch: int,
    kv_cache_bytes: int,
    spare: int,
) -> LoadedModel:
    """Loads a model without an adapter."""
    model = load_generic(folder, dtype=dtype, device=device, max_batch=max_batch)
    batch = batch_of(model, max_batch=max_batch, kv_cache_bytes=kv_cache_bytes, spare=spare)
    max_tokens = min(model.context_length, batch.limits.max_tokens)
    return LoadedModel(model, batch, max_tokens, dtype, device.type, GENERIC)


def _slots(
    found: attention.Probed,
    family: Family,
    maximum: int,
    configured: int,
    spare: int,
    inputs: torch.Tensor,
) -> KvSlots:
    """Creates slots for `maximum` requests in `configured` bytes; 0 takes at most `spare`."""
    budget = kv_budget(
        configured,
        requests=maximum,
        tokens=min(family.context_length, USUAL_CONTEXT),
        token_bytes=token_bytes(found.shapes.values(), inputs.dtype),
        request_bytes=state_bytes(found.states),
        spare=spare,
    )
    return KvSlots(
        found.shapes,
        max_slots=maximum,
        budget=budget,
        dtype=inputs.dtype,
        device=inputs.device,
        steady=inputs.is_cuda,
        states=found.states,
    )


def _spare(device: torch.device, limit: int) -> int:
    """Returns the bytes that keys and values may take; on CUDA half of the free device memory."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 2
    return spare_memory(limit=limit)
