"""The UNet of the book: Ho et al. 2020, appendix B, with the changes of Dhariwal & Nichol 2021 that pay at this size.

Read it from the bottom: `UNet` is a path down, a middle and a path up with skips; everything above is one of its blocks. Where those
two papers differ, `UNetConfig` says which one to follow, so the networks published with either fit (`interop` reads them).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import Config
from .denoisers import NULL, rows

CHOICES = {"conditioning": ("scale-shift", "add"), "resample": ("conv", "conv-end", "block"), "frequency_shift": (0, 1)}
W_UNIT = 100  # the embedding is made for times up to 1000; w up to 10 covers as much of it


@dataclass(frozen=True)
class UNetConfig(Config):
    """What a UNet is built from; raises ValueError for values that do not fit together.

    in_channels, out_channels: of the pictures. patch: pixels per side folded into channels before anything else (1: none).
    channels: width that each of `multipliers`, one a level, multiplies; resolution halves between levels. blocks: residual blocks a
    level on the way down; the way up has one more, for the skip of the layer that changed the resolution. attention: one bool a
    level; the middle always has it. head_channels: width of an attention head (None: `heads` of them, whatever the width). groups,
    norm_eps: of every group normalisation. classes: number of labels (None: an unconditional network). null_class: whether "no label"
    is one more. weighted: the guidance weight w is one more input (Meng et al. 2023). dropout: probability in each block.

    In these the two papers, D (2021) and H (2020), differ. conditioning: how the embedding enters a residual block, "scale-shift" (D) or
    "add" (H). resample: how resolution changes, "conv": by a convolution; "conv-end" (H): by one that pads after the last row and
    column only; "block" (D): within a residual block of its own. sin_first, frequency_shift: see `timestep_embedding` (H: True, 1).
    """

    in_channels: int = 1
    out_channels: int = 1
    patch: int = 1
    channels: int = 32
    multipliers: tuple[float, ...] = (1, 2)
    blocks: int = 1
    attention: tuple[bool, ...] = (False, True)
    head_channels: int | None = 32
    heads: int = 1
    groups: int = 8
    norm_eps: float = 1e-5
    classes: int | None = None
    null_class: bool = True
    weighted: bool = False
    dropout: float = 0.0
    conditioning: str = "scale-shift"
    resample: str = "conv"
    sin_first: bool = False
    frequency_shift: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "multipliers", tuple(self.multipliers))  # lists come from JSON and TOML
        object.__setattr__(self, "attention", tuple(self.attention))
        self.at_least(in_channels=1, out_channels=1, patch=1, blocks=1, head_channels=1, heads=1, groups=1, classes=1)
        if len(self.attention) != len(self.multipliers):
            raise ValueError(f"attention needs one entry for each of {len(self.multipliers)} levels, got {self.attention}")
        for width, has_attention in zip(self.widths, [*self.attention[:-1], True], strict=True):
            head = self.head_channels or self.heads
            if width < 1 or width % 1 or width % self.groups or (has_attention and width % head):
                heads = f"heads of {head}" if self.head_channels else f"{head} heads"
                raise ValueError(f"{width} channels divide neither into {self.groups} groups nor {heads}")
        for name, accepted in CHOICES.items():
            if getattr(self, name) not in accepted:
                raise ValueError(f"{name} must be one of {accepted}, got {getattr(self, name)!r}")
        if self.channels % 2 or self.channels < 4:
            raise ValueError(f"channels must be even and at least 4, for half as many frequencies of t, got {self.channels}")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(int(c) if c % 1 == 0 else c for c in (round(self.channels * m, 6) for m in self.multipliers))


def timestep_embedding(t: Tensor, dim: int, sin_first: bool = False, frequency_shift: int = 0) -> Tensor:
    """cos and sin of t at dim/2 frequencies from 1 down to 1/10000, shape (N, dim), float32 (Vaswani et al. 2017).

    cos first, as in guided-diffusion, or sin first. frequency_shift: 0 stops one frequency short of 1/10000, 1 (Ho et al. 2020) reaches it.
    """
    frequencies = torch.exp(-math.log(10_000) * torch.arange(dim // 2, device=t.device) / (dim // 2 - frequency_shift))
    angles = t[:, None].float() * frequencies
    return torch.cat([angles.sin(), angles.cos()] if sin_first else [angles.cos(), angles.sin()], dim=1)


def zeroed(layer: nn.Module) -> nn.Module:
    """The layer with all parameters 0, so that the block it ends starts as the identity."""
    for p in layer.parameters():
        nn.init.zeros_(p)
    return layer


def normalisation(channels: int, config: UNetConfig) -> nn.GroupNorm:
    """Group normalisation: each group of channels of each picture to mean 0 and variance 1, then a learned scale and shift a channel."""
    return nn.GroupNorm(config.groups, channels, eps=config.norm_eps)


class ResBlock(nn.Module):
    """Two convolutions around a skip; the embedding scales and shifts between them (Dhariwal & Nichol 2021, section 3).

    In a network of conditioning "add" the embedding is added instead (Ho et al. 2020). resize halves or doubles the resolution on the
    way; it has no parameters.
    """

    def __init__(self, c_in: int, c_out: int, embedding: int, config: UNetConfig, resize: nn.Module | None = None) -> None:
        super().__init__()
        self.scales, self.resize = config.conditioning == "scale-shift", resize or nn.Identity()
        self.norm1, self.conv1 = normalisation(c_in, config), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm2, self.conv2 = normalisation(c_out, config), zeroed(nn.Conv2d(c_out, c_out, 3, padding=1))
        self.modulation = nn.Linear(embedding, 2 * c_out if self.scales else c_out)
        self.dropout = nn.Dropout(config.dropout)
        self.skip = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        modulation = self.modulation(F.silu(embedding))[:, :, None, None]
        h = self.conv1(self.resize(F.silu(self.norm1(x))))
        if self.scales:
            scale, shift = modulation.chunk(2, dim=1)
            h = self.norm2(h) * (1 + scale) + shift
        else:
            h = self.norm2(h + modulation)
        return self.skip(self.resize(x)) + self.conv2(self.dropout(F.silu(h)))


class Attention(nn.Module):
    """Every position looks at every other: softmax(q k / sqrt(d)) v in heads, around a skip (Vaswani et al. 2017)."""

    def __init__(self, channels: int, config: UNetConfig) -> None:
        super().__init__()
        self.heads = channels // config.head_channels if config.head_channels else config.heads
        self.norm, self.qkv = normalisation(channels, config), nn.Conv2d(channels, 3 * channels, 1)
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
    """Half the resolution by a convolution of stride 2. at_end: the zeros around the picture go after the last row and column only."""

    def __init__(self, channels: int, at_end: bool) -> None:
        super().__init__()
        self.at_end, self.conv = at_end, nn.Conv2d(channels, channels, 3, stride=2, padding=0 if at_end else 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)) if self.at_end else x)


class Up(nn.Module):
    """Twice the resolution: each pixel repeated, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def resampler(channels: int, embedding: int, config: UNetConfig, *, up: bool) -> nn.Module:
    """The layer between two levels, called with (x, embedding)."""
    if config.resample == "block":
        resize = nn.Upsample(scale_factor=2.0, mode="nearest") if up else nn.AvgPool2d(2)
        return ResBlock(channels, channels, embedding, config, resize)
    return Up(channels) if up else Down(channels, at_end=config.resample == "conv-end")


