"""What ``make cuda-check`` reads and what it holds against a kernel."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tools import cuda_check
from tools.compiled_kernels import (
    ARCHITECTURES,
    ROOT,
    Architecture,
    Kernel,
    compile_file,
    read_architectures,
    read_instructions,
    why_not,
)
from tools.cuda_check import arrays_of, faults, report

needs_nvcc = pytest.mark.skipif(why_not() is not None, reason=f"CUDA compiler: {why_not()}")

GOOD = Kernel(
    *("map_rows<Interpolate<float>>", 90, 38, 0, 0),
    Counter({"LDG.E.128": 2, "STG.E.128": 1, "ATOMG.E.ADD.STRONG.GPU": 1}),
)


def with_instructions(**changes: int) -> Kernel:
    names = {name.replace("_", "."): count for name, count in changes.items()}
    return replace(GOOD, instructions=Counter({**GOOD.instructions, **names}))


def test_a_good_kernel_has_no_faults() -> None:
    assert list(faults(GOOD)) == []


@pytest.mark.parametrize(
    ("kernel", "says"),
    [
        (replace(GOOD, spilled=8), "8 bytes of registers are spilled"),
        (replace(GOOD, stack=16), "16 bytes of stack"),
        (replace(GOOD, registers=65), "65 registers"),
        (with_instructions(STL_64=1), "of stack"),
        (with_instructions(LDG_E_128=1), "1 16-byte loads, fewer than 2"),
        (with_instructions(STG_E_128=0), "0 16-byte stores, fewer than 1"),
        (with_instructions(RED_E_ADD_F32_FTZ_RN_STRONG_GPU=1), "an atomic of floating-point"),
    ],
)
def test_faults(kernel: Kernel, says: str) -> None:
    (fault,) = faults(kernel)
    assert says in fault


@pytest.mark.parametrize(
    ("name", "arrays"),
    [
        ("map_rows<Interpolate<float>>", (2, 1)),
        ("map_rows<InterpolateBackward<double>>", (1, 2)),
        ("map_rows<NormPenaltyBackward<Half>>", (1, 1)),
        ("map_elements<ActivationGradients<Half, Silu>>", (3, 2)),
        ("norms_by_lanes<float>", (1, 0)),
    ],
)
def test_arrays_of_a_kernel(name: str, arrays: tuple[int, int]) -> None:
    assert arrays_of(name) == arrays


def test_activations_share_a_line_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_check, "nvcc_version", lambda: "1")
    kernels = [
        replace(GOOD, name=f"map_elements<F<float, {name}>>", sm=a.sm, registers=registers)
        for name, registers in (("Silu", 40), ("Gelu", 48), ("Tanh", 32))
        for a in ARCHITECTURES
    ]
    *_, line = report(kernels).splitlines()
    assert line.startswith("| `map_elements<F<float, ...>>` | 48 / ")


def test_occupancy() -> None:
    by_sm = {a.sm: a for a in ARCHITECTURES}
    assert by_sm[80].occupancy(32, 256) == 1.0
    assert by_sm[80].occupancy(33, 256) == 0.75
    assert by_sm[80].occupancy(64, 256) == 0.5
    assert by_sm[75].occupancy(64, 256) == 1.0
    assert by_sm[86].occupancy(64, 256) == pytest.approx(2 / 3)


def test_the_list_of_gpus() -> None:
    text = "# a comment\n8.9   1536  24  RTX 40, L4\n12.0  1536  24  RTX 50\n"
    assert read_architectures(text) == (
        Architecture(89, "RTX 40, L4", 1536, 24),
        Architecture(120, "RTX 50", 1536, 24),
    )
    assert {75, 80, 86, 89, 90, 100, 120} <= {a.sm for a in ARCHITECTURES}


@pytest.mark.parametrize("file", ["setup.py", "CMakeLists.txt", "tools/cuda_check.py"])
def test_there_is_no_other_list_of_gpus(file: str) -> None:
    text = (ROOT / file).read_text()
    assert not re.search(r"sm_\d|compute_\d|\b(75|7\.5|8\.6|86)\b", text)
    if file != "tools/cuda_check.py":  # which takes it from compiled_kernels.py
        assert "architectures.txt" in text


def test_instructions_of_each_function() -> None:
    listing = (
        'junk\n\t.section\t.text.one,"ax"\n        /*0000*/               @P0 LDG.E.128 R4 ;\n'
        "        /*0010*/                   LDG.E.128 R8 ;\n"
        '\n\t.section\t.text.two,"ax"\n        /*0000*/              @!UP1 EXIT ;\n'
    )
    assert read_instructions(listing) == {
        "one": Counter({"LDG.E.128": 2}),
        "two": Counter({"EXIT": 1}),
    }


@needs_nvcc
def test_a_bad_kernel_is_seen(tmp_path: Path) -> None:
    """Spilled registers, single elements and float atomics, compiled for real."""
    source = tmp_path / "bad.cu"
    source.write_text(
        """
        template <class T> struct Interpolate {};
        template <class T> __global__ void map_rows(const float* x, float* out, int n) {
          float kept[64];
          for (int i = 0; i < 64; ++i) kept[i] = x[i * n];
          out[threadIdx.x] = kept[n];
          atomicAdd(out, kept[threadIdx.x]);
        }
        template __global__ void map_rows<Interpolate<float>>(const float*, float*, int);
        """
    )
    (kernel,) = compile_file(source, 90, "-maxrregcount=24")
    assert kernel.name == "map_rows<Interpolate<float>>"
    found = "; ".join(faults(kernel))
    for words in (
        "are spilled",
        "of stack",
        "0 16-byte loads",
        "0 16-byte stores",
        "an atomic of floating-point",
    ):
        assert words in found
