"""Kinds of operators, by their names in ATen without overloads."""

from __future__ import annotations

from search_spaces.traced.graph import operators

SAME_SHAPE = operators(
    "relu relu6 hardtanh clamp clamp_min clamp_max sigmoid tanh gelu silu hardswish hardsigmoid leaky_relu elu selu "
    "celu softplus softsign mish erf exp exp2 expm1 log log2 log10 log1p sqrt rsqrt abs neg reciprocal square sin "
    "cos tan floor ceil round sign logsigmoid hardshrink softshrink threshold dropout feature_dropout alpha_dropout "
    "to _to_copy type_as nan_to_num rrelu zero zeros_like ones_like fill"
)
"""Operators that give an element for each element, from that alone."""

ELEMENTWISE = operators(
    "add sub rsub mul div maximum minimum pow where fmod remainder atan2 lerp eq ne lt le gt ge logical_and logical_or "
    "masked_fill addcmul addcdiv"
)
"""Operators on elements in the same places of tensors broadcast against each other."""

POOLS = operators(
    "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d "
    "adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d upsample_nearest1d upsample_nearest2d "
    "upsample_bilinear2d upsample_bicubic2d _upsample_bilinear2d_aa _upsample_nearest_exact2d upsample_linear1d "
    "reflection_pad2d replication_pad2d"
)
"""Operators on each channel's map alone, axis 1 being the channels."""

MOVES = operators("reshape permute expand")
"""Operators that put elements elsewhere, each a function of places alone."""

REDUCTIONS = operators("mean sum amax amin max min norm linalg_vector_norm logsumexp var std")

CONSTANTS = operators("zeros ones full arange scalar_tensor new_zeros new_ones new_full linspace eye")
"""Operators that give the same whatever the images."""
