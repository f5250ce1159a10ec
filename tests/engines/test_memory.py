"""What memory is free, in a container too, and what a KV cache takes of it when nobody says."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from silkline.engines.kv_budget import MIN_BYTES, kv_budget, spare_memory
from silkline.engines.memory import free_memory

MIB = 1024 * 1024
GIB = 1024 * MIB
V2 = "0::/app\n"
V1 = "3:memory:/app\n"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 64 GiB free."""
    free = SimpleNamespace(available=64 * GIB)
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)


def system(root: Path, groups: str, files: dict[str, str]) -> Path:
    told = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in {"proc/self/cgroup": groups, **told}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("groups", "files", "free"),
    [
        (V2, {}, 64 * GIB),
        (V2, {"app/memory.max": "max\n", "app/memory.current": "5\n"}, 64 * GIB),
        (V2, {"app/memory.max": "1000\n", "app/memory.current": "300\n"}, 700),
        (V2, {"memory.max": "1000\n", "memory.current": "300\n"}, 700),
        (
            V2,
            {
                "app/memory.max": "1000\n",
                "app/memory.current": "900\n",
                "app/memory.stat": "anon 400\ninactive_file 500\n",
            },
            600,
        ),
        (V2, {"app/memory.max": "1000\n", "app/memory.current": "1200\n"}, 0),
        (V2, {"app/memory.max": f"{99 * GIB}", "app/memory.current": "0"}, 64 * GIB),
        (
            V1,
            {
                "memory/app/memory.limit_in_bytes": "1000",
                "memory/app/memory.usage_in_bytes": "900",
                "memory/app/memory.stat": "inactive_file 1\ntotal_inactive_file 200",
            },
            300,
        ),
        (V1, {"memory/app/memory.limit_in_bytes": "none"}, 64 * GIB),
    ],
)
def test_a_container_has_what_its_limit_leaves(
    tmp_path: Path, groups: str, files: dict[str, str], free: int
) -> None:
    assert free_memory(system(tmp_path, groups, files)) == free


@pytest.mark.usefixtures("machine")
def test_what_is_not_loaded_yet_is_not_spare() -> None:
    assert spare_memory() <= 16 * GIB
    assert spare_memory(1 << 60) == 0


@pytest.mark.parametrize(
    ("asked", "token_bytes", "spare", "budget"),
    [
        (5, 1, 10 * GIB, 5),
        (0, 1296, 10 * GIB, MIN_BYTES),
        (0, 512 * 1024, 64 * GIB, 16 * 4096 * 512 * 1024),
        (0, 512 * 1024, 4 * GIB, 4 * GIB),
        (0, 512 * 1024, 0, MIN_BYTES),
    ],
    ids=["asked for", "a small model", "enough for all", "what is spare", "nothing spare"],
)
def test_a_cache_holds_all_requests_where_there_is_room(
    asked: int, token_bytes: int, spare: int, budget: int
) -> None:
    given = kv_budget(asked, requests=16, tokens=4096, token_bytes=token_bytes, spare=spare)
    assert given == budget
