"""Which gradients of PyTorch's gradient functions are zero by construction.

``ThresholdBackwardBackward0`` differentiates ``threshold_backward(grad_output, self)``,
and its gradient number 1, the one with respect to ``self``, is zero whatever the values are. The
tables follow PyTorch's ``derivatives.yaml``: every formula there that is nothing but ``zeros_like``
is here, and a test holds them against the file of the PyTorch in use.
"""

from __future__ import annotations

#: The second derivative of what is linear piece by piece: with respect to its input it is zero.
_PIECEWISE_LINEAR = [
    "ThresholdBackwardBackward0",
    "LeakyReluBackwardBackward0",
    "RreluWithNoiseBackwardBackward0",
    "HardtanhBackwardBackward0",
    "SoftshrinkBackwardBackward0",
    "HardshrinkBackwardBackward0",
    "PreluKernelBackwardBackward0",
    "MaxPool2DBackwardBackward0",
    "MaxPool2DWithIndicesBackwardBackward0",
    "MaxPool3DWithIndicesBackwardBackward0",
    "FractionalMaxPool2DBackwardBackward0",
    "FractionalMaxPool3DBackwardBackward0",
    "AdaptiveMaxPool2DBackwardBackward0",
    "AdaptiveMaxPool3DBackwardBackward0",
    "AvgPool2DBackwardBackward0",
    "AvgPool3DBackwardBackward0",
    "AdaptiveAvgPool2DBackwardBackward0",
    "AdaptiveAvgPool3DBackwardBackward0",
    "ReflectionPad1DBackwardBackward0",
    "ReflectionPad2DBackwardBackward0",
    "ReflectionPad3DBackwardBackward0",
    "ReplicationPad1DBackwardBackward0",
    "ReplicationPad2DBackwardBackward0",
    "ReplicationPad3DBackwardBackward0",
    "NllLossBackwardBackward0",
    "NllLoss2DBackwardBackward0",
]

#: Constant piece by piece. The sign is what the derivative of abs and of the L1 norm is made from.
_PIECEWISE_CONSTANT = [
    "SgnBackward0",
    "SignBackward0",
    "CeilBackward0",
    "FloorBackward0",
    "RoundBackward0",
    "RoundBackward1",
    "TruncBackward0",
]

#: The values before are overwritten; FillBackward2, say, is the gradient function of fill_.
_OVERWRITTEN = [
    "FillBackward0",
    "FillBackward1",
    "FillBackward2",
    "FillBackward3",
    "ZeroBackward0",
    "PoissonBackward0",
    "BernoulliBackward0",
    "BernoulliBackward2",
    "CauchyBackward0",
    "ExponentialBackward0",
    "GeometricBackward0",
    "LogNormalBackward0",
    "NormalBackward0",
    "NormalBackward1",
    "NormalBackward2",
    "RandomBackward0",
    "RandomBackward1",
    "RandomBackward2",
    "UniformBackward0",
    "EqBackward0",
    "GeBackward0",
    "GtBackward0",
    "LeBackward0",
    "LtBackward0",
    "NeBackward0",
]

#: The same, where two tensors do not count: in-place comparisons, bernoulli_, normal.
_TWO_TENSORS = [
    "EqBackward1",
    "GeBackward1",
    "GtBackward1",
    "LeBackward1",
    "LtBackward1",
    "NeBackward1",
    "BernoulliBackward1",
    "NormalBackward3",
]

#: Gradient function -> which of its gradients are zero.
ZERO_GRADIENTS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(_PIECEWISE_LINEAR, (1,)),
    **dict.fromkeys(_PIECEWISE_CONSTANT, (0,)),
    **dict.fromkeys(_OVERWRITTEN, (0,)),
    **dict.fromkeys(_TWO_TENSORS, (0, 1)),
    "CopysignBackward0": (1,),
    "NextafterBackward0": (1,),
}

#: Gradient function -> which of its gradients PyTorch leaves undefined, or may. Nothing is to be
#: cut there, but that such a gradient leads to a leaf does not mean that the leaf gets one.
SILENT_GRADIENTS: dict[str, tuple[int, ...]] = {
    # The input of a convolution: only a gradient with respect to the weights depends on it.
    "ConvolutionBackwardBackward0": (1,),
    "ConvolutionBackwardOverrideableBackward0": (1,),
    "MpsConvolutionBackwardBackward0": (0,),
    "SlowConv2DBackwardBackward0": (1,),
    # Weight and bias of a group normalisation, whose mean and deviation are differentiated, too:
    # gradients with respect to these two alone lead to its input alone.
    "NativeGroupNormBackward0": (1, 2),
    "FusedRmsNormBackward0": (1,),
    # The bias of a layer normalisation.
    "NativeLayerNormBackwardBackward0": (5,),
    # The input of a batch normalisation that does not use the statistics of the batch.
    "NativeBatchNormBackwardBackward0": (1,),
    "BatchNormBackwardBackward0": (1,),
    "CudnnBatchNormBackwardBackward0": (0,),
    "MiopenBatchNormBackwardBackward0": (0,),
    # The image that is sampled: only a gradient with respect to the grid depends on it.
    "GridSampler2DBackwardBackward0": (1,),
    "GridSampler3DBackwardBackward0": (1,),
    "GridSampler2DCpuFallbackBackwardBackward0": (1,),
    "CudnnGridSamplerBackwardBackward0": (0,),
}

#: The functions that cost most: leaving one of them out saves more than any other.
PRODUCTS = [
    "AddmmBackward0",
    "AddbmmBackward0",
    "AddmvBackward0",
    "AddrBackward0",
    "BaddbmmBackward0",
    "BmmBackward0",
    "ConvolutionBackward0",
    "ConvolutionOverrideableBackward0",
    "DotBackward0",
    "LinearBackward0",
    "MkldnnConvolutionBackward0",
    "MkldnnLinearBackward0",
    "MmBackward0",
    "MpsConvolutionBackward0",
    "MvBackward0",
    "SlowConv2DBackward0",
    "SlowConv3DBackward0",
]

#: Functions that may give their first input a sparse gradient (where they were told to).
SPARSE_GRADIENTS = ["EmbeddingBackward0", "EmbeddingBagBackward0", "GatherBackward0"]
