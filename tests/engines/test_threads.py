"""How many threads a model gets when nobody says, and what a container leaves it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.engines.base import EngineOptions
from silkline.engines.openvino.served import read_served
from silkline.engines.threads import choose_threads, usable_cores
from silkline.models.resolve import bundled_folder

MIB = 1024 * 1024
LARGE = 900 * MIB

V2 = "0::/system.slice/silkline\n"
V1 = "5:memory:/docker/1f\n4:cpu,cpuacct:/docker/1f\n1:name=systemd:/docker/1f\n0::/\n"


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 of them."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))


def system(root: Path, groups: str, files: dict[str, str]) -> Path:
    """A root folder with a process's groups, and files below the groups' mount."""
    told = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in {"proc/self/cgroup": groups, **told}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("mebibytes", "count", "threads"),
    [(14, 1, 1), (14, 2, 1), (14, 16, 8), (64, 2, 0), (900, 16, 0)],
)
def test_a_small_model_leaves_cores_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mebibytes: int, count: int, threads: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(count)))
    assert choose_threads(0, mebibytes * MIB, tmp_path) == threads
    assert choose_threads(3, mebibytes * MIB, tmp_path) == 3


def test_the_weights_of_all_of_a_models_parts_count() -> None:
    served = read_served(EngineOptions(model=bundled_folder()))
    sizes = [file.stat().st_size for file in served.weights.rglob("*.bin")]
    assert len(sizes) > 2
    assert served.weights_bytes == sum(sizes)


@pytest.mark.usefixtures("cores")
@pytest.mark.parametrize(
    ("groups", "files", "count"),
    [
        (V2, {"system.slice/silkline/cpu.max": "200000 100000\n"}, 2),
        (V2, {"system.slice/silkline/cpu.max": "250000 100000\n"}, 3),
        (V2, {"system.slice/silkline/cpu.max": "1000 100000\n"}, 1),
        (V2, {"system.slice/silkline/cpu.max": "max 100000\n"}, 64),
        (V2, {"system.slice/silkline/cpu.max": "9900000 100000\n"}, 64),
        (V2, {"system.slice/cpu.max": "400000 100000\n"}, 4),
        (
            V2,
            {
                "system.slice/silkline/cpu.max": "800000 100000\n",
                "system.slice/cpu.max": "400000 100000\n",
            },
            4,
        ),
        (V2, {"another.slice/cpu.max": "400000 100000\n"}, 64),
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/../aside\n", {"cpu.max": "200000 100000\n"}, 64),
        (
            V1,
            {
                "cpu/docker/1f/cpu.cfs_quota_us": "150000",
                "cpu/docker/1f/cpu.cfs_period_us": "50000",
            },
            3,
        ),
        (
            V1,
            {"cpu,cpuacct/cpu.cfs_quota_us": "200000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
            2,
        ),
        (V1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
        (V1, {"cpu/cpu.cfs_quota_us": "200000"}, 64),
        ("7:cpuset:/a\n", {"cpu/cpu.cfs_quota_us": "1", "cpu/cpu.cfs_period_us": "1"}, 64),
    ],
)
def test_a_container_uses_what_it_is_given(
    tmp_path: Path, groups: str, files: dict[str, str], count: int
) -> None:
    root = system(tmp_path, groups, files)
    assert usable_cores(root) == count
    assert choose_threads(0, LARGE, root) == (0 if count == 64 else count), "all is not said"
    assert choose_threads(0, MIB, root) == max(1, count // 2)


@pytest.mark.usefixtures("cores")
def test_a_folder_in_the_place_of_a_file_limits_nothing(tmp_path: Path) -> None:
    (tmp_path / "proc/self/cgroup").mkdir(parents=True)
    assert usable_cores(tmp_path) == 64
    root = system(tmp_path / "other", V2, {"system.slice/silkline/cpu.max/file": ""})
    assert usable_cores(root) == 64


@given(
    groups=st.one_of(st.text(), st.text("0:cpu,/.\n\0a", max_size=40)).map(
        lambda text: text.encode("utf-8", "replace")
    ),
    quota=st.one_of(st.binary(max_size=40), st.integers().map(lambda n: b"%d 1000" % n)),
)
def test_whatever_stands_there_there_is_a_core_and_no_more_than_there_are(
    tmp_path_factory: pytest.TempPathFactory, groups: bytes, quota: bytes
) -> None:
    root = system(tmp_path_factory.mktemp("root"), "", {"cpu.max": ""})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
        for written in (groups, b"0::/\n" + groups):
            (root / "proc/self/cgroup").write_bytes(written)
            (root / "sys/fs/cgroup/cpu.max").write_bytes(quota)
            assert 1 <= usable_cores(root) <= 64
