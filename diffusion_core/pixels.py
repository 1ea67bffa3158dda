"""Pixel by pixel: networks that give each pixel's grey level a probability from the pixels before it, in an order (section 2.3).

Pictures are LongTensors (N, size, size) of levels 0 .. K - 1; the number K marks a pixel as hidden. An order is a LongTensor (size, size) of
stages 0 .. S - 1: a pixel is predicted from those of earlier stages, and pixels of one stage are predicted together, independently. So
log p(x) = sum over stages of sum over their pixels of log p(x_i | earlier stages), which is exact for any order (the chain rule).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import Config
from .denoisers import NetworkDenoiser

ORDERS = ("raster", "any", "coarse")


def quantise(pictures: Tensor, levels: int = 8, pool: int = 2) -> Tensor:
    """Grey levels (N, H / pool, W / pool) in 0 .. levels - 1 of pictures (N, 1, H, W) in [-1, 1] that came from bytes.

    The bytes of each pool x pool square are summed and the sums' range is cut into equal parts, in integers, so that every machine gets the same.
    Raises ValueError for another shape, levels below 2, and sides that pool does not divide.
    """
    if pictures.dim() != 4 or pictures.shape[1] != 1 or pictures.shape[2] % pool or pictures.shape[3] % pool:
        raise ValueError(f"pictures must be (N, 1, H, W) with sides divisible by {pool}, got {tuple(pictures.shape)}")
    _check_levels(levels)
    total = F.avg_pool2d(((pictures + 1) * 127.5).round(), pool, divisor_override=1)[:, 0].round().long()
    return total * levels // (255 * pool**2 + 1)


def to_grey(x: Tensor, levels: int = 8) -> Tensor:
    """Levels as pictures (N, 1, H, W) in [-1, 1]: level k is -1 + 2 k / (levels - 1), the middle of bin k of `likelihood.vlb_term`'s decoder."""
    return x[:, None].float() * 2 / (_check_levels(levels) - 1) - 1


def stages(name: str, size: int, generator: torch.Generator | None = None) -> Tensor:
    """A named order as stages (size, size): "raster" (row by row), "any" (a random permutation), "coarse" (coarse to fine).

    "coarse": every fourth pixel of every fourth row comes first, one after the other; then twice the grid is refined, to every second pixel and to all,
    each time in three stages: the new pixels of new rows, those of old rows, and the old columns of new rows (after Reed et al. 2017).
    Raises ValueError for another name or a size below 2.
    """
    if name not in ORDERS or size < 2:
        raise ValueError(f"order must be one of {ORDERS} and size at least 2, got {name!r} and {size}")
    if name != "coarse":
        place = torch.arange(size**2) if name == "raster" else torch.randperm(size**2, generator=generator)
        return place.reshape(size, size)
    stage, done = torch.full((size, size), -1), 0
    stage[1::4, 1::4] = torch.arange(len(stage[1::4]) ** 2).reshape(len(stage[1::4]), -1)
    done = int(stage.max()) + 1
    for old, new in ((slice(1, None, 4), slice(3, None, 4)), (slice(1, None, 2), slice(0, None, 2))):
        for rows, columns in ((new, new), (old, new), (new, old)):
            if stage[rows, columns].numel():
                stage[rows, columns], done = done, done + 1
    return stage


@dataclass(frozen=True)
class PixelConfig(Config):
    """order: what the network is for; "raster" makes it causal. levels: K. size: pixels a side. classes: 0, or the number of labels it may be given.

    Raises ValueError for another order and for values too small.
    """

    order: str = "raster"
    levels: int = 8
    size: int = 14
    channels: int = 40
    blocks: int = 6
    classes: int = 0

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise ValueError(f"order must be one of {ORDERS}, got {self.order!r}")
        self.at_least(levels=2, size=2, channels=1, blocks=1, classes=0)


class MaskedConv2d(nn.Conv2d):
    """A 3 x 3 convolution that sees, in raster order, the pixels before its own, and with `own` that one too (van den Oord et al. 2016, section 3.4)."""

    def __init__(self, inputs: int, outputs: int, own: bool) -> None:
        super().__init__(inputs, outputs, 3, padding=1)
        self.register_buffer("mask", (torch.arange(9) < 4 + own).float().reshape(3, 3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight * self.mask, self.bias)


class Attention(nn.Module):
    """Every pixel looks at all others, or, causal, at itself and those before it; added to its input."""

    def __init__(self, channels: int, causal: bool) -> None:
        super().__init__()
        self.causal, self.qkv, self.out = causal, nn.Conv2d(channels, 3 * channels, 1), nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).flatten(2).transpose(1, 2)[:, None].chunk(3, dim=-1)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return x + self.out(seen[:, 0].transpose(1, 2).reshape(x.shape))


