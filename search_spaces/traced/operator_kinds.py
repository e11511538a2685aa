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

LAYERS = operators(
    "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear batch_norm instance_norm "
    "group_norm layer_norm prelu softmax log_softmax matmul bmm scaled_dot_product_attention"
)
"""Operators that multiply, normalise or weigh."""

PIECES = operators(
    "roll flip select_scatter slice_scatter pad constant_pad_nd select slice cat split_with_sizes getitem "
    "pixel_shuffle repeat index"
)
"""Operators that take tensors apart or put them together."""

NOT_FOLLOWED = operators(
    "cumsum cumprod cummax cummin logcumsumexp einsum stack tile repeat_interleave rot90 pixel_unshuffle im2col "
    "col2im unfold grid_sampler max_pool1d_with_indices max_pool2d_with_indices upsample_trilinear3d "
    "upsample_nearest3d reflection_pad1d reflection_pad3d replication_pad1d replication_pad3d adaptive_max_pool3d "
    "glu logit log_sigmoid trunc frac sgn sinh cosh asin acos atan asinh acosh atanh erfc hypot logaddexp xlogy "
    "floor_divide logical_not logical_xor bitwise_and bitwise_or bitwise_not bitwise_xor __and__ __or__ isnan "
    "isinf isfinite full_like prod all any argmax argmin var_mean std_mean topk sort argsort median count_nonzero "
    "linalg_norm frobenius_norm gather index_select take_along_dim embedding one_hot tril triu diagonal mm mv dot "
    "outer addmm baddbmm addbmm addmv tensordot bilinear linalg_cross cosine_similarity cdist convolution "
    "rms_norm _softmax _log_softmax native_layer_norm fft_rfft2 fft_irfft2"
)
"""Operators that networks use and that keep all their channels; they check what they are given, as all here do."""

IN_FILES = SAME_SHAPE | ELEMENTWISE | POOLS | MOVES | REDUCTIONS | CONSTANTS | LAYERS | PIECES | NOT_FOLLOWED
"""What files of networks may call.

A list of what is known to be harmless, as a file may be anybody's: among torch's other operators without side effects
are some that trust the indices and sizes they are given, and write outside of their memory where those are wrong.
"""

SIMPLIFIED = operators(
    "view _unsafe_view flatten unflatten squeeze unsqueeze view_as reshape_as expand_as broadcast_to transpose "
    "swapaxes swapdims t copy channel_shuffle split chunk tensor_split unbind narrow detach alias lift_fresh_copy "
    "lift_fresh contiguous clone sym_size _assert_tensor_metadata _assert_scalar sym_constrain_range "
    "sym_constrain_range_for_size"
)
"""What programs of torch.export call besides; `ProgramReader` leaves none of them."""
