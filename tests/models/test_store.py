"""The store of exports: whole or not there, whatever happens to who fills it."""

import errno
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
from pathlib import Path

import pytest

from silkline.errors import ConfigError, EnvironmentFault
from silkline.models.store import Store, check_space, store_folder

KEY = "0123456789abcdef"
CONTENT = b"weights"


def fill(folder: Path, content: bytes = CONTENT) -> None:
    """Writes a whole bundle, the manifest last."""
    (folder / "openvino").mkdir()
    (folder / "openvino" / "model.bin").write_bytes(content)
    manifest = {
        "schema": 1,
        "name": "tiny",
        "family": "llava",
        "revision": "r1",
        "license": "MIT",
        "context_length": 512,
        "image_tokens": 16,
        "image_size": 56,
        "engines": {"openvino": {"path": "openvino", "precision": "int8"}},
        "files": {"openvino/model.bin": hashlib.sha256(CONTENT).hexdigest()},
    }
    (folder / "bundle.json").write_text(json.dumps(manifest))


def refuse(folder: Path) -> None:
    raise AssertionError(f"{folder} was built again")


def names(store: Store) -> set[str]:
    """What the store's folder holds but for locks."""
    return {path.name for path in store.folder.iterdir() if path.suffix != ".lock"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_what_is_built_is_found_and_not_built_again(store: Store) -> None:
    assert store.find(KEY) is None
    assert store.make(KEY, fill).manifest.name == "tiny"
    assert store.make(KEY, refuse).folder == store.folder / KEY
    assert names(store) == {KEY}


def test_a_build_that_loses_its_process_is_no_fault_of_the_store(store: Store) -> None:
    def build(_: Path) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    with pytest.raises(EnvironmentFault, match="Broken pipe") as caught:
        store.make(KEY, build)
    assert "cannot be used" not in caught.value.message


def test_a_build_that_fails_leaves_nothing(store: Store) -> None:
    def half(folder: Path) -> None:
        fill(folder)
        raise ConfigError("It does not answer right.")

    with pytest.raises(ConfigError, match="answer right"):
        store.make(KEY, half)
    assert names(store) == set()
    assert store.make(KEY, fill).folder == store.folder / KEY


def test_a_build_without_a_file_that_it_names_is_refused(store: Store) -> None:
    def damaged(folder: Path) -> None:
        fill(folder, b"other")

    with pytest.raises(ConfigError, match=r"lacks files .*: openvino/model\.bin"):
        store.make(KEY, damaged)
    assert names(store) == set()


@pytest.mark.parametrize("damage", ["content", "manifest", "missing"])
def test_a_damaged_entry_is_noticed_and_made_again(store: Store, damage: str) -> None:
    folder = store.make(KEY, fill).folder
    if damage == "content":
        (folder / "openvino" / "model.bin").write_bytes(b"weightz")
    elif damage == "manifest":
        (folder / "bundle.json").write_text("{")
    else:
        (folder / "openvino" / "model.bin").unlink()
    assert store.find(KEY) is None
    assert store.make(KEY, fill).damaged_files() == []
    assert names(store) == {KEY}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_and_leaves_nothing(store: Store, number: int) -> None:
    def full(folder: Path) -> None:
        (folder / "model.bin").write_bytes(b"as far as it goes")
        raise OSError(number, os.strerror(number))

    with pytest.raises(EnvironmentFault, match=r"disk is full.*silkline store"):
        store.make(KEY, full)
    assert names(store) == set()


def test_a_real_full_disk_is_told(store: Store) -> None:
    """A limit on the size of files, which the system tells as it tells a full disk."""
    script = f"""
        import resource, signal, sys
        from pathlib import Path
        from silkline.errors import EnvironmentFault
        from silkline.models.store import Store
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            Store(Path({str(store.folder)!r})).make(
                {KEY!r}, lambda folder: (folder / "a").write_bytes(bytes(8192)))
        except EnvironmentFault as error:
            print(error.message)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert "disk is full" in done.stdout
    assert names(store) == set()


def test_a_store_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("no folder")
    with pytest.raises(EnvironmentFault, match=r"cannot be used.*--export-store"):
        Store(tmp_path / "store").make(KEY, fill)


def test_of_two_who_want_the_same_one_builds_and_the_other_waits(store: Store) -> None:
    building, go_on, waited, built = (threading.Event() for _ in range(4))
    found = []

    def slowly(folder: Path) -> None:
        building.set()
        assert go_on.wait(30)
        fill(folder)
        built.set()

    first = threading.Thread(target=lambda: found.append(store.make(KEY, slowly)))
    second = threading.Thread(target=lambda: found.append(store.make(KEY, refuse, waited.set)))
    first.start()
    assert building.wait(30)
    second.start()
    assert waited.wait(30)
    assert store.find(KEY) is None
    go_on.set()
    first.join(30)
    second.join(30)
    assert built.is_set()
    assert [bundle.folder for bundle in found] == [store.folder / KEY] * 2


def test_others_are_built_meanwhile(store: Store) -> None:
    def builds_another(folder: Path) -> None:
        store.make("another", fill)
        fill(folder)

    store.make(KEY, builds_another)
    assert names(store) == {KEY, "another"}


def test_a_killed_builder_is_followed_by_the_next(store: Store) -> None:
    """kill -9 in the middle: its lock is free, its half is removed, nothing was found meanwhile."""
    script = f"""
        import sys, time
        from pathlib import Path
        from silkline.models.store import Store
        def build(folder):
            (folder / "half.bin").write_bytes(b"half")
            print("building", flush=True)
            time.sleep(600)
        Store(Path({str(store.folder)!r})).make({KEY!r}, build)
    """
    builder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True
    )
    assert builder.stdout is not None
    with builder:
        assert builder.stdout.readline() == "building\n"
        assert store.find(KEY) is None
        assert store.entries() == []
        builder.send_signal(signal.SIGKILL)
    assert any(".draft-" in name for name in names(store))
    began = time.monotonic()
    assert store.make(KEY, fill).damaged_files() == []
    assert time.monotonic() - began < 30
    assert names(store) == {KEY}


def test_entries_are_listed_and_removed(store: Store) -> None:
    assert store.entries() == []
    store.make(KEY, fill)
    store.make("other", fill)
    (store.folder / "other" / "bundle.json").unlink()
    first, second = store.entries()
    assert first.bundle is not None
    assert (first.key, first.bundle.manifest.name) == (KEY, "tiny")
    assert first.size > len(CONTENT)
    assert second.bundle is None
    store.remove("other")
    store.remove("never there")
    assert names(store) == {KEY}


def test_an_entry_is_not_removed_while_somebody_serves_it(store: Store) -> None:
    store.make(KEY, fill)
    first, second = store.hold(KEY), store.hold(KEY)
    assert store.make(KEY, refuse).folder == store.folder / KEY  # another that serves it finds it
    for hold in (first, second):
        with pytest.raises(EnvironmentFault, match=f"{KEY} of the store is being served"):
            store.remove(KEY)
        hold.release()
        hold.release()
    store.remove(KEY)
    assert names(store) == set()


def test_what_is_built_for_somebody_who_will_serve_it_is_not_removed(store: Store) -> None:
    hold = store.hold(KEY)
    with pytest.raises(EnvironmentFault, match="being served"):
        store.remove(KEY)
    store.make(KEY, fill)
    hold.release()
    store.remove(KEY)
    assert names(store) == set()


def test_an_entry_is_known_by_its_folder(store: Store, tmp_path: Path) -> None:
    folder = store.make(KEY, fill).folder
    (tmp_path / "link").symlink_to(folder)
    assert store.key_of(folder) == store.key_of(tmp_path / "link") == KEY
    assert store.key_of(tmp_path / "store") is None
    assert store.key_of(folder / "openvino") is None


def test_who_is_killed_holds_nothing(store: Store) -> None:
    store.make(KEY, fill)
    script = f"""
        import time
        from pathlib import Path
        from silkline.models.store import Store
        hold = Store(Path({str(store.folder)!r})).hold({KEY!r})
        print("held", flush=True)
        time.sleep(600)
    """
    holder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    with holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(EnvironmentFault, match="being served"):
            store.remove(KEY)
        holder.send_signal(signal.SIGKILL)
    store.remove(KEY)
    assert names(store) == set()


def test_what_dead_builders_left_is_removed_and_nothing_of_the_living(store: Store) -> None:
    for draft in ("dead.draft-1", "alive.draft-1"):
        (store.folder / draft).mkdir(parents=True)
        (store.folder / draft / "half.bin").write_bytes(b"half")
    with (store.folder / "alive.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        store.make(KEY, fill)
        assert names(store) == {KEY, "alive.draft-1"}
    store.sweep()
    assert names(store) == {KEY}


def test_space_is_checked_where_the_store_will_be(tmp_path: Path) -> None:
    check_space(tmp_path / "not" / "there", 1)
    with pytest.raises(EnvironmentFault, match=r"needs about 1000000000\.0 GB"):
        check_space(tmp_path / "not" / "there", 10**18)


def test_the_store_lies_where_caches_lie(tmp_path: Path) -> None:
    assert store_folder(str(tmp_path), {}) == tmp_path
    caches = {"XDG_CACHE_HOME": str(tmp_path)}
    assert store_folder("", caches) == tmp_path / "silkline" / "exports"
    assert store_folder("", {}) == Path("~/.cache/silkline/exports").expanduser()


def test_a_store_that_cannot_be_read_is_told() -> None:
    with pytest.raises(EnvironmentFault, match="cannot be used: File name too long"):
        Store(Path("/" + "a" * 300)).entries()


def test_an_entry_that_is_there_needs_no_lock(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.make("key", fill)
    (tmp_path / "key.lock").unlink()
    (tmp_path / "key.lock").mkdir()  # as another user's, it cannot be opened to write
    assert store.make("key", refuse).folder == tmp_path / "key"
