"""tools/check_kernels.py asks of every launch what a GPU would refuse, or quietly do slowly."""

from collections import Counter
from pathlib import Path

import pytest

from tools import check_kernels, nvrtc
from tools.nvrtc import Usage

LOG = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'flash_forward' for 'sm_80'
ptxas info    : Function properties for flash_forward
    8 bytes stack frame, 36 bytes spill stores, 40 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 1024 bytes smem
ptxas info    : Compile time = 10.0 ms
ptxas info    : Compiling entry function 'flash_delta' for 'sm_80'
ptxas info    : Function properties for flash_delta
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 22 registers, used 0 barriers
"""
SASS = """\t.section\t.text.flash_forward,"ax",@progbits
.text.flash_forward:
        /*0000*/                   HMMA.16816.F32.BF16 R4, R8, R12, R4 ;
        /*0010*/                   HMMA.16816.F32.BF16 R4, R8, R14, R4 ;
.text.flash_delta:
        /*0000*/                   FFMA R4, R8, R12, R4 ;
"""
KERNEL = {
    "architecture": 80, "code": "", "options": ("-arch=sm_80",), "kernel": "flash_forward"
}  # fmt: skip
FITS, STARTS, FEWER = (Usage(registers=n, spilled=0, shared_memory=0) for n in (255, 168, 160))


def test_what_the_compiler_says_of_each_kernel_is_read():
    assert nvrtc.usages(LOG) == {
        "flash_forward": Usage(registers=255, spilled=76, shared_memory=1024, stack=8),
        "flash_delta": Usage(registers=22, spilled=0, shared_memory=0),
    }
    assert nvrtc.tensor_instructions(SASS) == {"flash_forward": {"HMMA": 2}, "flash_delta": {}}


@pytest.mark.parametrize(
    ("source", "usage", "tensor", "threads", "shared", "problem"),
    [
        ("flash_mma.cu", FITS, ["HMMA"], 128, 1000, None),
        ("flash_mma.cu", FITS, [], 128, 1000, "no tensor core"),
        ("flash_wgmma.cu", STARTS, ["HMMA"], 384, 1000, "'HGMMA'"),
        ("flash_wgmma.cu", STARTS, ["HGMMA"], 384, 1000, None),
        ("flash_fp8.cu", STARTS, ["QGMMA"], 384, 1000, None),
        ("flash_wgmma_backward.cu", FEWER, ["HGMMA"], 384, 1000, "starts with 160 registers"),
        ("flash_fp8.cu", FEWER, ["QGMMA"], 384, 1000, "starts with 160 registers"),
        ("flash_f32.cu", FITS, ["HMMA"], 128, 1000, "plain ones"),
        ("flash_f32.cu", FITS, [], 257, 1000, "asks for 65792 registers, of 65536"),
        ("flash_f32.cu", FITS, [], 128, 163 * 1024 + 4, "166916 bytes of shared memory, of 166912"),
        ("flash_f32.cu", Usage(registers=9, spilled=4, shared_memory=0), [], 128, 0, "spills 4"),
        ("flash_f32.cu", Usage(registers=9, spilled=0, shared_memory=9), [], 32, 166904, "166913"),
        (
            "flash_f32.cu",
            Usage(registers=9, spilled=0, shared_memory=0, stack=8),
            [],
            32,
            0,
            "stack",
        ),
    ],
)
def test_a_problem_is_told(source, usage, tensor, threads, shared, problem):
    launch = check_kernels.Launch(**KERNEL, threads=threads, shared_memory=shared)
    found = check_kernels.problems(source, launch, usage, Counter(tensor))
    assert len(found) == (problem is not None)
    assert problem is None or problem in found[0]


def test_sums_row_by_row_need_no_tensor_cores():
    launch = check_kernels.Launch(**KERNEL | {"kernel": "flash_delta"}, threads=32, shared_memory=0)
    assert check_kernels.problems("flash_mma_backward.cu", launch, FITS, Counter()) == []


@pytest.mark.parametrize("architecture", check_kernels.SHARED_MEMORY)
def test_what_launch_code_asks_for_is_noted_and_not_run(architecture):
    noted = check_kernels.launches(architecture)
    assert len(noted) == len(set(noted))
    assert {launch.kernel for launch in noted} >= {"flash_forward", "flash_delta"}
    assert {"D=64", "D=64 FP16=1"} <= {launch.macros() for launch in noted}
    assert {launch.gpu() for launch in noted} == {f"sm_{architecture}{'a' * (architecture == 90)}"}
    hopper = {"-arch=sm_90a" in launch.options for launch in noted}
    assert hopper == {architecture == 90}
    assert all(any(o.startswith("-arch") for o in launch.options) for launch in noted)


def test_hoppers_kernel_compiles_to_hoppers_products():
    compiler, nvdisasm = nvrtc.load_nvrtc(), nvrtc.nvidia_file("*/bin/nvdisasm")
    if compiler is None or nvdisasm is None:
        pytest.skip(check_kernels.MISSING)
    is_one = lambda launch: launch.macros() == "D=64 STEP=128 STAGES=2 PLAIN=1"
    wanted = list(filter(is_one, check_kernels.launches(90)))
    lines, wrong = check_kernels.check(compiler, nvdisasm, wanted)
    assert wrong == []
    assert [line[:3] for line in lines] == [("flash_wgmma.cu", "flash_forward", "sm_90a")]
    assert lines[0][-1].startswith("HGMMA")


def test_a_kernel_that_does_not_compile_is_named(monkeypatch):
    launch = check_kernels.launches(80)[0]
    monkeypatch.setattr(check_kernels, "compile_cubin", lambda *a: (b"", "kernel.cu(3): error: ;"))
    lines, wrong = check_kernels.check(None, Path("nvdisasm"), [launch])
    assert lines == []
    assert wrong == [f"flash_f32.cu flash_forward sm_80 {launch.macros()}: kernel.cu(3): error: ;"]


def test_the_table_and_the_answer(capsys, monkeypatch):
    monkeypatch.setattr(check_kernels, "SHARED_MEMORY", {80: 163})
    monkeypatch.setattr(
        check_kernels, "launches", lambda _, all=check_kernels.launches: all(80)[:2]
    )
    monkeypatch.setattr(check_kernels, "load_nvrtc", object)
    monkeypatch.setattr(check_kernels, "nvidia_file", Path)
    monkeypatch.setattr(check_kernels, "compile_cubin", lambda *a: (b"cubin", LOG))
    monkeypatch.setattr(check_kernels, "disassemble", lambda *a: SASS.replace("HMMA", "FFMA"))
    assert check_kernels.main() == 1
    head, *lines, wrong = capsys.readouterr().out.splitlines()
    assert head.split() == list(check_kernels.COLUMNS)
    assert lines[1].split()[-4:] == ["22", "0", "0.0", "-"]
    assert wrong.startswith("flash_f32.cu flash_forward sm_80 D=32 ROWS=64: spills 76 bytes")
    monkeypatch.setattr(
        check_kernels,
        "compile_cubin",
        lambda *a: (
            b"cubin",
            LOG.replace("36", "0").replace("40", "0").replace("8 bytes", "0 bytes"),
        ),
    )
    assert check_kernels.main() == 0
    assert capsys.readouterr().out.endswith("all 2 kernels are as they should be\n")


def test_without_a_compiler_one_line_says_how_to_get_it(capsys, monkeypatch):
    monkeypatch.setattr(nvrtc, "find_spec", lambda name: None)
    assert nvrtc.load_nvrtc() is None
    assert check_kernels.main() == 2
    assert capsys.readouterr().err == f"{check_kernels.MISSING}\n"
