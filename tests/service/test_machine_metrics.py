"""What the machine or the container reports, read from files as the kernel writes them."""

from pathlib import Path

import pytest

from silkline.service.machine_metrics import machine_readings

CGROUP = "sys/fs/cgroup"
PSI = "some avg10=0.00 avg60=0.10 avg300=0.20 total=2500000\nfull avg10=0.00 total=500000\n"


def system(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def read(root: Path) -> dict[tuple[str, ...], float]:
    return {(metric.name, *labels): value for metric, labels, value in machine_readings(root)}


@pytest.mark.parametrize(
    ("groups", "stat", "seconds"),
    [
        ("0::/app\n", {f"{CGROUP}/app/cpu.stat": "nr_throttled 3\nthrottled_usec 1500000\n"}, 1.5),
        ("0::/app\n", {f"{CGROUP}/cpu.stat": "throttled_usec 250000\n"}, 0.25),
        ("4:cpu:/app\n", {f"{CGROUP}/cpu/app/cpu.stat": "throttled_time 2000000000\n"}, 2.0),
        ("0::/app\n", {f"{CGROUP}/app/cpu.stat": "usage_usec 5\n"}, None),
        ("", {}, None),
    ],
)
def test_throttled_time_is_that_of_the_innermost_group(
    groups: str, stat: dict[str, str], seconds: float | None, tmp_path: Path
) -> None:
    found = read(system(tmp_path, {"proc/self/cgroup": groups, **stat}))
    assert found.get(("silkline_machine_throttled_seconds_total",)) == seconds


def test_pressure_is_in_seconds(tmp_path: Path) -> None:
    found = read(system(tmp_path, {"proc/pressure/cpu": PSI, "proc/pressure/io": "nonsense\n"}))
    pressure = {
        labels: value
        for (name, *labels_), value in found.items()
        if name == "silkline_machine_pressure_seconds_total" and (labels := tuple(labels_))
    }
    assert pressure == {("cpu", "some"): 2.5, ("cpu", "full"): 0.5}


def test_the_limit_of_a_container_is_its_memory(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/app\n", f"{CGROUP}/app/memory.max": "1000000\n"}
    assert read(system(tmp_path, files))["silkline_machine_memory_bytes",] == 1_000_000
    other = system(tmp_path / "other", {f"{CGROUP}/memory.max": "max\n"})
    assert read(other)["silkline_machine_memory_bytes",] > 1_000_000
