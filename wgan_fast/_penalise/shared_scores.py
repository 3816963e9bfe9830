"""Scores and input gradients of one call of the critic, for a loss and a penalty that share it.

A critic that is linear piece by piece is differentiated once less: its scores are computed from its
gradients, so that the penalty's double backward differentiates the loss as well, and the critic's
own graph needs no backward pass. All others share the forward pass and the first backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._being_captured import being_captured, conditions_are_kept, must_hold
from .._per_critic import memory_of
from .._torch_internals import forward_mode_active, input_gradient, transforms_active
from .._tracing import can_look
from ..second_order._adding_functions import ChangedInPlaceError
from ..second_order._profile import Profile, profile_of
from ..second_order._recording import ask_no_more_for
from ..second_order._thresholds import thresholds_apply
from ..second_order._walk import find_cuts
from ..second_order.added_constants import AddedConstants, RecordingConstants
from ..second_order.context import EfficientDoubleBackward, NoticingHooks
from ..second_order.prune import cut, with_zero_gradients
from . import batch_norm
from .critic import NOT_CONNECTED, check_scores, plain_scores_and_gradients
from .double_backward_errors import input_gradient_to_differentiate
from .engines import Engines, engines_of
from .together import together
from .underflow import warn_of_underflow

#: How the loss of a critic's scores is differentiated: by the penalty's double backward,
SHARED_BACKWARD = "shared backward"
#: or by a backward pass of its own through the graph of the forward pass, which is shared.
SHARED_FORWARD = "shared forward"

#: From so many multiplications in one pass of the critic on, sparing two passes is worth what
#: looking for the way costs.
LEAST_WORK = 2**24


class Scored(NamedTuple):
    """What one call of the critic gives.

    Args:
        scores: as the critic returned them; they can be differentiated, if gradients are recorded.
        gradients: of each sample's score, ``[B, *]``; they can be differentiated likewise.
        way: ``SHARED_BACKWARD``, or ``SHARED_FORWARD`` with the reason.
    """

    scores: Tensor
    gradients: Tensor
    way: str


def scores_and_gradients(
    critic: Callable[..., Any],
    points: Tensor,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    module: torch.nn.Module | None,
    prune: bool,
    by_differences: str,
) -> Scored:
    """Calls the critic once, for a loss of its scores and a penalty of its gradients.

    Args:
        critic: the critic; every entry of its output counts.
        points: ``[B, *]``, where to differentiate; requires a gradient.
        args, kwargs: passed on to the critic.
        module: whose parameters the critic uses, if it is known.
        prune: whether to compute it otherwise than PyTorch, where that is the same.
        by_differences: how to do without a double backward, as errors suggest it.

    Raises:
        As :func:`wgan_fast._penalise.critic.input_gradients`.
    """
    create_graph = torch.is_grad_enabled()
    if torch.compiler.is_dynamo_compiling():
        scores, gradients = plain_scores_and_gradients(
            critic, points, args, kwargs, create_graph=create_graph
        )
        return Scored(scores, gradients, f"{SHARED_FORWARD}: {_TRACED}")
    engines = engines_of(critic, module, create_graph=create_graph)
    memory = memory_of(critic, module)
    profile = profile_of(critic, module, memory, points)
    prune = prune and create_graph
    why_not = _why_not_shared(points, profile, engines) if prune else "nothing is cut"
    recording = None if why_not else RecordingConstants()
    call = EfficientDoubleBackward(profile, points) if prune else NoticingHooks()
    watching = batch_norm.watching(critic, module, memory)
    with torch.enable_grad(), together(watching, call, engines.watching(call), recording):
        scores = critic(points, *args, **kwargs)
    check_scores(scores, points, per_sample=False)
    if not scores.requires_grad:
        raise ValueError(NOT_CONNECTED)
    if recording is not None:
        constants = _understood(recording, scores, points, hooked=call.has_hooks)
        if isinstance(constants, AddedConstants):
            scored = _by_gradients(scores, points, constants)
            if profile is not None and scored.way == SHARED_BACKWARD and can_look(points):
                profile.sharing_was_proved = True
            return scored
        why_not = constants
        if profile is not None:
            profile.sharing.begin(points.shape, why_not)
    if not create_graph:
        gradients = input_gradient(scores, points, create_graph=False)
        scores = scores.detach()
    else:
        gradients = input_gradient_to_differentiate(
            memory,
            scores,
            points,
            hooked=call.has_hooks,
            pruned=prune,
            by_differences=by_differences,
        )
    if gradients is None:
        raise ValueError(NOT_CONNECTED)
    if create_graph:
        warn_of_underflow(memory, scores, points, gradients)
        gradients = engines.connected(gradients, scores, hooked=call.has_hooks)
    return Scored(scores, gradients, f"{SHARED_FORWARD}: {why_not}")


_TRACED = "the call is being traced or transformed"


def _why_not_shared(points: Tensor, profile: Profile | None, engines: Engines) -> str:
    """Why it is not even tried; empty if it is."""
    if engines.is_sharded:
        return "the critic is sharded by fully_shard, which waits for the whole graph"
    if profile is not None and not profile.sharing.looks(points.shape):
        return profile.sharing.why(points.shape)
    proved = profile is not None and profile.sharing_was_proved
    if being_captured():
        proved = conditions_are_kept()
    if not (can_look(points) or proved) or transforms_active() or forward_mode_active():
        return _TRACED
    if points.dtype not in (torch.float32, torch.float64):
        return f"{points.dtype} has too few digits to prove it"
    if torch.is_autocast_enabled(points.device.type):
        return "autocast has too few digits to prove it"
    return ""


def _understood(
    recording: RecordingConstants, scores: Tensor, points: Tensor, *, hooked: bool
) -> AddedConstants | str:
    """The critic's constants, or why its scores cannot be computed from its gradients."""
    if hooked:
        return "the critic has hooks, which may change gradients"
    if scores.shape[:1] != points.shape[:1] or scores.numel() != points.shape[0]:
        return f"scores of shape {list(scores.shape)} are not one for each sample"
    if scores.dtype != points.dtype:
        return f"the scores are {scores.dtype}"
    constants = recording.constants(scores, points)
    if isinstance(constants, AddedConstants) and constants.work < LEAST_WORK and thresholds_apply():
        return "the critic is too small for it to pay"
    return constants


