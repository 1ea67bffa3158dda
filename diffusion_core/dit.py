"""A diffusion transformer (Peebles & Xie 2023) that is called as the book's UNet is: the picture as a row of patches, no path down and up.

Every patch of the picture is one token, a vector of `width` numbers, from the first layer to the last. What the UNet does by residual blocks
at falling resolutions, `Block` does by attention between all tokens and a small network on each; t and label act by "adaLN-zero".
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import Config
from .denoisers import NULL, rows
from .unet import timestep_embedding, zeroed


@dataclass(frozen=True)
class DiTConfig(Config):
    """What a DiT is built from; raises ValueError for values that do not fit together.

    in_channels, out_channels: of the pictures. patch: pixels per side of a token. width: numbers a token; a multiple of 4, for sines and
    cosines of row and column. depth: blocks. heads: of the attention, dividing width. classes: number of labels, beside which there is
    always "no label" (None: an unconditional network).
    """

    in_channels: int = 1
    out_channels: int = 1
    patch: int = 2
    width: int = 64
    depth: int = 3
    heads: int = 4
    classes: int | None = None

    def __post_init__(self) -> None:
        self.at_least(in_channels=1, out_channels=1, patch=1, width=1, depth=1, heads=1, classes=1)
        if self.width % 4 or self.width % self.heads:
            raise ValueError(f"width must be a multiple of 4 and of heads = {self.heads}, got {self.width}")


def positions(rows: int, columns: int, dim: int, device: torch.device | None = None) -> Tensor:
    """Where each token is, (rows columns, dim): cos and sin of its row in the first half, of its column in the second."""
    row, column = torch.meshgrid(torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij")
    return torch.cat([timestep_embedding(axis.flatten(), dim // 2) for axis in (row, column)], dim=1)


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Each token of x (N, L, width) to mean 0 and variance 1, then scaled by 1 + scale and shifted, both (N, 1, width)."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


class Block(nn.Module):
    """Attention, then a network on each token, both around a skip; shift, scale and gate of both come from the embedding ("adaLN-zero").

    The layer that makes the six starts at 0. So the gates start closed and the block as the identity (Peebles & Xie 2023, section 3.2).
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.modulation = zeroed(nn.Linear(width, 6 * width))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(F.silu(embedding))[:, None].chunk(6, dim=2)
        x = x + gate1 * self.attention(modulated(x, shift1, scale1))
        return x + gate2 * self.mlp(modulated(x, shift2, scale2))

    def attention(self, x: Tensor) -> Tensor:
        """softmax(q k / sqrt(d)) v in heads, x and result (N, L, width)."""
        N, L, C = x.shape
        q, k, v = self.qkv(x).reshape(N, L, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)  # each (N, heads, L, C / heads)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(N, L, C))


class DiT(nn.Module):
    """net(x, t, cond): pictures x (N, in_channels, H, W) at times t, LongTensor (N,) counting from 0, to (N, out_channels, H, W).

    cond is a LongTensor (N,) of labels, NULL = -1 for rows without one; None means no label at all. H and W must be multiples of patch.
    Raises ValueError for a shape or label that does not fit.
    """

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        width, folded = config.width, config.patch**2
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.label = None if config.classes is None else nn.Embedding(config.classes + 1, width)  # the null class is last
        self.stem = nn.Linear(config.in_channels * folded, width)
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.depth))
        self.modulation = zeroed(nn.Linear(width, 2 * width))
        self.head = zeroed(nn.Linear(width, config.out_channels * folded))

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self._check(x, t)
        embedding = self.time(timestep_embedding(t, self.config.width).to(x.dtype))
        if self.label is not None:
            embedding = embedding + self.label(self._label_rows(cond, x))
        elif cond is not None:
            raise ValueError("this network has no labels (classes is None), so cond must be None")
        folded = F.pixel_unshuffle(x, self.config.patch)  # (N, C patch^2, H / patch, W / patch)
        h = self.stem(folded.flatten(2).transpose(1, 2)) + positions(*folded.shape[2:], self.config.width, x.device).to(x.dtype)
        for block in self.blocks:
            h = block(h, embedding)
        shift, scale = self.modulation(F.silu(embedding))[:, None].chunk(2, dim=2)
        h = self.head(modulated(h, shift, scale)).transpose(1, 2)
        return F.pixel_shuffle(h.unflatten(2, folded.shape[2:]), self.config.patch)

    def _label_rows(self, cond: Tensor | None, x: Tensor) -> Tensor:
        labels, classes = rows(cond, x), self.config.classes
        if bool(((labels < NULL) | (labels >= classes)).any()):
            raise ValueError(f"labels must lie in 0 .. {classes - 1}, or be NULL = -1, got {labels.tolist()}")
        return torch.where(labels == NULL, classes, labels)

    def _check(self, x: Tensor, t: Tensor) -> None:
        side = self.config.patch
        if x.dim() != 4 or x.shape[1] != self.config.in_channels or x.shape[2] % side or x.shape[3] % side:
            raise ValueError(f"x must be (N, {self.config.in_channels}, H, W), H and W multiples of {side}, got {tuple(x.shape)}")
        if t.shape != (x.shape[0],):
            raise ValueError(f"t must have shape ({x.shape[0]},), got {tuple(t.shape)}")
