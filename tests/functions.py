"""Functions of one's own, with backward passes that leave something out."""

import torch
from torch.autograd.function import once_differentiable


class OnceTanh(torch.autograd.Function):
    """A kernel of one's own, with a backward pass and no double backward."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.tanh(x)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * (1 - torch.tanh(x) ** 2)


class OnceDouble(torch.autograd.Function):
    """Linear: what it forgets is not missed where it comes last."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        return 2 * grad


class DetachedTanh(torch.autograd.Function):
    """A backward pass that computes without a graph, and does not say so."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.tanh(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad.detach() * (1 - torch.tanh(x.detach()) ** 2)


class Stopped(torch.autograd.Function):
    """The identity, with a gradient of zero."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return torch.zeros_like(grad)
