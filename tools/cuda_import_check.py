"""Checks a build with CUDA kernels where there is no GPU: loads, serves the CPU, refuses cleanly.

    python -m tools.cuda_import_check

Run by any Python whose torch is 2.11 or later, CPU or CUDA build, from a folder with the built
package. ``make cuda-import-check`` builds once and runs this under two versions of torch.
"""

from __future__ import annotations

import torch

from wgan_fast import fast_gradient_penalty
from wgan_fast.ops import REGISTRY
from wgan_fast.ops import _native as native

#: What PyTorch itself says when it is asked for a GPU that is not there.
REFUSALS = ("Torch not compiled with CUDA enabled", "Found no NVIDIA driver", "No CUDA GPUs")


def check_registered() -> None:
    for name in REGISTRY:
        for device_type in ("cpu", "cuda"):
            reason = native.why_not(name, device_type)
            assert reason is None, f"{name} on {device_type}: {reason}"


def check_cpu() -> None:
    critic = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.ReLU(), torch.nn.Linear(7, 1))
    real, fake, epsilon = torch.randn(6, 5), torch.randn(6, 5), torch.rand(6)
    native_, reference = (
        fast_gradient_penalty(critic, real, fake, epsilon=epsilon, backend=backend)
        for backend in ("native", "reference")
    )
    torch.testing.assert_close(native_, reference)


def check_cuda_is_refused() -> str:
    try:
        torch.zeros(2, 3, device="cuda")
    except (AssertionError, RuntimeError) as error:
        said = str(error).splitlines()[0]
        assert any(refusal in said for refusal in REFUSALS), said
        return said
    raise AssertionError("this machine has a GPU: type make gpu instead")


def main() -> None:
    check_registered()
    check_cpu()
    said = check_cuda_is_refused()
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"
    print(f"torch {torch.__version__} ({build} build): {len(REGISTRY)} operators on cpu and cuda")
    print(f'  device="cuda": {said}')


if __name__ == "__main__":
    main()