def _by_gradients(scores: Tensor, points: Tensor, constants: AddedConstants) -> Scored:
    """The scores, connected to the parameters by the gradients and the constants alone."""
    inputs: Any = [points, *constants.edges]
    adjoints: list[Tensor | None] = list(
        torch.autograd.grad(
            scores, inputs, torch.ones_like(scores), create_graph=True, allow_unused=True
        )
    )
    if adjoints[0] is None:
        raise ValueError(NOT_CONNECTED)
    ask_no_more_for(points)
    given = [adjoint for adjoint in adjoints if adjoint is not None]
    walk = find_cuts(given)
    stranded = [each for each in cut(walk).stranded if each.leaf is not points]
    pruned = iter(with_zero_gradients(given, stranded))
    adjoints = [None if adjoint is None else next(pruned) for adjoint in adjoints]
    gradients = adjoints[0]
    assert gradients is not None
    why_not = "its graph cannot be cut"
    if walk is not None:
        why_not = "its second derivative is not zero"
        if not walk.reaches(constants.leading):
            computed, why_not = _computed(scores, points, adjoints, constants)
            if not why_not:
                return Scored(computed, gradients, SHARED_BACKWARD)
    return Scored(scores, gradients, f"{SHARED_FORWARD}: {why_not}")


def _computed(
    scores: Tensor, points: Tensor, adjoints: list[Tensor | None], constants: AddedConstants
) -> tuple[Tensor, str]:
    """The scores, computed from the gradients, and what is wrong with them, if anything is."""
    gradients = adjoints[0]
    assert gradients is not None
    rows, flat = (
        gradients.reshape(points.shape[0], -1),
        points.detach().reshape(points.shape[0], -1),
    )
    terms = [torch.linalg.vecdot(rows, flat)]
    try:
        for index, contribution in constants.contributions:
            adjoint = adjoints[1 + index]
            if adjoint is not None:
                terms.append(contribution(adjoint).reshape(points.shape[0], -1).sum(1))
    except ChangedInPlaceError:
        return scores, "a constant has been changed in place since it was added"
    value = torch.stack(terms).sum(0) if len(terms) > 1 else terms[0]
    if not value.requires_grad:  # nothing to train: as everybody else, it leads to the points
        return scores, "nothing that it depends on requires a gradient"
    known = scores.detach().reshape(-1)
    if can_look(points) or conditions_are_kept():
        with torch.no_grad():
            size = rows.norm(dim=1) * flat.norm(dim=1) + known.abs()
            size += sum(term.abs() for term in terms[1:])
            # Each function may round once. 15 critics of up to 60 came to 0.07 of this at most.
            bound = _rounding(points) * len(constants.leading) * size
            proved = ((value - known).abs() <= bound).all()  # false for NaN as well
        if conditions_are_kept():
            must_hold(proved)
        elif not bool(proved):
            return scores, "its scores are not what its gradients and constants come to"
    return (known + (value - value.detach())).view_as(scores), ""


def _rounding(points: Tensor) -> float:
    """To what the products of a critic are rounded, relative to their size: those of float32 may be
    computed from TF32, as convolutions on a GPU are by default, or from bfloat16."""
    if points.dtype == torch.float32:
        if torch.get_float32_matmul_precision() == "medium":
            return torch.finfo(torch.bfloat16).eps
        if not points.is_cpu:
            return 2.0**-10
    return torch.finfo(points.dtype).eps
