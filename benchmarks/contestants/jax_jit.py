"""JAX, jit-compiled as a whole: the same critic, the same weights, the same formula.

JAX is an optional extra: ``pip install jax``. On the CPU its number of threads is set by the
environment variable PJRT_NPROC when the process starts; :mod:`benchmarks.race` does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..problems.problem import GAMMA, LAMBDA, Problem
from . import Build, Step, UnavailableError


def _setup(device: str) -> Any:
    """The package, with float64 switched on."""
    try:
        import jax
    except ImportError:
        raise UnavailableError("jax is not installed; pip install jax") from None
    jax.config.update("jax_enable_x64", True)
    if jax.default_backend() != {"cpu": "cpu", "cuda": "gpu"}[device]:
        raise UnavailableError(f"this jax runs on {jax.default_backend()}, not on {device}")
    return jax


def _array(tensor: Tensor) -> Any:
    import jax.numpy as jnp

    return jnp.asarray(tensor.detach().cpu().numpy())


def _weights(module: nn.Module) -> dict[str, Any]:
    return {name: _array(parameter) for name, parameter in module.named_parameters()}


def _penalty(apply: Callable[..., Any], args: tuple[Any, ...]) -> Callable[..., Any]:
    import jax
    import jax.numpy as jnp

    def penalty(weights: Any, real: Any, fake: Any, epsilon: Any) -> Any:
        factor = epsilon.reshape(-1, *[1] * (real.ndim - 1))
        points = factor * real + (1 - factor) * fake
        gradients = jax.grad(lambda x: apply(weights, x, *args).sum())(points)
        norms = jnp.sqrt(jnp.square(gradients).reshape(len(gradients), -1).sum(1))
        return LAMBDA * jnp.square(norms - 1).mean()

    return penalty


def _drawing(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, jit-compiled, that draws its own mixing factors from a counter."""
    import jax

    def draws(count: Any, state: Any, real: Any, fake: Any) -> Any:
        key = jax.random.fold_in(jax.random.key(0), count)
        epsilon = jax.random.uniform(key, (len(real),), real.dtype)
        return function(state, real, fake, epsilon)

    return jax.jit(draws)


def penalty(problem: Problem) -> Build:
    """The penalty and its gradients."""
    return _loss(problem, _penalty)


def critic_loss(problem: Problem, name: str) -> Build:
    """The whole loss of a critic's step, of :data:`critic_losses.CRITIC_LOSSES` by its name, and
    its gradients."""
    return _loss(problem, {"R1": _r1, "R1+R2": _r1_r2, "WGAN-GP": _wgan_gp}[name])


def _loss(problem: Problem, make: Callable[..., Callable[..., Any]]) -> Build:
    """A penalty or a whole loss, ``make(apply, args)``, and its gradients."""

    def build(dtype: torch.dtype, batch: int | None) -> Step:
        jax = _setup(problem.device)
        from .translate import translate

        here = problem.at_most(batch)
        critic = here.critic(dtype)
        real, fake, *args = map(_array, (*here.samples(dtype), *here.arguments()))
        of_weights = jax.value_and_grad(make(translate(critic), tuple(args)))
        given, drawing = jax.jit(of_weights), _drawing(of_weights)
        weights, count = _weights(critic), iter(range(2**31))

        def step(epsilon: Tensor | None = None) -> list[Any]:
            if epsilon is None:
                result = drawing(next(count), weights, real, fake)
            else:
                result = given(weights, real, fake, _array(epsilon))
            value, grads = jax.block_until_ready(result)
            return [value, *[grads[name] for name in weights]]

        return step

    return build


def critic_step(problem: Problem) -> Build:
    """The critic's step with Adam, compiled as one function."""

    def build(dtype: torch.dtype, batch: int | None) -> Step:
        jax = _setup(problem.device)
        from .translate import translate

        here = problem.at_most(batch)
        critic = here.critic(dtype)
        apply = translate(critic)
        real, fake, *args = map(_array, (*here.samples(dtype), *here.arguments()))
        of_weights = jax.value_and_grad(_wgan_gp(apply, tuple(args)))
        given, drawing = (make(_with_adam(of_weights)) for make in (jax.jit, _drawing))
        weights = _weights(critic)
        names = list(weights)
        state: Any = [weights, *({k: 0 * w for k, w in weights.items()} for _ in range(2)), 0.0]
        count = iter(range(2**31))

        def step(epsilon: Tensor | None = None) -> list[Any]:
            if epsilon is None:
                result = drawing(next(count), state, real, fake)
            else:
                result = given(state, real, fake, _array(epsilon))
            loss, grads, state[:] = jax.block_until_ready(result)
            return [loss, *[grads[name] for name in names]]

        return step

    return build


def _scored(apply: Callable[..., Any], weights: Any, x: Any, args: tuple[Any, ...]) -> Any:
    """Scores and the zero-centred penalty there, from one forward pass."""
    import jax
    import jax.numpy as jnp

    scores, backward = jax.vjp(lambda x: apply(weights, x, *args), x)
    (gradients,) = backward(jnp.ones_like(scores))
    return scores, GAMMA / 2 * jnp.square(gradients).reshape(len(x), -1).sum(1).mean()


def _r1(apply: Callable[..., Any], args: tuple[Any, ...]) -> Callable[..., Any]:
    from jax.nn import softplus

    def loss(weights: Any, real: Any, fake: Any, epsilon: Any) -> Any:
        real_scores, r1 = _scored(apply, weights, real, args)
        return softplus(-real_scores).mean() + softplus(apply(weights, fake, *args)).mean() + r1

    return loss


def _r1_r2(apply: Callable[..., Any], args: tuple[Any, ...]) -> Callable[..., Any]:
    from jax.nn import softplus

    def loss(weights: Any, real: Any, fake: Any, epsilon: Any) -> Any:
        real_scores, r1 = _scored(apply, weights, real, args)
        fake_scores, r2 = _scored(apply, weights, fake, args)
        return softplus(fake_scores - real_scores).mean() + r1 + r2

    return loss


def _wgan_gp(apply: Callable[..., Any], args: tuple[Any, ...]) -> Callable[..., Any]:
    penalty_of = _penalty(apply, args)

    def loss(weights: Any, real: Any, fake: Any, epsilon: Any) -> Any:
        distance = apply(weights, fake, *args).mean() - apply(weights, real, *args).mean()
        return distance + penalty_of(weights, real, fake, epsilon)

    return loss


def _with_adam(of_weights: Callable[..., Any]) -> Callable[..., Any]:
    """Adam with the learning rate 1e-4 and betas 0 and 0.9, as in plain PyTorch."""
    import jax

    def update(state: Any, real: Any, fake: Any, epsilon: Any) -> Any:
        weights, first, second, steps = state
        loss, grads = of_weights(weights, real, fake, epsilon)
        steps = steps + 1
        first = grads
        second = jax.tree.map(lambda s, g: 0.9 * s + 0.1 * g * g, second, grads)
        correction = (1 - 0.9**steps).astype(loss.dtype)

        def moved(w: Any, m: Any, s: Any) -> Any:
            return w - 1e-4 * m / ((s / correction) ** 0.5 + 1e-8)

        weights = jax.tree.map(moved, weights, first, second)
        return loss, grads, [weights, first, second, steps]

    return update
