"""What is planned for an export, and what becomes of the process that does it."""

import asyncio
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import msgspec
import pytest

from silkline.config import ModelSettings
from silkline.engines.openvino.export import plan as planning
from silkline.engines.openvino.export import process
from silkline.engines.openvino.export.environment import pins_of
from silkline.engines.openvino.export.plan import Plan, Precision, plan_export
from silkline.engines.openvino.export.process import Command, export_model
from silkline.engines.openvino.export.protocol import Order
from silkline.errors import ConfigError, EnvironmentFault, InternalFault
from silkline.models.label import label_of
from silkline.models.resolve import locate_model
from silkline.models.source import Digests
from silkline.models.store import Store
from silkline.service.pool import prepare
from tests.models.samples import BESIDE, INTERNVL2_2B, LLAVA_15_7B, SMOLVLM_500M, save, save_tensors

WEIGHTS = {"language_model.model.layers.0.mlp.weight": ("F16", [1000, 1000])}
CONFIG = LLAVA_15_7B["config.json"]
VERSIONS = dict.fromkeys(planning.ENGINE, "2026.4.0")


@pytest.fixture(autouse=True)
def libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planning looks at versions only, so the libraries need not be here."""
    monkeypatch.setattr(planning, "version", VERSIONS.__getitem__)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = save(tmp_path / "My model!", BESIDE | LLAVA_15_7B)
    save_tensors(folder / "model.safetensors", WEIGHTS)
    return folder


def planned(folder: Path, precision: Precision = Precision.INT8, digest: str = "d1") -> Plan:
    return plan_export(locate_model(str(folder), {}), precision, digest)


def test_a_plan_says_what_is_made_of_what(source: Path) -> None:
    plan = planned(source)
    assert (plan.name, plan.parent, plan.model_type) == ("My-model-8bbe44c7", "My model!", "llava")
    assert plan.parameters == 1_000_000
    assert 3_000_000 < plan.disk_bytes < 100_000_000
    assert planned(source, Precision.FP16).disk_bytes < plan.disk_bytes


def test_a_model_of_the_hub_is_named_by_its_name_and_commit(source: Path, tmp_path: Path) -> None:
    repository, commit = tmp_path / "hub" / "models--org--Some-Model", "a" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots").mkdir()
    source.rename(repository / "snapshots" / commit)
    place = locate_model("org/Some-Model", {"HF_HUB_CACHE": str(tmp_path / "hub")})
    plan = plan_export(place, Precision.INT8, "d1")
    assert (plan.name, plan.parent) == ("Some-Model", f"org/Some-Model@{commit}")
    pinned = locate_model(f"org/Some-Model@{commit}", {"HF_HUB_CACHE": str(tmp_path / "hub")})
    assert label_of(pinned) == "Some-Model"


def test_the_key_changes_with_all_that_the_export_depends_on(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {
        planned(source).key,
        planned(source, Precision.FP16).key,
        planned(source, digest="d2").key,
    }
    monkeypatch.setitem(VERSIONS, "openvino", "9.9")
    keys.add(planned(source).key)
    newer = pins_of("transformers-4.57") | {"nncf": "9.9"}
    monkeypatch.setattr(planning, "pins_of", lambda _: newer)
    keys.add(planned(source).key)
    monkeypatch.setattr(planning, "RECIPE", planning.RECIPE + 1)
    keys.add(planned(source).key)
    assert len(keys) == 6


def test_the_key_does_not_depend_on_names(source: Path) -> None:
    first = planned(source)
    second = planned(source.rename(source.with_name("another")))
    assert first.name != second.name
    assert first.key == second.key


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (SMOLVLM_500M, "no model_type idefics3; use the engine torch"),
        (INTERNVL2_2B, "would run the code that comes with it"),
    ],
)
def test_families_that_cannot_be_exported_are_refused_with_the_way_out(
    tmp_path: Path, files: dict[str, object], said: str
) -> None:
    folder = save(tmp_path / "model", files)
    save_tensors(folder / "model.safetensors", WEIGHTS)
    with pytest.raises(ConfigError, match=said):
        planned(folder)


def test_gguf_is_left_to_llamacpp(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", LLAVA_15_7B)
    (folder / "model.gguf").write_bytes(b"")
    with pytest.raises(ConfigError, match="it reads no GGUF; use the engine llamacpp"):
        planned(folder)


def test_packed_weights_are_refused(tmp_path: Path) -> None:
    packed = {"quantization_config": {"quant_method": "awq", "bits": 4}}
    folder = save(tmp_path / "model", {**LLAVA_15_7B, "config.json": CONFIG | packed})
    save_tensors(folder / "model.safetensors", WEIGHTS)
    with pytest.raises(ConfigError, match=r"its weights are quantised \(awq\).*such as vLLM"):
        planned(folder)


def test_models_without_safe_weights_are_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", BESIDE | LLAVA_15_7B)
    with pytest.raises(ConfigError, match=r"no safetensors in its folder; download model\.safe"):
        planned(folder)
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"pickled \(pytorch_model\.bin\), which is not"):
        planned(folder)


def test_shards_that_are_not_here_are_told(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", LLAVA_15_7B)
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ConfigError, match=r"1 of its shards are not here.*model-00001-of"):
        planned(folder)


def test_a_missing_engine_names_its_extra(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(planning, "version", lacking)
    with pytest.raises(EnvironmentFault, match=r"needs openvino,.*'silkline\[openvino\]'"):
        planned(source)


MANIFEST = {
    "schema": 1,
    "name": "tiny",
    "family": "llava",
    "revision": "r1",
    "license": "MIT",
    "context_length": 512,
    "image_tokens": 16,
    "image_size": 56,
    "engines": {"openvino": {"path": ".", "precision": "int8"}},
    "files": {"model.bin": hashlib.sha256(b"weights").hexdigest()},
}


def child(body: str) -> Command:
    """The command of a process that speaks as the exporting one does."""
    head = f"""
        import json, os, sys, time
        from pathlib import Path
        order = json.loads(sys.stdin.readline())
        folder = Path(order["folder"])
        def say(**said): print(json.dumps(said), flush=True)
        def bundle():
            (folder / "model.bin").write_bytes(b"weights")
            (folder / "bundle.json").write_text({json.dumps(MANIFEST)!r})
    """
    command = (sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(body))
    return lambda plan, on_progress: command


def test_the_child_fills_the_store_and_its_steps_are_shown(source: Path, tmp_path: Path) -> None:
    body = """
        say(type="step", stage="reading")
        say(type="step", stage="compressing", done=1, total=3)
        bundle()
        say(type="ended", kind="done")
    """
    store, seen = Store(tmp_path / "store"), list[str]()
    plan = planned(source)
    bundle = export_model(plan, store, seen.append, child(body))
    assert bundle.folder == store.folder / plan.key
    assert any("reading" in said for said in seen)
    assert any("compressing 1 of 3" in said and " s: " in said for said in seen)
    again = export_model(plan, store, pytest.fail, child("sys.exit(1)"))
    assert again.folder == bundle.folder


@pytest.mark.parametrize(
    ("kind", "error", "said"),
    [
        ("config", ConfigError, "as it was told"),
        ("environment", EnvironmentFault, "as it was told"),
        ("full", EnvironmentFault, "disk is full"),
        ("failed", InternalFault, "My-model-[0-9a-f]{8} failed: as it was told.*--engine torch"),
    ],
)
def test_what_keeps_the_child_from_it_is_told(
    source: Path, tmp_path: Path, kind: str, error: type[Exception], said: str
) -> None:
    body = f"""
        (folder / "half.bin").write_bytes(b"half")
        say(type="ended", kind={kind!r}, message="as it was told")
    """
    store = Store(tmp_path / "store")
    with pytest.raises(error, match=said):
        export_model(planned(source), store, lambda _: None, child(body))
    assert store.entries() == []
    assert not list(store.folder.glob("*.draft-*"))


def test_a_child_that_is_killed_leaves_nothing_and_the_next_works(
    source: Path, tmp_path: Path
) -> None:
    body = """
        say(type="step", stage="reading")
        (folder / "half.bin").write_bytes(b"half")
        os.kill(os.getpid(), 9)
    """
    store, plan = Store(tmp_path / "store"), planned(source)
    with pytest.raises(EnvironmentFault, match="memory"):
        export_model(plan, store, lambda _: None, child(body))
    assert not list(store.folder.glob("*.draft-*"))
    done = child("bundle(); say(type='ended', kind='done')")
    assert export_model(plan, store, lambda _: None, done).damaged_files() == []


def test_a_child_that_ends_before_it_has_its_order_is_told_as_any_other(
    source: Path, tmp_path: Path
) -> None:
    longer_than_a_pipe = msgspec.structs.replace(planned(source), license="x" * 200_000)
    ends = (sys.executable, "-c", "raise SystemExit(7)")
    with pytest.raises(InternalFault, match=r"its process was lost \(exit code 7\)"):
        export_model(longer_than_a_pipe, Store(tmp_path / "store"), lambda _: None, lambda *_: ends)


def test_a_silent_child_is_killed_when_the_export_is_cancelled(
    source: Path, tmp_path: Path
) -> None:
    body = f"""
        Path({str(tmp_path / "pid")!r}).write_text(str(os.getpid()))
        time.sleep(600)
    """

    def cancel(_: str) -> None:
        if (tmp_path / "pid").exists():
            raise InternalFault("cancelled")

    with pytest.raises(InternalFault, match="cancelled"):
        export_model(planned(source), Store(tmp_path / "store"), cancel, child(body))
    assert not _runs(int((tmp_path / "pid").read_text()))


def test_no_room_is_told_before_anything_is_done(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "_FIXED_BYTES", 10**18)
    with pytest.raises(EnvironmentFault, match="GB of disk"):
        export_model(planned(source), Store(tmp_path / "store"), pytest.fail, child(""))


def test_what_a_killed_one_left_is_no_reason_to_refuse(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, plan = Store(tmp_path / "store"), planned(source)
    half = store.folder / f"{plan.key}.draft-dead" / "half.bin"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")

    def check(_folder: Path, _needed: int) -> None:
        assert not half.exists()

    monkeypatch.setattr(process, "check_space", check)
    done = child("bundle(); say(type='ended', kind='done')")
    assert export_model(plan, store, lambda _: None, done).damaged_files() == []


async def test_who_waits_for_anothers_export_can_be_stopped(source: Path, tmp_path: Path) -> None:
    digest = Digests(tmp_path / "digests.json").folder(source)
    folder, waits = tmp_path / "store", threading.Event()
    folder.mkdir()

    def watch(said: str) -> None:
        if "waiting" in said:
            waits.set()

    wanted = ModelSettings(model=str(source), engine="openvino", export_store=str(folder))
    with (folder / f"{planned(source, digest=digest).key}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = asyncio.create_task(prepare(wanted, watch))
        assert await asyncio.to_thread(waits.wait, 30)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        loop = asyncio.get_running_loop()
        await asyncio.wait_for(loop.shutdown_default_executor(), 10)


REAL_CHILD = [sys.executable, "-P", "-m", "silkline.engines.openvino.export"]


def test_the_real_child_ends_without_an_order() -> None:
    done = subprocess.run(
        REAL_CHILD, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
    )
    assert done.returncode != 0


def test_the_real_child_ends_with_who_asked(tmp_path: Path) -> None:
    """Who asked is killed while the child reads a file that never comes to its end."""
    script = f"""
        import subprocess, sys, time
        child = subprocess.Popen({REAL_CHILD!r}, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        child.stdin.write(sys.stdin.buffer.readline())
        child.stdin.flush()
        print(child.pid, flush=True)
        time.sleep(600)
    """
    os.mkfifo(tmp_path / "config.json")
    said = dict.fromkeys(("name", "parent", "license", "model_type", "digest"), "x")
    plan = Plan(
        **said,
        source=str(tmp_path),
        precision=Precision.INT8,
        versions={},
        environment="transformers-4.57",
        parameters=1,
    )
    asker = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert asker.stdin is not None
    assert asker.stdout is not None
    with asker:
        asker.stdin.write(msgspec.json.encode(Order(plan, str(tmp_path))) + b"\n")
        asker.stdin.flush()
        pid = int(asker.stdout.readline())
        asker.send_signal(signal.SIGKILL)
    for _ in range(600):
        if not _runs(pid):
            return
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the child went on")


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_an_interrupt_ends_the_export_whatever_native_code_it_is_in(
    source: Path, tmp_path: Path
) -> None:
    """No handler of Python's runs: its stack may be gone (see `tests/conftest.py`)."""
    code = """
        import os, signal
        from silkline.engines.openvino.export import __main__ as child
        child._export = lambda order, words: os.kill(os.getpid(), signal.SIGINT)
        child.main()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Who runs the tests in the background of a shell hands down that SIGINT is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as ended:
        assert ended.stdin is not None
        assert ended.stderr is not None
        ended.stdin.write(msgspec.json.encode(Order(planned(source), str(tmp_path))) + b"\n")
        ended.stdin.flush()
        assert (ended.wait(30), ended.stderr.read()) == (-signal.SIGINT, b"")
