"""Convolutions of every geometry, and a small critic made of some."""

import torch.nn.functional as F
from torch import nn

from tests.second_order.twice import penalty_of, points
from wgan_fast.second_order import efficient_convolutions, prune_zero_paths

#: function, shape of the input, shape of the weights, arguments
GEOMETRIES = {
    "1d": (F.conv1d, (2, 3, 9), (4, 3, 3), {}),
    "1d strided": (F.conv1d, (2, 3, 10), (4, 3, 5), {"stride": 2, "padding": 2}),
    "2d": (F.conv2d, (2, 3, 5, 6), (4, 3, 3, 2), {}),
    "2d strided": (F.conv2d, (2, 3, 7, 6), (4, 3, 4, 3), {"stride": (2, 3), "padding": (1, 2)}),
    "2d stride that leaves a rest": (F.conv2d, (2, 2, 8, 8), (3, 2, 3, 3), {"stride": 2}),
    "2d list of one": (F.conv2d, (2, 2, 6, 6), (3, 2, 3, 3), {"stride": [2], "padding": [1]}),
    "2d as wide as its output": (F.conv2d, (2, 5, 8, 6), (3, 5, 4, 4), {"stride": 2, "padding": 1}),
    "2d as wide as its input": (F.conv2d, (3, 6, 4, 3), (2, 6, 4, 3), {}),
    "1d wide, with a rest": (F.conv1d, (2, 5, 42), (3, 5, 25), {"stride": 4, "padding": 11}),
    "2d dilated": (F.conv2d, (2, 2, 9, 9), (2, 2, 3, 3), {"dilation": (2, 3), "padding": 1}),
    "2d groups": (F.conv2d, (2, 4, 6, 6), (6, 2, 3, 3), {"groups": 2, "stride": 2}),
    "2d depthwise": (F.conv2d, (2, 3, 6, 6), (3, 1, 3, 3), {"groups": 3}),
    "2d valid": (F.conv2d, (2, 2, 5, 5), (2, 2, 3, 3), {"padding": "valid", "stride": 2}),
    "2d same": (F.conv2d, (2, 2, 5, 6), (2, 2, 3, 3), {"padding": "same"}),
    "2d same, even kernel": (
        F.conv2d,
        (2, 2, 5, 6),
        (2, 2, 4, 2),
        {"padding": "same", "dilation": (1, 2)},
    ),
    "3d": (F.conv3d, (1, 2, 5, 4, 5), (2, 2, 3, 2, 3), {"stride": (2, 1, 2), "padding": 1}),
    "transposed 1d": (F.conv_transpose1d, (2, 3, 5), (3, 2, 4), {"stride": 2, "padding": 1}),
    "transposed 2d": (
        F.conv_transpose2d,
        (2, 4, 3, 4),
        (4, 1, 3, 3),
        {"stride": 2, "padding": 1, "output_padding": (1, 0), "groups": 2, "dilation": (1, 2)},
    ),
    "transposed 3d": (F.conv_transpose3d, (1, 2, 3, 2, 3), (2, 2, 2, 2, 3), {"stride": 2}),
}


def arguments_of(name, bias=True):
    function, size, weight_size, arguments = GEOMETRIES[name]
    input, weight = points(*size), points(*weight_size)
    features = weight_size[0]
    if "transpose" in function.__name__:
        features = weight_size[1] * arguments.get("groups", 1)
    tensors = (input, weight, points(features)) if bias else (input, weight)
    return function, tensors, arguments


def replaced(function, arguments):
    def call(*tensors):
        with efficient_convolutions():
            return function(*tensors, **arguments)

    return call


def small_critic(activation=nn.ReLU, **arguments):
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1, **arguments), activation(),
        nn.Conv2d(4, 8, 3, 2, 1, **arguments), activation(), nn.Flatten(), nn.Linear(32, 1),
    ).double()  # fmt: skip


def both_tools(critic, x):
    return penalty_of(critic, x, prune_zero_paths, efficient_convolutions)
