"""`llama-server`: the flags that Silkline's settings become, and the flags that users must not set.

Flags of llama.cpp b9000 and later; tools/server/README.md there.
"""

from __future__ import annotations

import glob
import logging
from pathlib import Path
from typing import ClassVar

from silkline.core import Feature
from silkline.engines.base import EngineOptions
from silkline.engines.managed.flags import CACHING, SAMPLING, check_flags, find_command, split
from silkline.engines.managed.model import ServedModel, name_and_revision, read_rule
from silkline.engines.managed.options import ManagedOptions
from silkline.engines.managed.plan import cache_bytes, share_out
from silkline.engines.managed.server import Server, model_folder
from silkline.engines.remote.servers import FEATURES, ServerKind
from silkline.engines.threads import usable_cores
from silkline.models.added_tokens import AddedTokens
from silkline.models.documents import CONFIG
from silkline.models.gguf import Value, read_gguf
from silkline.models.gguf_files import all_parts, choose_files
from silkline.models.image_tokens import Fixed, TokenRule

logger = logging.getLogger("silkline.llamacpp")

_BYTES_PER_NUMBER = 2  # the KV cache is in float16
_CONTROL_TOKEN = 3
_ADDED = frozenset({_CONTROL_TOKEN, 4})
"""GGUF token types: control tokens, which are never text, and user-defined tokens."""

_SOCKET = "the server listens on a private socket"
_MODEL = "give the model to Silkline; the engine option file chooses among several"
_CODE = "Silkline runs no tools for clients"
_LOGGED = "clients' prompts are not logged"
_CONTEXT = "use the setting max_batch and the engine option context"
_IMAGES = "clients' images come only from Silkline"
_REFUSED = {
    **dict.fromkeys(("--host", "--port", "--reuse-port", "--api-prefix", "--path"), _SOCKET),
    **dict.fromkeys(("--ssl-key-file", "--ssl-cert-file"), _SOCKET),
    **dict.fromkeys(("--api-key", "--api-key-file"), "Silkline generates the key"),
    **dict.fromkeys(("-m", "--model", "-mu", "--model-url", "-dr", "--docker-repo"), _MODEL),
    **dict.fromkeys(("-hf", "-hfr", "--hf-repo", "-hff", "--hf-file", "--models-dir"), _MODEL),
    **dict.fromkeys(("-mm", "--mmproj", "-mmu", "--mmproj-url", "--models-preset"), _MODEL),
    **dict.fromkeys(("--no-mmproj", "--no-mmproj-auto", "-a", "--alias"), _MODEL),
    **dict.fromkeys(("-np", "--parallel", "-c", "--ctx-size"), _CONTEXT),
    **dict.fromkeys(("-kvu", "--kv-unified", "--kv-unified-per-slot"), _CONTEXT),
    **dict.fromkeys(("-t", "--threads", "-tb", "--threads-batch"), "use the setting threads"),
    **dict.fromkeys(("--tools", "--tools-runtime", "-ag", "--agent", "--ui-mcp-proxy"), _CODE),
    **dict.fromkeys(("--webui-mcp-proxy", "--mcp-servers-config", "--mcp-servers-json"), _CODE),
    **dict.fromkeys(("-v", "--verbose", "--log-verbose", "-lv", "--verbosity"), _LOGGED),
    **dict.fromkeys(("--log-verbosity", "--log-prompts-dir", "--slots"), _LOGGED),
    **dict.fromkeys(("--media-path",), _IMAGES),
    **dict.fromkeys(("--cache-prompt", "--no-cache-prompt", "--cache-ram", "-cram"), CACHING),
    **dict.fromkeys(("--slot-prompt-similarity", "-sps"), CACHING),
    **dict.fromkeys(("--top-k", "--min-p"), SAMPLING),
    **dict.fromkeys(("--ui", "--webui", "--no-jinja", "--context-shift"), "Silkline sets it"),
}


