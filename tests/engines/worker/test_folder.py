"""The folders of workers' sockets: those of owners that were killed go, all others stay."""

import fcntl
import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from silkline.engines.worker.folder import MAX_NAME_BYTES, PREFIX, SocketFolder
from silkline.errors import EnvironmentFault

NOBODY = 65534

OWNER = """
import asyncio
from silkline.engines.base import EngineOptions
from silkline.engines.worker.supervisor import WorkerSupervisor

async def main():
    worker = WorkerSupervisor("fake", EngineOptions())
    await worker.start()
    print(worker.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the folders are."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def left(place: Path, name: str = "left") -> Path:
    """A folder with a socket, as an owner leaves it that was killed."""
    folder = place / f"{PREFIX}{name}"
    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "worker-1"))
    return folder


def test_a_killed_owners_folder_goes_when_the_next_is_made(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(place))
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline()
        (its,) = place.iterdir()
        own = SocketFolder.make()
        assert set(place.iterdir()) == {its, own.path}  # it lives
        owner.kill()
    other = SocketFolder.make()
    assert set(place.iterdir()) == {own.path, other.path}
    for each in (own, other):
        assert stat.S_IMODE(each.path.stat().st_mode) == 0o700
        each.remove()
    assert not list(place.iterdir())


def test_what_is_not_such_a_folder_stays(place: Path) -> None:
    elsewhere = left(place, "elsewhere").rename(place / "elsewhere")
    (place / f"{PREFIX}link").symlink_to(elsewhere)
    filled = left(place, "filled")
    (filled / "a folder").mkdir()
    (filled / "a file").write_text("somebody's")
    (filled / "a link").symlink_to(elsewhere / "worker-1")
    (place / f"{PREFIX}file").write_text("somebody's")
    unlocked = place / "silkline-managed"
    unlocked.mkdir()
    SocketFolder.make().remove()
    assert {each.name for each in place.iterdir()} == {
        "elsewhere",
        "silkline-managed",
        f"{PREFIX}link",
        f"{PREFIX}filled",
        f"{PREFIX}file",
    }
    assert [each.name for each in elsewhere.iterdir()] == ["worker-1"]
    assert {each.name for each in filled.iterdir()} >= {"a folder", "a file", "a link"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a folder away")
def test_another_users_folder_stays(place: Path) -> None:
    folder = left(place)
    os.chown(folder, NOBODY, NOBODY)
    SocketFolder.make().remove()
    assert list(place.iterdir()) == [folder]


def test_a_new_folder_that_somebody_takes_for_left_is_made_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its making and its locking another process may look."""
    made = tempfile.mkdtemp
    taken: list[str] = []
    looks: list[int] = []

    def mkdtemp(prefix: str) -> str:
        path = made(prefix=prefix)
        if len(taken) < 2:  # once removed, once about to be
            taken.append(path)
            looks.append(os.open(path, os.O_RDONLY))
            fcntl.flock(looks[-1], fcntl.LOCK_EX)
            if len(taken) == 1:
                Path(path).rmdir()
        return path

    monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
    folder = SocketFolder.make()
    assert str(folder.path) not in taken
    folder.remove()
    for each in looks:
        os.close(each)


@pytest.mark.parametrize("length", [76, 77])  # 76 bytes, a slash, 17, a slash and 12 are 107
def test_a_place_whose_name_is_too_long_for_sockets_is_told(
    monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    with tempfile.TemporaryDirectory() as short:
        place = Path(short, "x" * (length - len(short) - 1))
        place.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(place))
        if length == 76:
            folder = SocketFolder.make()
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(str(folder.path / ("w" * MAX_NAME_BYTES)))
            folder.remove()
        else:
            with pytest.raises(EnvironmentFault, match="TMPDIR"):
                SocketFolder.make()
        assert not list(place.iterdir())


def test_a_place_without_room_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(place / "none"))
    with pytest.raises(EnvironmentFault, match=r"No such file or directory\. .* TMPDIR"):
        SocketFolder.make()
