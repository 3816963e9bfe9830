"""One operator of the library: its schema, its reference, its fake kernel, its autograd.

Every file of this folder makes its operators with :class:`Op`, which puts them into PyTorch's
dispatcher: plain PyTorch at ``CompositeExplicitAutograd``, where it serves every device that has
nothing better. The compiled kernels register themselves at ``CPU`` and ``CUDA`` when
``_native.py`` loads them, so the dispatcher is the fallback.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from .._arguments import check_choice
from .._torch_internals import are_ordinary, below_autograd, forward_mode_active
from . import _native

_library = torch.library.Library("wgan_fast", "DEF")

#: What can be asked for: the best there is, the compiled kernels, PyTorch in as few calls as
#: possible, or the reference.
BACKENDS = ("auto", "native", "pytorch", "reference")

#: Every operator by name, in the order of definition. Tests and benchmarks collect from here.
REGISTRY: dict[str, Op] = {}


class Op:
    """An operator and everything that is known about it.

    Args:
        schema: the operator as PyTorch's dispatcher is told it, ``name(Tensor x, ...) -> ...``.
        check: raises RuntimeError where the arguments do not fit; called before the reference and
            the fake kernel, which would broadcast or convert them.
        reference: the same in plain PyTorch, for a newcomer to read; differentiable.
        fake: shapes, dtypes and strides of the result without computing it (``torch.compile``).
        autograd: called instead of the kernel when an input asks for a gradient; takes the kernel
            to run as its first argument.
        pytorch: the same in as few calls of PyTorch as possible, where that differs from the
            reference; what "auto" takes where there is no kernel. Differentiated by PyTorch.
        samples: makes positional arguments from a dtype and a device; for tests and benchmarks.
    """

    def __init__(
        self,
        schema: str,
        *,
        check: Callable[..., None],
        reference: Callable[..., Any],
        fake: Callable[..., Any],
        autograd: Callable[..., Any],
        samples: Callable[[torch.dtype, torch.device], Iterator[tuple[Any, ...]]],
        pytorch: Callable[..., Any] | None = None,
    ):
        def checked(run: Callable[..., Any]) -> Callable[..., Any]:
            def run_checked(*args: Any) -> Any:
                check(*args)
                return run(*args)

            return run_checked

        self.name = schema.partition("(")[0]
        self.schema = schema
        self.reference = checked(reference)
        self.pytorch = checked(pytorch or reference)
        self.autograd = autograd
        self.samples = samples
        _library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
        self.overload = getattr(torch.ops.wgan_fast, self.name).default
        _library.impl(self.name, self.pytorch, "CompositeExplicitAutograd")
        _library.impl(self.name, self._dispatched, "Autograd")
        torch.library.register_fake(f"wgan_fast::{self.name}", checked(fake), lib=_library)
        REGISTRY[self.name] = self

    def __call__(self, *args: Any, backend: str = "auto") -> Any:
        """Runs the operator on one of the :data:`BACKENDS`."""
        if backend == "auto":
            if torch.compiler.is_dynamo_compiling():
                return self.overload(*args)
            if not _native.serves(self.name, args[0].device.type) or not are_ordinary(*args):
                return self.pytorch(*args)
        elif backend == "native":
            _native.require(self.name, args[0].device)
            if not are_ordinary(*args):
                raise RuntimeError(
                    f'backend="native" was asked for, but {self.name} was called with a tensor of '
                    "another type than torch.Tensor, or inside a transform of torch.func, of which "
                    'the compiled kernels know nothing; take backend="auto"'
                )
        elif backend == "pytorch":
            return self.pytorch(*args)
        else:
            check_choice(backend, "backend", BACKENDS)
            return self._run(self.reference, args)
        return self._run(self._below_autograd, args)

    def _dispatched(self, *args: Any) -> Any:
        return self._run(self._below_autograd, args)

    def _run(self, kernel: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        # Going through torch.library.register_autograd would cost more than some of the kernels:
        # 10 us a call against 6 us for a plain autograd.Function and 2.5 us without one.
        if forward_mode_active():  # which plain PyTorch does
            return self.reference(*args)
        if torch.is_grad_enabled():
            for argument in args:
                if isinstance(argument, Tensor) and argument.requires_grad:
                    return self.autograd(kernel, *args)
        return kernel(*args)

    def _below_autograd(self, *args: Any) -> Any:
        if below_autograd is None:
            return self.reference(*args)
        with below_autograd():
            return self.overload(*args)
