from pathlib import Path

from silkline.engines.machine import this_machine

CPUINFO = """processor\t: 0
model name\t: Some CPU @ 2.00GHz
flags\t\t: fpu sse4_1 avx avx2
"""


def test_a_machine_with_cards(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    for number in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / "gpus" / number).mkdir(parents=True)
        (tmp_path / "gpus" / number / "information").write_text("Model: \t\t Big Card\nIRQ: 1\n")
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Module  570.86.15  Thu\n")
    found = this_machine(tmp_path / "cpuinfo", tmp_path / "gpus", tmp_path / "version")
    assert found.processor == "Some CPU @ 2.00GHz"
    assert found.accelerators == ("Big Card", "Big Card")
    assert found.driver == "570.86.15"
    assert found.kind == "AVX2 with Big Card"
    assert found.cores >= 1


def test_a_machine_of_which_the_kernel_says_nothing(tmp_path: Path) -> None:
    found = this_machine(tmp_path / "a", tmp_path / "b", tmp_path / "c")
    assert (found.accelerators, found.driver) == ((), "")
    assert found.processor == found.instruction_set != ""
