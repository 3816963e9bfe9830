"""For the generator's step: the critic as a function that is not trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ._penalise import checks


@contextmanager
def frozen(*modules: torch.nn.Module) -> Iterator[None]:
    """A context in which the parameters of modules require no gradient.

    The generator's step needs the critic's gradient with respect to its input. PyTorch computes the
    gradients of the critic's weights along with it, one of three passes through the critic, and the
    next ``zero_grad()`` throws them away. A critic that is called frozen leaves them out. So does
    ``backward(inputs=list(generator.parameters()))``, where the caller knows all that is trained;
    frozen, linear layers do not keep their inputs either.

    What counts is the call: ``backward()`` may come afterwards. Two exceptions:

    - A critic that calls ``torch.utils.checkpoint`` is called again in the backward pass, and must
      still be frozen then: put ``backward()`` inside.
    - Do not differentiate a loss inside whose graph was recorded outside: PyTorch drops the
      gradients of parameters that require none at that time.

    Args:
        modules: one or more, such as the critic. Parameters that they share with others are frozen
            in those, too.

    Yields:
        Nothing. On leaving, also by an error, the parameters that required a gradient require one
        again; those that were frozen before stay so. Contexts can be nested.

    Raises:
        TypeError: if there is no module, or one of them is something else.

    Gradients: those of everything but the parameters, in the same bits.

    Under ``DistributedDataParallel``, freeze and call the wrapper or the module in it: nothing is
    sent for a critic whose parameters require no gradient. ``torch.compile`` compiles a critic once
    more the first time that it is called frozen.

    Example:
        >>> critic, generator = torch.nn.Linear(2, 1), torch.nn.Linear(4, 2)
        >>> with frozen(critic):
        ...     scores = critic(generator(torch.randn(8, 4)))
        >>> (-scores.mean()).backward()
        >>> generator.weight.grad is None, critic.weight.grad is None
        (False, True)
        >>> critic.weight.requires_grad
        True
    """
    if not modules:
        raise TypeError("frozen needs a module, such as the critic, but it was given none")
    for module in modules:
        if not isinstance(module, torch.nn.Module):
            raise TypeError(
                f"frozen takes torch.nn.Modules, but it was given {checks.describe(module)}; if a "
                "function calls the critic, give the module that it uses"
            )
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
