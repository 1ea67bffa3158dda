"""The UNet of the book: Ho et al. 2020, appendix B, with the changes of Dhariwal & Nichol 2021 that pay at this size.

Read it from the bottom: `UNet` is a path down, a middle and a path up with skips; everything above is one of its blocks.
"""

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .denoisers import NULL, rows


@dataclass(frozen=True)
class UNetConfig:
    """What a UNet is built from; raises ValueError for values that do not fit together.

    in_channels, out_channels: of the pictures. patch: pixels per side folded into channels before anything else (1: none). channels:
    width of the first level, multiplied by each of `multipliers`, one a level, resolution halving between levels. blocks: residual
    blocks a level on the way down; the way up has one more, for the skip of the layer that changed the resolution. attention: one bool a level. head_channels: width of an attention head. groups:
    of every group normalisation. classes: number of labels (None: an unconditional network). dropout: probability in each block.
    """

    in_channels: int = 1
    out_channels: int = 1
    patch: int = 1
    channels: int = 32
    multipliers: tuple[int, ...] = (1, 2)
    blocks: int = 1
    attention: tuple[bool, ...] = (False, True)
    head_channels: int = 32
    groups: int = 8
    classes: int | None = None
    dropout: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "multipliers", tuple(self.multipliers))  # lists come from JSON and TOML
        object.__setattr__(self, "attention", tuple(self.attention))
        if len(self.attention) != len(self.multipliers):
            raise ValueError(f"attention needs one entry for each of {len(self.multipliers)} levels, got {self.attention}")
        for m, has_attention in zip(self.multipliers, self.attention, strict=True):
            if self.channels * m % self.groups or (has_attention and self.channels * m % self.head_channels):
                raise ValueError(f"{self.channels * m} channels divide neither into {self.groups} groups nor heads of {self.head_channels}")

    def to_dict(self) -> dict:
        """Plain values, for JSON; UNetConfig(**d) is the way back."""
        return asdict(self)