class Trunk(nn.Module):
    """Residual convolutions with one attention in their middle, (N, inputs, size, size) -> (N, channels, size, size).

    Causal: the output at a pixel depends on the inputs at pixels before it in raster order and no other. The first layer leaves the own pixel out;
    from there on, features may use their own place, since it holds no own pixel any more. Masked convolutions alone have a blind spot, up and to the
    right; the attention leaves of it one pixel, the last of the row above. A shift `bias` (N, channels) may be added to all places.
    """

    def __init__(self, inputs: int, channels: int, size: int, blocks: int, causal: bool) -> None:
        super().__init__()

        def conv(inputs: int, own: bool) -> nn.Conv2d:
            return MaskedConv2d(inputs, channels, own) if causal else nn.Conv2d(inputs, channels, 3, padding=1)

        self.first, self.position = conv(inputs, own=False), nn.Parameter(torch.zeros(channels, size, size))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.SiLU(), conv(channels, own=True), nn.SiLU(), nn.Conv2d(channels, channels, 1)) for _ in range(blocks))
        for block in self.blocks:
            nn.init.zeros_(block[-1].weight)
        self.attention = Attention(channels, causal)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        h = self.first(x) + self.position
        if bias is not None:
            h = h + bias[:, :, None, None]
        for k, block in enumerate(self.blocks):
            h = h + block(h)
            if k == len(self.blocks) // 2:
                h = self.attention(h)
        return F.silu(h)


class PixelNet(nn.Module):
    """Logits (N, K, size, size) of every pixel's level, from levels (N, size, size) in which K marks hidden pixels.

    A raster network is causal: one call on a whole picture gives all its conditionals. The others see every pixel they are shown, so a call gives the
    conditionals of the hidden ones; what it says of shown ones means nothing. cond: labels (N,), -1 for none; None: all without.
    """

    def __init__(self, config: PixelConfig) -> None:
        super().__init__()
        self.config, c = config, config.channels
        self.trunk = Trunk(config.levels + 1, c, config.size, config.blocks, config.order == "raster")
        self.label = nn.Embedding(config.classes + 1, c) if config.classes else None
        self.out = nn.Conv2d(c, config.levels, 1)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """Raises ValueError for another shape, values outside 0 .. K and labels where the network has none."""
        k, size = self.config.levels, self.config.size
        if x.dim() != 3 or x.shape[1:] != (size, size) or x.is_floating_point():
            raise ValueError(f"x must be a LongTensor (N, {size}, {size}), got {x.dtype} {tuple(x.shape)}")
        if x.numel() and not 0 <= int(x.min()) <= int(x.max()) <= k:
            raise ValueError(f"levels must lie in 0 .. {k} ({k} for hidden), got {int(x.min())} .. {int(x.max())}")
        bias = None
        if self.label is not None:
            cond = x.new_full((len(x),), -1) if cond is None else cond
            bias = self.label(torch.where(cond < 0, self.config.classes, cond))
        elif cond is not None:
            raise ValueError("this network takes no labels")
        return self.out(self.trunk(F.one_hot(x, k + 1).movedim(-1, 1).float().to(self.out.weight.dtype), bias))


def hide(x: Tensor, hidden: Tensor, levels: int) -> Tensor:
    """x with the pixels that the mask `hidden` (shape of x, or (size, size)) names replaced by the mark `levels`."""
    return torch.where(hidden, levels, x)


def log_probs(net: PixelNet, x: Tensor, hidden: Tensor, cond: Tensor | None = None) -> Tensor:
    """log p(x_i | the pixels not hidden) in nats, (N, size, size), to be read where `hidden` is true."""
    logits = net(hide(x, hidden, net.config.levels), cond)
    return -F.cross_entropy(logits, x, reduction="none")


@torch.no_grad()
def log_prob(net: PixelNet, x: Tensor, stage: Tensor | None = None, cond: Tensor | None = None) -> Tensor:
    """The exact log p(x) in nats a picture, (N,), of the model that `net` is in this order; one call a stage, of a raster network in all.

    stage (size, size), or one a picture (N, size, size); None: raster order. Raises ValueError for a raster network in another order.
    """
    raster = stages("raster", net.config.size)
    stage = raster if stage is None else stage
    if net.config.order == "raster":
        if not bool((stage == raster).all()):
            raise ValueError("a raster network knows no other order")
        return -F.cross_entropy(net(x, cond), x, reduction="none").flatten(1).sum(1)
    return sum((log_probs(net, x, stage >= s, cond) * (stage == s)).flatten(1).sum(1) for s in range(int(stage.max()) + 1))