class LlamaServer(Server):
    """A llama.cpp server on a folder with GGUF files: a model and its image projector."""

    engine: ClassVar[str] = "llamacpp"

    def __init__(self, options: EngineOptions, own: ManagedOptions) -> None:
        """Reads the files' metadata and finds the program.

        Raises:
            ConfigError: The folder lacks one of these files, or an option is wrong.
            EnvironmentFault: llama.cpp is not installed.
        """
        super().__init__(options, own)
        self._flags = split("flags", own.flags)
        check_flags(self._flags, _REFUSED, abbreviated=False)
        folder = model_folder(options, self.engine)
        self._file, self._projector = choose_files(folder, own.file)
        self._model = _read(folder, self._file, self._projector, options)
        parts = folder.glob(all_parts(self._file.name))
        cache = cache_bytes(self._model, own, options, [*parts, self._projector])
        self._plan = share_out(self._model, own, options.max_batch, cache)
        if self._plan.slots < options.max_batch:
            logger.warning(
                "the KV cache of %d bytes holds %d requests of %d tokens, not %d; raise "
                "kv_cache_bytes or lower the engine option context",
                cache, self._plan.slots, self._plan.context, options.max_batch,
            )  # fmt: skip
        self._program = find_command(own.command, "llama-server", "brew install llama.cpp")

    @property
    def model(self) -> ServedModel:
        """See `Server`."""
        return self._model

    @property
    def features(self) -> frozenset[Feature]:
        """See `Server`."""
        return FEATURES[ServerKind.LLAMACPP] - {Feature.EXTRA}

    def command(self, socket: Path) -> list[str]:
        """See `Server`."""
        plan, threads = self._plan, str(self.options.threads or usable_cores())
        words = [*self._program, "--model", str(self._file), "--mmproj", str(self._projector)]
        words += ["--host", str(socket), "--alias", self.served_name, "--offline", "--no-webui"]
        words += ["--parallel", str(plan.slots), "--ctx-size", str(plan.slots * plan.context)]
        words += ["--no-kv-unified", "--no-context-shift", "--no-slots", "--jinja"]
        words += ["--threads", threads, "--threads-batch", threads]
        # llama-server samples with top_k and min_p by default; Silkline does not.
        words += ["--top-k", "0", "--min-p", "0"]
        if not self.own.prefix_cache:
            words += ["--no-cache-prompt", "--cache-ram", "0", "--slot-prompt-similarity", "0"]
        return [*words, *self._flags]

    def variables(self, key: str) -> dict[str, str]:
        """See `Server`."""
        return {"LLAMA_API_KEY": key}

    def inherits(self, variable: str) -> bool:
        """See `Server`. Excludes `LLAMA_*`: llama-server also reads flags from its environment.

        Most are named `LLAMA_ARG_*`, but not all: `LLAMA_SERVER_SLOTS_DEBUG` exposes prompts.
        """
        return super().inherits(variable) and not variable.startswith("LLAMA_")


def _read(folder: Path, file: Path, projector: Path, options: EngineOptions) -> ServedModel:
    data = read_gguf(file)
    rule = read_rule(folder) if (folder / CONFIG).is_file() else None
    patterns = (all_parts(file.name), glob.escape(projector.name))
    name, revision = name_and_revision(folder, options, patterns)
    return ServedModel(
        name=name,
        revision=revision,
        precision=None,
        context_length=_number(data, f"{data.get('general.architecture')}.context_length"),
        kv_bytes_per_token=kv_bytes_per_token(data),
        rule=rule or projector_rule(read_gguf(projector)),
        reserved=reserved_tokens(data),
    )


def kv_bytes_per_token(data: dict[str, Value]) -> int | None:
    """Bytes of KV cache per token; None if the file's metadata is incomplete."""
    kind = data.get("general.architecture")
    layers, width = _number(data, f"{kind}.block_count"), _number(data, f"{kind}.embedding_length")
    heads = _number(data, f"{kind}.attention.head_count")
    if not (layers and width and heads):
        return None
    head_count = data.get(f"{kind}.attention.head_count_kv", heads)
    key = _number(data, f"{kind}.attention.key_length") or width // heads
    value = _number(data, f"{kind}.attention.value_length") or width // heads
    # A list has one count for each layer.
    counts, times = (head_count, 1) if isinstance(head_count, list) else ([head_count], layers)
    kv_heads = sum(count for count in counts if isinstance(count, int)) * times
    return kv_heads * (key + value) * _BYTES_PER_NUMBER or None


def projector_rule(data: dict[str, Value]) -> TokenRule | None:
    """The token rule of projectors that turn each patch into a token, such as LLaVA-1.5's."""
    size, patch = _number(data, "clip.vision.image_size"), _number(data, "clip.vision.patch_size")
    if data.get("clip.projector_type") != "mlp" or not (size and patch):
        return None
    return Fixed((size // patch) ** 2)


def reserved_tokens(data: dict[str, Value]) -> frozenset[str]:
    """Special tokens that clients must not write as text; see `AddedTokens.reserved`."""
    tokens, kinds = data.get("tokenizer.ggml.tokens"), data.get("tokenizer.ggml.token_type")
    if not isinstance(tokens, list) or not isinstance(kinds, list):
        return frozenset()
    added = AddedTokens.of(
        (number, str(token), kind == _CONTROL_TOKEN)
        for number, (token, kind) in enumerate(zip(tokens, kinds, strict=False))
        if kind in _ADDED
    )
    template = data.get("tokenizer.chat_template")
    return added.reserved(None, template if isinstance(template, str) else None)


def _number(data: dict[str, Value], key: str) -> int | None:
    value = data.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
