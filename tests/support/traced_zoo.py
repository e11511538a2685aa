"""Small networks as people write them, one for each thing that following a graph has to know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

CLASSES = 5


class Residual(nn.Module):
    """A basic block; its shortcut is the input, the input padded with channels (option A), or a 1x1 convolution."""

    def __init__(self, num_in: int, num_out: int, stride: int = 1, shortcut: str = "same") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_in, num_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(num_out)
        self.conv2 = nn.Conv2d(num_out, num_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(num_out)
        self.kind, self.num_new = shortcut, num_out - num_in
        self.project = nn.Conv2d(num_in, num_out, 1, stride) if shortcut == "project" else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.kind == "pad":
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.num_new // 2, self.num_new - self.num_new // 2))
        elif self.project is not None:
            x = self.project(x)
        return functional.relu(x + y)


class Bottleneck(nn.Module):
    def __init__(self, num: int, inner: int) -> None:
        super().__init__()
        self.reduce = conv_bn_relu(num, inner, 1)
        self.conv = conv_bn_relu(inner, inner, 3)
        self.expand = nn.Sequential(nn.Conv2d(inner, num, 1, bias=False), nn.BatchNorm2d(num))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(x + self.expand(self.conv(self.reduce(x))))


class InvertedResidual(nn.Module):
    """Expansion, a depthwise convolution of 5 pixels a side, squeeze and excitation, projection."""

    def __init__(self, num: int, inner: int) -> None:
        super().__init__()
        self.expand = nn.Sequential(nn.Conv2d(num, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.SiLU())
        self.depthwise = nn.Sequential(
            nn.Conv2d(inner, inner, 5, 1, 2, groups=inner, bias=False), nn.BatchNorm2d(inner), nn.SiLU()
        )
        self.squeeze, self.excite = nn.Conv2d(inner, 8, 1), nn.Conv2d(8, inner, 1)
        self.project = nn.Sequential(nn.Conv2d(inner, num, 1, bias=False), nn.BatchNorm2d(num))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.depthwise(self.expand(x))
        gates = torch.sigmoid(self.excite(functional.relu(self.squeeze(functional.adaptive_avg_pool2d(y, 1)))))
        return x + self.project(y * gates)


class ShuffleUnit(nn.Module):
    """Half the channels pass, the other half are computed; then both are interleaved."""

    def __init__(self, num: int) -> None:
        super().__init__()
        half = num // 2
        self.branch = nn.Sequential(
            *conv_bn_relu(half, half, 1),
            nn.Conv2d(half, half, 3, 1, 1, groups=half, bias=False),
            nn.BatchNorm2d(half),
            *conv_bn_relu(half, half, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        passed, computed = x.chunk(2, dim=1)
        x = torch.cat([passed, self.branch(computed)], dim=1)
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class Inception(nn.Module):
    def __init__(self, num: int) -> None:
        super().__init__()
        self.one, self.three = conv_bn_relu(num, 16, 1), conv_bn_relu(num, 24, 3)
        self.pooled = conv_bn_relu(num, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.one(x), self.three(x), self.pooled(functional.max_pool2d(x, 3, 1, 1))], 1)


class DenseBlock(nn.Module):
    def __init__(self, num: int, growth: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(num + i * growth),
                nn.ReLU(),
                nn.Conv2d(num + i * growth, growth, 3, padding=1, bias=False),
            )
            for i in range(depth)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)
        return x


class UpAndDown(nn.Module):
    """A transposed convolution, and another in groups, between strided ones."""

    def __init__(self, num: int) -> None:
        super().__init__()
        self.down = conv_bn_relu(num, 24, 3, stride=2)
        self.up = nn.ConvTranspose2d(24, 16, 2, 2)
        self.mix = nn.ConvTranspose2d(16, 16, 3, 1, 1, groups=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.leaky_relu(self.mix(functional.relu(self.up(self.down(x)))))


class OwnAttention(nn.Module):
    """Attention of several heads by products of matrices."""

    def __init__(self, num: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(num, 3 * num), nn.Linear(num, num)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, d = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        weights = ((q * (d // self.heads) ** -0.5) @ k.transpose(-2, -1)).softmax(dim=-1)
        return self.out((weights @ v).transpose(1, 2).reshape(n, t, d))


class TorchAttention(nn.Module):
    """torch's own layer of attention."""

    def __init__(self, num: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(num, heads, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


class FusedAttention(nn.Module):
    """Attention by the one function for it, with separate queries, keys and values."""

    def __init__(self, num: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = nn.Linear(num, num), nn.Linear(num, num), nn.Linear(num, num)
        self.out = nn.Linear(num, num)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, _ = x.shape
        q, k, v = (layer(x).view(n, t, self.heads, -1).transpose(1, 2) for layer in (self.q, self.k, self.v))
        return self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class BiasedAttention(FusedAttention):
    """The one function for attention with learnt biases, other for each head."""

    def __init__(self, num: int, heads: int) -> None:
        super().__init__(num, heads)
        self.bias = nn.Parameter(torch.randn(heads, 17, 17))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, _ = x.shape
        q, k, v = (layer(x).view(n, t, self.heads, -1).transpose(1, 2) for layer in (self.q, self.k, self.v))
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=self.bias[None])
        return self.out(y.transpose(1, 2).flatten(2))


class GroupedQueries(nn.Module):
    """Attention of several queries for each key and value."""

    def __init__(self, num: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.kv, self.out = nn.Linear(num, num), nn.Linear(num, num), nn.Linear(num, num)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, d = x.shape
        q = self.q(x).view(n, t, self.heads, d // self.heads).transpose(1, 2)
        k, v = self.kv(x).view(n, t, 2, self.heads // 2, d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        y = functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        return self.out(y.transpose(1, 2).flatten(2))


class Encoder(nn.Module):
    def __init__(self, num: int, hidden: int, attention: nn.Module) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(num), nn.LayerNorm(num)
        self.attention = attention
        self.mlp = nn.Sequential(nn.Linear(num, hidden), nn.GELU(), nn.Dropout(0.1), nn.Linear(hidden, num))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    """Patches, a class token, positions, encoders."""

    def __init__(self, make: Callable[[int, int], nn.Module], num: int = 32, heads: int = 4, depth: int = 2) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, num, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, num))
        self.positions = nn.Parameter(torch.randn(1, 17, num))
        self.blocks = nn.Sequential(*(Encoder(num, 2 * num, make(num, heads)) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(num), nn.Linear(num, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


class WindowAttention(nn.Module):
    """Attention within windows, shifted, with a bias looked up by relative position."""

    def __init__(self, num: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.norm, self.qkv, self.out = nn.LayerNorm(num), nn.Linear(num, 3 * num), nn.Linear(num, num)
        self.table = nn.Parameter(torch.randn((2 * window - 1) ** 2, heads))
        places = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        apart = places[:, :, None] - places[:, None] + window - 1
        self.register_buffer("index", (apart[0] * (2 * window - 1) + apart[1]).flatten())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, h, w, c = x.shape
        y, size = torch.roll(self.norm(x), (-self.shift, -self.shift), (1, 2)), self.window
        y = y.view(n, h // size, size, w // size, size, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, size**2, c)
        q, k, v = self.qkv(y).reshape(-1, size**2, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        bias = self.table[self.index].view(size**2, size**2, self.heads).permute(2, 0, 1)
        y = torch.softmax(q @ k.transpose(-2, -1) * 0.3 + bias[None], dim=-1) @ v
        y = self.out(y.transpose(1, 2).reshape(-1, size**2, c))
        y = y.view(n, h // size, w // size, size, size, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
        return x + torch.roll(y, (self.shift, self.shift), (1, 2))


class Swin(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 24, 2, 2)
        self.blocks = nn.Sequential(WindowAttention(24, 3, 4, 0), WindowAttention(24, 3, 4, 2))
        self.merge, self.head = nn.Linear(96, 32, bias=False), nn.Linear(32, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(self.patches(x).permute(0, 2, 3, 1))
        x = torch.cat([x[:, a::2, b::2] for b in (0, 1) for a in (0, 1)], -1)
        return self.head(self.merge(x).mean(dim=(1, 2)))


class ConvNeXtBlock(nn.Module):
    """A depthwise convolution of 7 pixels a side, LayerNorm over channels put last, a layer scale."""

    def __init__(self, num: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(num, num, 7, padding=3, groups=num)
        self.norm, self.up, self.down = nn.LayerNorm(num), nn.Linear(num, 4 * num), nn.Linear(4 * num, num)
        self.scale = nn.Parameter(torch.rand(num, 1, 1) + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + self.scale * self.down(functional.gelu(self.up(y))).permute(0, 3, 1, 2)


class SpatialGate(nn.Module):
    """A gate of one channel, from the mean and the largest of all."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], 1)
        return x * torch.sigmoid(self.conv(pooled))


class Shared(nn.Module):
    """A layer that is used twice."""

    def __init__(self, num: int) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(num, num, 3, padding=1), nn.BatchNorm2d(num)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.conv(self.bn(functional.relu(self.conv(x)))))


class InPlace(nn.Module):
    """Operators that change what they are given, parts of it too."""

    def __init__(self, num: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num, num, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        y += x
        y.relu_().mul_(0.5)
        y[:, :, 0] *= 2.0
        return y.add_(1)


class RunningSum(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cumsum(x, dim=1) / x.shape[1]


class Frequencies(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.fft.rfft2(x, norm="ortho")
        return x + torch.fft.irfft2(y * 0.5, s=x.shape[-2:], norm="ortho")


class Gated(nn.Module):
    """Half the channels gate the other half."""

    def __init__(self, num: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num, 2 * num, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.glu(self.conv(x), dim=1)


class Mixer(nn.Module):
    """Perceptrons over patches and over channels in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 4, 4)
        self.norm1, self.norm2 = nn.LayerNorm(32), nn.LayerNorm(32)
        self.tokens = nn.Sequential(nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 16))
        self.channels = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        x = x + self.channels(self.norm2(x))
        return self.head(x.mean(dim=1))


def conv_bn_relu(num_in: int, num_out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return the usual three layers."""
    conv = nn.Conv2d(num_in, num_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(num_out), nn.ReLU())


def classifier(body: nn.Module, num: int, num_in: int = 3, width: int = 16) -> nn.Sequential:
    """Return a stem of so many channels, a body that gives `num`, pooling and a linear layer."""
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(num, CLASSES))
    return nn.Sequential(conv_bn_relu(num_in, width, 3), body, *head)


def _plain() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.PReLU(32), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(32 * 9, 40), nn.Dropout(0.5), nn.Linear(40, CLASSES)),
    )


def _conv1d() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv1d(4, 16, 5, padding=2), nn.BatchNorm1d(16), nn.ReLU(), nn.MaxPool1d(2)),
        *(nn.Conv1d(16, 16, 7, padding=3, groups=16), nn.Conv1d(16, 24, 1), nn.GroupNorm(1, 24), nn.ELU()),
        *(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(24, CLASSES)),
    )


def _group_norm() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(16, 32, 3, padding=1), nn.GroupNorm(4, 32), nn.SiLU(), nn.Conv2d(32, 24, 1), nn.GroupNorm(24, 24)
    )


def _grouped() -> nn.Module:
    return nn.Sequential(conv_bn_relu(16, 32, 1), conv_bn_relu(32, 32, 3, groups=4), conv_bn_relu(32, 24, 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class Specimen:
    """A network of the zoo.

    Attributes:
        make: gives it, freshly initialised.
        input_shape: of one image.
        is_exportable: whether ONNX has all its operators.
    """

    make: Callable[[], nn.Module]
    input_shape: tuple[int, ...] = (3, 8, 8)
    is_exportable: bool = True


ZOO: dict[str, Specimen] = {
    "plain": Specimen(make=_plain, input_shape=(3, 12, 12)),
    "residual": Specimen(make=lambda: classifier(nn.Sequential(Residual(16, 16), Residual(16, 16)), 16)),
    "residual, padded": Specimen(make=lambda: classifier(Residual(16, 32, 2, "pad"), 32)),
    "residual, projected": Specimen(
        make=lambda: classifier(nn.Sequential(Residual(16, 32, 2, "project"), Residual(32, 32)), 32)
    ),
    "bottleneck": Specimen(
        make=lambda: classifier(nn.Sequential(Bottleneck(32, 16), Bottleneck(32, 16)), 32, width=32)
    ),
    "inverted residual": Specimen(make=lambda: classifier(InvertedResidual(16, 32), 16)),
    "shuffle": Specimen(make=lambda: classifier(nn.Sequential(ShuffleUnit(32), ShuffleUnit(32)), 32, width=32)),
    "inception": Specimen(make=lambda: classifier(nn.Sequential(Inception(16), Inception(48)), 48)),
    "dense": Specimen(make=lambda: classifier(DenseBlock(16, 8, 3), 40)),
    "grouped": Specimen(make=lambda: classifier(_grouped(), 24)),
    "group norm": Specimen(make=lambda: classifier(_group_norm(), 24)),
    "transposed": Specimen(make=lambda: classifier(UpAndDown(16), 16)),
    "vit, torch's attention": Specimen(make=lambda: Transformer(TorchAttention), input_shape=(3, 16, 16)),
    "vit, own attention": Specimen(make=lambda: Transformer(OwnAttention), input_shape=(3, 16, 16)),
    "vit, fused attention": Specimen(make=lambda: Transformer(FusedAttention), input_shape=(3, 16, 16)),
    "vit, biased attention": Specimen(make=lambda: Transformer(BiasedAttention), input_shape=(3, 16, 16)),
    "vit, grouped queries": Specimen(
        make=lambda: Transformer(GroupedQueries), input_shape=(3, 16, 16), is_exportable=False
    ),
    "swin": Specimen(make=Swin, input_shape=(3, 16, 16)),
    "convnext": Specimen(make=lambda: classifier(nn.Sequential(ConvNeXtBlock(16), ConvNeXtBlock(16)), 16)),
    "spatial gate": Specimen(make=lambda: classifier(nn.Sequential(SpatialGate(), conv_bn_relu(16, 24, 3)), 24)),
    "shared layer": Specimen(make=lambda: classifier(nn.Sequential(Shared(16), conv_bn_relu(16, 24, 1)), 24)),
    "in place": Specimen(make=lambda: classifier(InPlace(16), 16)),
    "one axis": Specimen(make=_conv1d, input_shape=(4, 24)),
    "gated": Specimen(make=lambda: classifier(nn.Sequential(Gated(16), conv_bn_relu(16, 24, 1)), 24)),
    "mixer": Specimen(make=Mixer, input_shape=(3, 16, 16)),
    "running sum": Specimen(
        make=lambda: classifier(nn.Sequential(RunningSum(), conv_bn_relu(16, 24, 3), conv_bn_relu(24, 16, 3)), 16)
    ),
    "frequencies": Specimen(
        make=lambda: classifier(nn.Sequential(Frequencies(), conv_bn_relu(16, 24, 3), conv_bn_relu(24, 16, 3)), 16),
        is_exportable=False,
    ),
}
