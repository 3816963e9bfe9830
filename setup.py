"""Builds the native kernels: the build switches and the list of sources, nothing else.

WGAN_FAST_BUILD=auto   the default: CUDA where nvcc and a CUDA torch are found (or FORCE_CUDA=1),
                       the CPU where a C++ compiler is found, otherwise pure PyTorch; what cannot
                       be compiled is told, and left out
WGAN_FAST_BUILD=none   pure PyTorch
WGAN_FAST_BUILD=cpu    the CPU kernels, or an error
WGAN_FAST_BUILD=cuda   the CPU and CUDA kernels, or an error
TORCH_CUDA_ARCH_LIST   the GPUs to compile for; by default, every generation since Turing
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import setup

MODE = os.environ.get("WGAN_FAST_BUILD", "auto")
TARGET = "0x020b000000000000"  # the stable ABI of torch 2.11; runs under every later torch
# -march=x86-64-v2, which GCC knows by that name from 11 on only.
X86_64_V2 = ["-msse4.2", "-mpopcnt", "-mcx16", "-msahf"]
WITHOUT_TORCH = """
wgan_fast: the build environment has no torch, so the kernels cannot be compiled. Type
    pip install --no-build-isolation .
in an environment that has torch (2.11 or later), setuptools and ninja, or
    WGAN_FAST_BUILD=none pip install .
for the pure PyTorch version, which needs no compiler and gives the same results, slower.
"""


def has_compiler():
    given = shlex.split(os.environ.get("CXX", ""))
    return any(map(shutil.which, [*given[:1], "c++", "g++"]))


def native_extension():
    """The arguments of setup() that build the extension."""
    from torch.utils import cpp_extension

    with_cuda = MODE == "cuda" or (MODE == "auto" and wants_cuda(cpp_extension))
    if with_cuda and cpp_extension.CUDA_HOME is None:  # as in every CPU build of torch
        cpp_extension.CUDA_HOME = os.environ.get("CUDA_HOME") or cpp_extension._find_cuda_home()
    if with_cuda and cpp_extension.CUDA_HOME is None:
        sys.exit(
            "wgan_fast: WGAN_FAST_BUILD=cuda or FORCE_CUDA=1, but nvcc is not found: set CUDA_HOME."
        )

    class Build(cpp_extension.BuildExtension):
        def build_extensions(self):
            (extension,) = self.extensions
            for kernels in ("CUDA", "CPU") if with_cuda else ("CPU",):
                try:
                    # What setuptools has written into the extension stays there.
                    vars(extension).update(vars(extension_with(kernels, cpp_extension)))
                    return super().build_extensions()
                except Exception as error:
                    if MODE != "auto":
                        raise
                    instead = (
                        "building those for the CPU" if kernels == "CUDA" else "installing without"
                    )
                    reason = (str(error).splitlines() or [type(error).__name__])[0]
                    said = f"the {kernels} kernels could not be compiled, {instead}: {reason}"
                    print(f"wgan_fast: {said}", file=sys.stderr)
            self.extensions.clear()

    return {
        "ext_modules": [extension_with("CPU", cpp_extension)],
        "cmdclass": {"build_ext": Build},
        "options": {"bdist_wheel": {"py_limited_api": "cp310"}},
    }


def extension_with(kernels, cpp_extension):
    """The extension with the kernels for the "CPU", or with those for "CUDA" as well."""
    with_cuda = kernels == "CUDA"
    folders = ["cpu", "cuda", "torch"] if with_cuda else ["cpu", "torch"]
    files = [path for folder in folders for path in sorted(Path("csrc", folder).iterdir())]
    sources = [path.as_posix() for path in files if path.suffix in (".cpp", ".cu")]
    macros: list[tuple[str, str | None]] = [("TORCH_TARGET_VERSION", TARGET)]
    if with_cuda:
        macros.append(("WGAN_FAST_WITH_CUDA", None))
    else:
        sources.remove("csrc/torch/cuda.cpp")
    optimise = ["-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden"]
    if platform.machine() == "x86_64":
        optimise += X86_64_V2
    extension = (cpp_extension.CUDAExtension if with_cuda else cpp_extension.CppExtension)(
        "wgan_fast._C",
        sources,
        py_limited_api=True,
        define_macros=macros,
        extra_compile_args={"cxx": [*optimise, "-Wall", "-Wextra"], "nvcc": ["-O3"]},
    )
    if with_cuda:
        os.environ.setdefault("TORCH_CUDA_ARCH_LIST", cuda_architectures(cpp_extension.CUDA_HOME))
        # With the CUDA runtime inside, one binary serves CPU and CUDA builds of torch.
        shared = ("cudart", "c10_cuda", "torch_cuda")
        extension.libraries = [name for name in extension.libraries if name not in shared]
        extension.libraries += ["cudart_static", "rt", "dl", "pthread"]
        extension.extra_link_args.append("-Wl,--exclude-libs,libcudart_static.a")
    return extension


def cuda_architectures(cuda_home):
    """Those of csrc/cuda/architectures.txt that nvcc knows; PTX of the newest for later ones."""
    nvcc = str(Path(cuda_home, "bin", "nvcc"))
    known = subprocess.run([nvcc, "--list-gpu-arch"], capture_output=True, text=True, check=True)
    lines = Path("csrc", "cuda", "architectures.txt").read_text().splitlines()
    wanted = [line.split()[0] for line in lines if not line.startswith("#")]
    chosen = [arch for arch in wanted if f"compute_{arch.replace('.', '')}\n" in known.stdout]
    return ";".join(chosen) + "+PTX"


def wants_cuda(cpp_extension):
    import torch

    forced = os.environ.get("FORCE_CUDA", "0") == "1"
    return forced or (torch.version.cuda is not None and cpp_extension.CUDA_HOME is not None)


def arguments():
    if MODE not in ("auto", "none", "cpu", "cuda"):
        sys.exit(f"wgan_fast: WGAN_FAST_BUILD must be auto, none, cpu or cuda, but it is {MODE!r}")
    if MODE == "none":
        return {}
    if not has_compiler():
        if MODE == "auto":
            print(
                "wgan_fast: no C++ compiler found, installing the pure PyTorch version",
                file=sys.stderr,
            )
            return {}
        sys.exit(
            f"wgan_fast: WGAN_FAST_BUILD={MODE}, but no C++ compiler was found. "
            "Install g++ or clang++, or set CXX."
        )
    try:
        import torch  # noqa: F401 - is it there?
    except ImportError:
        sys.exit(WITHOUT_TORCH)
    return native_extension()


setup(**arguments())
