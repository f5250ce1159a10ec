"""From settings to the words that start a server, and what is refused before one starts."""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from silkline.core import LoraAdapter
from silkline.engines.base import EngineOptions
from silkline.engines.managed.llamacpp import LlamaServer
from silkline.engines.managed.options import ManagedOptions
from silkline.engines.managed.server import Server
from silkline.engines.managed.vllm import VllmServer
from silkline.engines.registry import create_engine, engine_spec
from silkline.errors import ConfigError, EnvironmentFault
from silkline.models.bundle import load_bundle
from silkline.models.resolve import bundled_folder
from tests.engines.managed.models import GGUF_MODEL, gguf, gguf_folder, llava_folder

SOCKET = Path("/run/x.sock")
RECORDED = Path(__file__).parent / "recorded"
CACHE = 16 * 1024 * 1024
"""Holds 65,536 tokens of the small models."""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the PATH, with both programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("vllm", "llama-server"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def vllm(folder: Path, own: ManagedOptions | None = None, **options: object) -> Server:
    given = EngineOptions(model=llava_folder(folder / "llava"), kv_cache_bytes=CACHE)
    return VllmServer(replace(given, **options), own or ManagedOptions())  # type: ignore[arg-type]


def llama(folder: Path, own: ManagedOptions | None = None, **options: object) -> Server:
    given = EngineOptions(model=gguf_folder(folder / "gguf"), kv_cache_bytes=CACHE)
    return LlamaServer(replace(given, **options), own or ManagedOptions())  # type: ignore[arg-type]


def value(words: list[str], flag: str) -> str:
    return words[words.index(flag) + 1]


def test_vllms_flags_follow_from_the_settings(programs: Path, tmp_path: Path) -> None:
    words = vllm(tmp_path, max_batch=7, name="org/a model").command(SOCKET)
    assert words[:3] == [str(programs / "vllm"), "serve", str(tmp_path / "llava")]
    assert value(words, "--uds") == str(SOCKET)
    assert value(words, "--served-model-name") == "org/a-model"
    assert value(words, "--max-num-seqs") == "7"
    assert value(words, "--max-model-len") == "auto"
    assert value(words, "--kv-cache-memory-bytes") == str(CACHE)
    assert {"--no-trust-remote-code", "--no-enable-prefix-caching"} <= set(words)
    own = ManagedOptions(context=2048, prefix_cache=True, flags="--dtype bfloat16")
    words = vllm(tmp_path, own).command(SOCKET)
    assert value(words, "--max-model-len") == "2048"
    assert "--enable-prefix-caching" in words
    assert words[-2:] == ["--dtype", "bfloat16"]


def test_vllm_never_fetches_and_never_reports(programs: Path, tmp_path: Path) -> None:
    told = vllm(tmp_path, threads=3).environment(
        "the key",
        {"VLLM_CPU_KVCACHE_SPACE": "40", "VLLM_DEBUG_LOG_API_SERVER_RESPONSE": "1", "A": "1"},
    )
    assert told["VLLM_API_KEY"] == "the key"
    assert (told["HF_HUB_OFFLINE"], told["VLLM_NO_USAGE_STATS"], told["A"]) == ("1", "1", "1")
    assert (told["OMP_NUM_THREADS"], told["VLLM_CPU_OMP_THREADS_BIND"]) == ("3", "nobind")
    assert not {"VLLM_CPU_KVCACHE_SPACE", "VLLM_DEBUG_LOG_API_SERVER_RESPONSE"} & told.keys()
    assert "OMP_NUM_THREADS" not in vllm(tmp_path).environment("the key", {})


def test_no_variable_sets_a_flag_of_llama_server(programs: Path, tmp_path: Path) -> None:
    inherited = {"LLAMA_ARG_TOOLS": "all", "LLAMA_SERVER_SLOTS_DEBUG": "1", "A": "1"}
    assert llama(tmp_path).environment("x", inherited) == {"LLAMA_API_KEY": "x", "A": "1"}


def test_llama_servers_flags_follow_from_the_settings(programs: Path, tmp_path: Path) -> None:
    words = llama(tmp_path, max_batch=7, threads=3).command(SOCKET)
    assert words[0] == str(programs / "llama-server")
    assert value(words, "--model") == str(tmp_path / "gguf" / "tiny-f16.gguf")
    assert value(words, "--mmproj") == str(tmp_path / "gguf" / "mmproj-tiny-f16.gguf")
    assert (value(words, "--host"), value(words, "--threads")) == (str(SOCKET), "3")
    assert (value(words, "--parallel"), value(words, "--ctx-size")) == ("7", str(7 * 4096))
    assert "--no-cache-prompt" in words
    own = ManagedOptions(context=1000, prefix_cache=True)
    words = llama(tmp_path, own, max_batch=2).command(SOCKET)
    assert value(words, "--ctx-size") == str(2 * 1024)
    assert "--no-cache-prompt" not in words
    assert value(words, "--threads") == str(len(os.sched_getaffinity(0)))


def test_a_small_cache_means_fewer_requests_then_a_shorter_context(
    programs: Path, tmp_path: Path
) -> None:
    words = llama(tmp_path, kv_cache_bytes=3 * 4096 * 256).command(SOCKET)
    assert (value(words, "--parallel"), value(words, "--ctx-size")) == ("3", str(3 * 4096))
    words = llama(tmp_path, kv_cache_bytes=1000 * 256).command(SOCKET)
    assert (value(words, "--parallel"), value(words, "--ctx-size")) == ("1", "768")


def test_without_a_size_the_cache_holds_every_request(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4,096 tokens of 256 bytes for each of 200 requests."""
    absent = tmp_path / "absent"
    monkeypatch.setattr("silkline.engines.accelerators.NVIDIA_DRIVER", absent)
    monkeypatch.setattr("silkline.engines.accelerators.AMD_DRIVER", absent)
    words = vllm(tmp_path, kv_cache_bytes=0, max_batch=200).command(SOCKET)
    assert value(words, "--kv-cache-memory-bytes") == str(200 * 4096 * 256)
    words = llama(tmp_path, kv_cache_bytes=0, max_batch=200).command(SOCKET)
    assert (value(words, "--parallel"), value(words, "--ctx-size")) == ("200", str(200 * 4096))


def test_on_a_gpu_vllm_takes_what_is_left_unless_told(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("silkline.engines.accelerators.AMD_DRIVER", tmp_path)
    assert "--kv-cache-memory-bytes" not in vllm(tmp_path, kv_cache_bytes=0).command(SOCKET)
    assert value(vllm(tmp_path).command(SOCKET), "--kv-cache-memory-bytes") == str(CACHE)


@pytest.mark.parametrize("server", [vllm, llama])
def test_a_cache_that_holds_no_request_is_refused(
    programs: Path, tmp_path: Path, server: type[Server]
) -> None:
    """16 tokens of a picture and 64 of text, 256 bytes each."""
    with pytest.raises(ConfigError, match=f"kv_cache_bytes to {80 * 256} or more"):
        server(tmp_path, kv_cache_bytes=79 * 256)  # type: ignore[arg-type, call-arg]
    server(tmp_path, kv_cache_bytes=80 * 256)  # type: ignore[arg-type, call-arg]


@pytest.mark.parametrize(
    "flags",
    [
        "--trust-remote-code",
        "--trust-remote",
        "--trust_remote_code",
        "--trust-remote-code=true",
        "--dtype half --api-key x",
        "--port=80",
        "--allowed-local-media-path /",
        "--config x.yaml",
        "--max-num-seqs 900",
        "--limit-mm-per-prompt.video=1",
        "--override-generation-config.temperature 2",
    ],
)
def test_vllms_dangerous_flags_are_refused(programs: Path, tmp_path: Path, flags: str) -> None:
    with pytest.raises(ConfigError, match="must not contain"):
        vllm(tmp_path, ManagedOptions(flags=flags))


@pytest.mark.parametrize(
    "flags", ["--tools all", "-m x", "--host=0.0.0.0", "--media-path /", "-c 10", "--agent", "-v"]
)
def test_llama_servers_dangerous_flags_are_refused(
    programs: Path, tmp_path: Path, flags: str
) -> None:
    with pytest.raises(ConfigError, match="must not contain"):
        llama(tmp_path, ManagedOptions(flags=flags))


@pytest.mark.parametrize(
    ("server", "recorded"), [(vllm, "vllm-0.32.0.txt"), (llama, "llama-server-0.3.36.txt")]
)
@pytest.mark.parametrize("prefix_cache", [False, True])
def test_no_flag_takes_back_what_silkline_sets(
    programs: Path, tmp_path: Path, server: type[Server], recorded: str, *, prefix_cache: bool
) -> None:
    known = set(re.split(r"[,\s]+", (RECORDED / recorded).read_text()))
    own = ManagedOptions(prefix_cache=prefix_cache)
    words = server(tmp_path, own).command(SOCKET)  # type: ignore[arg-type]
    taken: list[str] = []
    for word, following in itertools.pairwise([*words, "--"]):
        opposite = word.replace("--no-", "--") if "--no-" in word else f"--no-{word[2:]}"
        flag = opposite if following.startswith("--") else word
        if not word.startswith("--") or flag not in known:
            continue
        try:
            server(tmp_path, ManagedOptions(flags=f"{flag} x"))  # type: ignore[arg-type]
        except ConfigError:
            continue
        taken.append(flag)
    assert taken == []


def test_other_flags_are_not(programs: Path, tmp_path: Path) -> None:
    """Those that begin as a refused one does, values among them."""
    vllm(tmp_path, ManagedOptions(flags="--config-format hf --dtype --api-keyless"))
    llama(tmp_path, ManagedOptions(flags="-mg 0 --threads-http 2"))


def test_a_quote_that_is_not_closed_is_refused(programs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="quote"):
        vllm(tmp_path, ManagedOptions(flags="--dtype 'half"))


def test_what_is_not_installed_is_named_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentFault, match="pip install vllm"):
        vllm(tmp_path)
    with pytest.raises(EnvironmentFault, match=r"brew install llama\.cpp"):
        llama(tmp_path)
    with pytest.raises(EnvironmentFault, match="/nowhere/vllm"):
        vllm(tmp_path, ManagedOptions(command="/nowhere/vllm --x"))


def test_folders_that_the_server_cannot_load_are_refused(programs: Path, tmp_path: Path) -> None:
    safetensors, gguf_only = llava_folder(tmp_path / "s"), gguf_folder(tmp_path / "g")
    with pytest.raises(ConfigError, match=r"convert_hf_to_gguf\.py .*--mmproj") as caught:
        llama(tmp_path, model=safetensors)
    assert f"--outfile {safetensors}" not in caught.value.message  # it may be an installed package
    with pytest.raises(ConfigError, match="llamacpp"):
        vllm(tmp_path, model=gguf_only)
    (gguf_only / "mmproj-tiny-f16.gguf").unlink()
    with pytest.raises(ConfigError, match="no mmproj"):
        llama(tmp_path, model=gguf_only)
    (safetensors / "model.safetensors").unlink()
    (safetensors / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ConfigError, match="pickled"):
        vllm(tmp_path, model=safetensors)
    for server in (vllm, llama):
        with pytest.raises(ConfigError, match="no folder"):
            server(tmp_path, model=tmp_path / "nothing")
        with pytest.raises(ConfigError, match="needs a model"):
            server(tmp_path, model=None)


def test_one_of_several_files_is_chosen_by_name(programs: Path, tmp_path: Path) -> None:
    folder = gguf_folder(tmp_path / "gguf")
    (folder / "tiny-q8_0.gguf").write_bytes(gguf(GGUF_MODEL))
    (folder / "mmproj-tiny-bf16.gguf").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"tiny-f16\.gguf, tiny-q8_0\.gguf"):
        llama(tmp_path)
    words = llama(tmp_path, ManagedOptions(file="tiny-q8_0.gguf")).command(SOCKET)
    assert value(words, "--model") == str(folder / "tiny-q8_0.gguf")
    assert value(words, "--mmproj") == str(folder / "mmproj-tiny-f16.gguf")
    with pytest.raises(ConfigError, match=r"holds no other\.gguf"):
        llama(tmp_path, ManagedOptions(file="other.gguf"))


def test_a_model_in_parts_is_its_first_part(programs: Path, tmp_path: Path) -> None:
    folder = gguf_folder(tmp_path / "parts")
    (folder / "tiny-f16.gguf").rename(folder / "tiny-00001-of-00002.gguf")
    (folder / "tiny-00002-of-00002.gguf").write_bytes(b"")
    words = llama(tmp_path, model=folder).command(SOCKET)
    assert value(words, "--model").endswith("00001-of-00002.gguf")


def test_what_may_change_the_answers_changes_the_revision(programs: Path, tmp_path: Path) -> None:
    """Answers are kept by it."""
    folder = llava_folder(tmp_path / "llava")

    def server(flags: str = "", revision: str = "") -> VllmServer:
        options = EngineOptions(model=folder, kv_cache_bytes=CACHE, revision=revision)
        return VllmServer(options, ManagedOptions(flags=flags))

    plain = server().revision
    assert plain == server().revision
    assert server("--dtype half").revision.startswith(f"{plain}+")
    assert server("--dtype half").revision != server("--dtype float").revision
    assert server(revision="abc").revision == "abc"
    os.utime(folder / "model.safetensors", (1, 1))
    assert server().revision != plain


def test_all_files_of_a_gguf_change_the_revision(programs: Path, tmp_path: Path) -> None:
    folder = gguf_folder(tmp_path / "parts")
    (folder / "tiny-f16.gguf").rename(folder / "tiny[1]-00001-of-00002.gguf")
    (folder / "tiny[1]-00002-of-00002.gguf").write_bytes(b"")
    seen = {llama(tmp_path, model=folder).revision}
    for place, file in enumerate(sorted(folder.iterdir())):
        os.utime(file, (place, place))
        seen.add(llama(tmp_path, model=folder).revision)
    assert len(seen) == 4


def test_adapters_become_modules_with_room_for_the_largest_rank(programs: Path) -> None:
    adapters = tuple(
        LoraAdapter(f"{name}@1", f"/adapters/{name}", "1", rank)
        for name, rank in (("formal", 4), ("brief", 20))
    )
    options = EngineOptions(model=bundled_folder(), kv_cache_bytes=CACHE, adapters=adapters)
    server = VllmServer(options, ManagedOptions())
    words = server.command(programs / "http.sock")
    start = words.index("--enable-lora")
    assert words[start : start + 10] == [
        "--enable-lora", "--max-lora-rank", "32", "--max-loras", "2", "--max-cpu-loras", "2",
        "--lora-modules", "formal@1=/adapters/formal", "brief@1=/adapters/brief",
    ]  # fmt: skip
    assert server.variables("k")["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"
    alone = VllmServer(
        EngineOptions(model=bundled_folder(), kv_cache_bytes=CACHE), ManagedOptions()
    )
    assert "--enable-lora" not in alone.command(programs / "http.sock")
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" not in alone.variables("k")


def test_a_bundle_says_what_it_is_called(programs: Path) -> None:
    server = VllmServer(EngineOptions(model=bundled_folder()), ManagedOptions())
    assert server.model.name == load_bundle(bundled_folder()).manifest.name
    assert server.revision == load_bundle(bundled_folder()).manifest.revision
    assert server.model.precision == "float16"
    own = ManagedOptions(flags="--dtype=float32")
    assert VllmServer(EngineOptions(model=bundled_folder()), own).model.precision is None


def test_a_worker_gets_the_time_that_its_server_gets() -> None:
    def seconds(engine: str, **extra: str) -> float:
        return engine_spec(engine).start_seconds(EngineOptions(extra=extra))

    assert seconds("openvino") == 120
    assert seconds("vllm") == 930
    assert seconds("llamacpp", start_seconds="60") == 90
    with pytest.raises(ConfigError, match="start_seconds"):
        seconds("vllm", start_seconds="-1")


@pytest.mark.parametrize("name", ["vllm", "llamacpp"])
def test_an_unknown_option_is_refused(name: str, programs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nonsense"):
        create_engine(name, EngineOptions(model=tmp_path, extra={"nonsense": "1"}))