class UNet(nn.Module):
    """net(x, t, cond): pictures x (N, in_channels, H, W) at times t, LongTensor (N,) counting from 0, to (N, out_channels, H, W).

    cond is a LongTensor (N,) of labels, NULL = -1 for rows without one; None means no label at all. A network that is `weighted`
    also takes w, the guidance weight, a Tensor (N,) of floats. H and W must be multiples of patch * 2^(levels - 1).
    Raises ValueError for a shape or label that does not fit.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths, emb = config.widths, 4 * config.channels
        folded = config.patch**2
        self.time = nn.Sequential(nn.Linear(config.channels, emb), nn.SiLU(), nn.Linear(emb, emb))
        self.label = None if config.classes is None else nn.Embedding(config.classes + config.null_class, emb)  # the null class is last
        self.weight = nn.Sequential(nn.Linear(config.channels, emb), nn.SiLU(), zeroed(nn.Linear(emb, emb))) if config.weighted else None
        self.stem = nn.Conv2d(config.in_channels * folded, widths[0], 3, padding=1)

        self.down, skips, c = nn.ModuleList(), [widths[0]], widths[0]
        for level, width in enumerate(widths):
            for _ in range(config.blocks):
                self.down.append(Stage(c, width, emb, config.attention[level], config))
                c = width
                skips.append(c)
            if level < len(widths) - 1:
                self.down.append(resampler(c, emb, config, up=False))
                skips.append(c)

        self.middle = nn.ModuleList([Stage(c, c, emb, True, config), Stage(c, c, emb, False, config)])

        self.up = nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            stages = nn.ModuleList()
            for _ in range(config.blocks + 1):
                stages.append(Stage(c + skips.pop(), width, emb, config.attention[level], config))
                c = width
            self.up.append(nn.ModuleDict({"stages": stages} | ({"resize": resampler(c, emb, config, up=True)} if level else {})))
        self.norm = normalisation(c, config)
        self.head = zeroed(nn.Conv2d(c, config.out_channels * folded, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None, w: Tensor | None = None) -> Tensor:
        self._check(x, t, w)
        embedding = self.time(self._sinusoids(t, x))
        if self.label is not None:
            embedding = embedding + self.label(self._label_rows(cond, x))
        elif cond is not None:
            raise ValueError("this network has no labels (classes is None), so cond must be None")
        if w is not None:
            embedding = embedding + self.weight(self._sinusoids(W_UNIT * w, x))
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
            if "resize" in level:
                h = level["resize"](h, embedding)
        return F.pixel_shuffle(self.head(F.silu(self.norm(h))), self.config.patch)

    def _sinusoids(self, t: Tensor, x: Tensor) -> Tensor:
        return timestep_embedding(t, self.config.channels, self.config.sin_first, self.config.frequency_shift).to(x.dtype)

    def _label_rows(self, cond: Tensor | None, x: Tensor) -> Tensor:
        labels, classes = rows(cond, x), self.config.classes
        lowest = NULL if self.config.null_class else 0
        if not torch.compiler.is_compiling() and bool(((labels < lowest) | (labels >= classes)).any()):
            null = "or be NULL = -1" if self.config.null_class else "one for every picture: this network has no null class"
            raise ValueError(f"labels must lie in 0 .. {classes - 1}, {null}, got {labels.tolist()}")
        return torch.where(labels == NULL, classes, labels)

    def _check(self, x: Tensor, t: Tensor, w: Tensor | None) -> None:
        side = self.config.patch * 2 ** (len(self.config.multipliers) - 1)
        if x.dim() != 4 or x.shape[1] != self.config.in_channels or x.shape[2] % side or x.shape[3] % side:
            raise ValueError(f"x must be (N, {self.config.in_channels}, H, W), H and W multiples of {side}, got {tuple(x.shape)}")
        if t.shape != (x.shape[0],):
            raise ValueError(f"t must have shape ({x.shape[0]},), got {tuple(t.shape)}")
        if (w is None) == self.config.weighted or (w is not None and w.shape != (x.shape[0],)):
            wanted = f"of shape ({x.shape[0]},)" if self.config.weighted else "None: this network is not weighted"
            raise ValueError(f"w must be {wanted}, got {w if w is None else tuple(w.shape)}")
