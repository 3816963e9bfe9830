"""The translation of CUDA C++ to C++."""

from __future__ import annotations

from simt.build import CSRC
from simt.translate import translate


def test_launch() -> None:
    assert translate("k<<<g, b>>>(x);") == 'simt::launch(simt::Shape(g, b), k, "k")(x);'
    assert (
        translate("  a::k<T, B<int>><<<g, b, 0, s.stream>>>(x);")
        == '  simt::launch(simt::Shape(g, b, 0, s.stream), a::k<T, B<int>>, "a::k")(x);'
    )


def test_launches_of_one_file() -> None:
    assert translate("f<<<1, 2>>>();\ng<<<3, 4>>>();").count("simt::launch") == 2


def test_shared_memory() -> None:
    assert translate("__shared__ bool last;") == "SIMT_SHARED((bool), last, );"
    assert translate("__shared__ C slot[kWarps];") == "SIMT_SHARED((C), slot, [kWarps]);"


def test_nothing_else_changes() -> None:
    text = "a << b; c >> d; vector<vector<int>> e; // __shared__\n#pragma unroll\n"
    assert translate(text) == text


def test_line_numbers_stay() -> None:
    for path in (CSRC / "cuda").iterdir():
        text = path.read_text()
        assert translate(text).count("\n") == text.count("\n")