def timestep_embedding(t: Tensor, dim: int) -> Tensor:
    """cos and sin of t at dim/2 frequencies from 1 down to 1/10000, shape (N, dim), float32 (Vaswani et al. 2017, cos first)."""
    frequencies = torch.exp(-math.log(10_000) * torch.arange(dim // 2, device=t.device) / (dim // 2))
    angles = t[:, None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def zeroed(layer: nn.Module) -> nn.Module:
    """The layer with all parameters 0, so that the block it ends starts as the identity."""
    for p in layer.parameters():
        nn.init.zeros_(p)
    return layer


class ResBlock(nn.Module):
    """Two convolutions around a skip; the embedding scales and shifts between them (Dhariwal & Nichol 2021, section 3)."""

    def __init__(self, c_in: int, c_out: int, embedding: int, config: UNetConfig) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(config.groups, c_in), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(config.groups, c_out), zeroed(nn.Conv2d(c_out, c_out, 3, padding=1))
        self.modulation = nn.Linear(embedding, 2 * c_out)
        self.dropout = nn.Dropout(config.dropout)
        self.skip = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(F.silu(embedding))[:, :, None, None].chunk(2, dim=1)
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.norm2(h) * (1 + scale) + shift
        return self.skip(x) + self.conv2(self.dropout(F.silu(h)))


class Attention(nn.Module):
    """Every position looks at every other: softmax(q k / sqrt(d)) v in heads, around a skip (Vaswani et al. 2017)."""

    def __init__(self, channels: int, config: UNetConfig) -> None:
        super().__init__()
        self.heads = channels // config.head_channels
        self.norm, self.qkv = nn.GroupNorm(config.groups, channels), nn.Conv2d(channels, 3 * channels, 1)
        self.out = zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        N, C, H, W = x.shape
        # The 3 C rows of qkv are all queries, then all keys, then all values; each splits into heads: (N, heads, H W, C / heads).
        q, k, v = self.qkv(self.norm(x)).reshape(N, 3, self.heads, C // self.heads, H * W).transpose(-1, -2).unbind(1)
        h = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(h.transpose(-1, -2).reshape(N, C, H, W))


class Stage(nn.Module):
    """A residual block, with attention after it where the level has it."""

    def __init__(self, c_in: int, c_out: int, embedding: int, attention: bool, config: UNetConfig) -> None:
        super().__init__()
        self.block = ResBlock(c_in, c_out, embedding, config)
        self.attention = Attention(c_out, config) if attention else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.attention(self.block(x, embedding))


class Down(nn.Module):
    """Half the resolution by a convolution of stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.conv(x)


class Up(nn.Module):
    """Twice the resolution: each pixel repeated, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class UNet(nn.Module):
    """net(x, t, cond): pictures x (N, in_channels, H, W) at times t, LongTensor (N,) counting from 0, to (N, out_channels, H, W).

    cond is a LongTensor (N,) of labels, NULL = -1 for rows without one; None means no label at all. H and W must be multiples of
    patch * 2^(levels - 1). Raises ValueError for a shape or label that does not fit.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.channels * m for m in config.multipliers]
        emb = 4 * config.channels
        folded = config.patch**2
        self.time = nn.Sequential(nn.Linear(config.channels, emb), nn.SiLU(), nn.Linear(emb, emb))
        self.label = None if config.classes is None else nn.Embedding(config.classes + 1, emb)  # the last row is the null class
        self.stem = nn.Conv2d(config.in_channels * folded, widths[0], 3, padding=1)

        self.down, skips, c = nn.ModuleList(), [widths[0]], widths[0]
        for level, width in enumerate(widths):
            for _ in range(config.blocks):
                self.down.append(Stage(c, width, emb, config.attention[level], config))
                c = width
                skips.append(c)
            if level < len(widths) - 1:
                self.down.append(Down(c))
                skips.append(c)

        self.middle = nn.ModuleList([Stage(c, c, emb, config.attention[-1], config), Stage(c, c, emb, False, config)])

        self.up = nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            stages = nn.ModuleList()
            for _ in range(config.blocks + 1):
                stages.append(Stage(c + skips.pop(), width, emb, config.attention[level], config))
                c = width
            self.up.append(nn.ModuleDict({"stages": stages, "resize": Up(c) if level else nn.Identity()}))
        self.norm = nn.GroupNorm(config.groups, c)
        self.head = zeroed(nn.Conv2d(c, config.out_channels * folded, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self._check(x, t)
        embedding = self.time(timestep_embedding(t, self.config.channels).to(x.dtype))
        if self.label is not None:
            embedding = embedding + self.label(self._label_rows(cond, x))
        elif cond is not None:
            raise ValueError("this network has no labels (classes is None), so cond must be None")
        h = self.stem(F.pixel_unshuffle(x, self.config.patch))
        skips = [h]
        for stage in self.down:
            h = stage(h, embedding)
            skips.append(h)
        for stage in self.middle:
            h = stage(h, embedding)
        for level in self.up:
            for stage in level["stages"]:
                h = stage(torch.cat([h, skips.pop()], dim=1), embedding)
            h = level["resize"](h)
        return F.pixel_shuffle(self.head(F.silu(self.norm(h))), self.config.patch)

    def _label_rows(self, cond: Tensor | None, x: Tensor) -> Tensor:
        labels, classes = rows(cond, x), self.config.classes
        if not torch.jit.is_tracing() and bool(((labels < NULL) | (labels >= classes)).any()):
            raise ValueError(f"labels must lie in 0 .. {classes - 1}, or be NULL = -1, got {labels.tolist()}")
        return torch.where(labels == NULL, classes, labels)

    def _check(self, x: Tensor, t: Tensor) -> None:
        side = self.config.patch * 2 ** (len(self.config.multipliers) - 1)
        if x.dim() != 4 or x.shape[1] != self.config.in_channels or x.shape[2] % side or x.shape[3] % side:
            raise ValueError(f"x must be (N, {self.config.in_channels}, H, W), H and W multiples of {side}, got {tuple(x.shape)}")
        if t.shape != (len(x),):
            raise ValueError(f"t must have shape ({len(x)},), got {tuple(t.shape)}")