@torch.no_grad()
def any_order_bound(net: PixelNet, x: Tensor, draws: int = 8, cond: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
    """An unbiased estimate of E over all orders of log p(x), at most log E p(x), in nats a picture (N,) (Hoogeboom et al. 2022, equations 3-6).

    Each of the draws hides m of the D pixels, m from its own part of 1 .. D, and counts D times the mean of what is hidden.
    """
    size, D = net.config.size, net.config.size**2
    total = x.new_zeros(len(x), dtype=torch.float64)
    for k in range(draws):
        m = ((k + torch.rand(len(x), generator=generator)) / draws * D).long().clamp(max=D - 1) + 1
        hidden = random_masks(m, size, generator).to(x.device)
        total += D * mean_where(log_probs(net, x, hidden, cond), hidden)
    return total / draws


def random_masks(m: Tensor, size: int, generator: torch.Generator | None = None) -> Tensor:
    """Masks (N, size, size) that hide m (N,) pixels each, all choices being equally likely."""
    place = torch.rand(len(m), size**2, generator=generator).argsort(1).argsort(1)
    return (place < m[:, None]).reshape(-1, size, size)


def mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of each picture's values where mask is true, (N,)."""
    return (values * mask).flatten(1).sum(1) / mask.flatten(1).sum(1)


@torch.no_grad()
def sample(net: PixelNet, x: Tensor, stage: Tensor, cond: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
    """x (N, size, size) with its hidden pixels drawn, stage by stage: ancestral sampling. Hide all to draw from nothing; what is shown stays.

    stage (size, size), or one a picture (N, size, size).
    """
    x = x.clone()
    for s in range(int(stage.max()) + 1):
        now = (stage == s) & (x == net.config.levels)
        if bool(now.any()):
            p = net(x, cond).softmax(1).movedim(1, -1)[now]
            x[now] = torch.multinomial(p.cpu(), 1, generator=generator)[:, 0].to(x.device)
    return x


def pixel_loss(config: PixelConfig, holder: NetworkDenoiser, x0: Tensor, t: Tensor, eps: Tensor, cond: Tensor | None) -> Tensor:
    """Unbiased bits a dimension of a batch for `training.fit`; holder holds the network and a schedule of D steps, so t is uniform on 1 .. D.

    raster: all conditionals at once. any: t random pixels are hidden, and all of them predicted. coarse: the stage of the t-th pixel is predicted
    from those before it. Two or more in a stage share it: each stage comes as often as it has pixels, and counts by its mean. eps is not used.
    """
    x, labels = quantise(x0, config.levels, x0.shape[-1] // config.size), cond if config.classes else None
    if config.order == "raster":
        return F.cross_entropy(holder.net(x, labels), x) / math.log(2)
    if config.order == "any":
        predicted = hidden = random_masks(t, config.size, torch.default_generator).to(x.device)
    else:
        stage = stages("coarse", config.size)
        now = stage.flatten()[t - 1][:, None, None]
        hidden, predicted = (stage >= now).to(x.device), (stage == now).to(x.device)
    errors = F.cross_entropy(holder.net(hide(x, hidden, config.levels), labels), x, reduction="none")
    return mean_where(errors, predicted).mean() / math.log(2)


@torch.no_grad()
def measured_bits(net: PixelNet, pictures: Tensor, labels: Tensor, batch: int = 500) -> dict[str, list[float]]:
    """Bits a dimension of pictures (N, 1, H, W), each as [mean, standard error]: "exact" in the network's own order; of an any-order network the bound
    over orders ("any_order", and with labels "any_order_given_label")."""
    config, bits = net.config, math.log(2) * net.config.size**2
    stage, generator = stages("coarse" if config.order == "coarse" else "raster", config.size), torch.Generator().manual_seed(0)
    ways = {"exact": lambda x, y: log_prob(net, x, stage)} if config.order != "any" else {
        "any_order": lambda x, y: any_order_bound(net, x, generator=generator), "any_order_given_label": lambda x, y: any_order_bound(
            net, x, cond=y, generator=generator)}
    found = {}
    for name, way in ways.items():
        nats = torch.cat([way(quantise(x, config.levels, x.shape[-1] // config.size), y) for x, y in zip(
            pictures.split(batch), labels.split(batch), strict=True)]).double() / -bits
        found[name] = [round(float(nats.mean()), 4), round(float(nats.std() / len(nats) ** 0.5), 4)]
    return found


def _check_levels(levels: int) -> int:
    if levels < 2:
        raise ValueError(f"levels must be at least 2, got {levels}")
    return levels
