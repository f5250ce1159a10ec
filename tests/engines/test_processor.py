"""Which instructions count, by what the kernel lists and what the environment allows."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from silkline.engines.processor import features, instruction_set, multiplies_int8_exactly

AVX2 = "fpu sse4_1 avx avx2 fma"
SKYLAKE = f"{AVX2} avx512f avx512bw avx512dq avx512vl"
ICELAKE = f"{SKYLAKE} avx512_vnni"
COOPERLAKE = f"{ICELAKE} avx512_bf16"
SAPPHIRE = f"{COOPERLAKE} avx_vnni avx512_fp16 amx_tile amx_int8 amx_bf16"
LAPTOP = f"{AVX2} avx_vnni"


def listed(folder: Path, flags: str, name: str = "flags") -> Path:
    path = folder / "cpuinfo"
    path.write_text(f"processor\t: 0\n{name}\t\t: {flags}\n\nprocessor\t: 1\n{name}\t\t: {flags}\n")
    return path


@pytest.mark.parametrize(
    ("flags", "limit", "best", "exact"),
    [
        (AVX2, "", "AVX2", False),
        (SKYLAKE, "", "AVX-512", False),
        (ICELAKE, "", "AVX-512 VNNI", True),
        (COOPERLAKE, "", "AVX-512 BF16", True),
        (SAPPHIRE, "", "AMX BF16", True),
        (LAPTOP, "", "AVX2 VNNI", True),
        ("fpu sse4_1 avx", "", "AVX", False),
        (SAPPHIRE, "AVX2", "AVX2", False),
        (SAPPHIRE, "avx2", "AVX2", False),
        (SAPPHIRE, "SSE41", "SSE4.1", False),
        (SAPPHIRE, "AVX512_CORE", "AVX-512", False),
        (SAPPHIRE, "AVX512_CORE_VNNI", "AVX-512 VNNI", True),
        (SAPPHIRE, "AVX512_CORE_BF16", "AVX-512 BF16", True),
        (SAPPHIRE, "AVX2_VNNI", "AVX2 VNNI", True),
        (SAPPHIRE, "DEFAULT", "AMX BF16", True),
        (SAPPHIRE, "no such limit", "AMX BF16", True),
        (AVX2, "AVX512_CORE_BF16", "AVX2", False),
    ],
)
def test_x86(tmp_path: Path, flags: str, limit: str, best: str, exact: bool) -> None:
    cpuinfo = listed(tmp_path, flags)
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        assert instruction_set({name: limit}, cpuinfo) == best
        assert multiplies_int8_exactly({name: limit}, cpuinfo) is exact


def test_arm64(tmp_path: Path) -> None:
    cpuinfo = listed(tmp_path, "fp asimd evtstrm aes asimdhp asimddp", "Features")
    assert instruction_set({}, cpuinfo) == "NEON dot product"
    assert multiplies_int8_exactly({}, cpuinfo)


def test_what_the_kernel_does_not_tell_is_not_claimed(tmp_path: Path) -> None:
    missing = tmp_path / "none"
    assert features({}, missing) == frozenset()
    assert instruction_set({}, missing) == platform.machine()
