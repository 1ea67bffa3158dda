"""Patch by patch: each patch of a picture drawn by a small diffusion model that is told what came before (section 2.3).

Autoregression over patches with a diffusion head in place of a softmax (Li et al. 2024, "Autoregressive image generation without vector
quantization"): a causal trunk turns the patches before into a code, and a small network denoises the patch given the code.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import Config
from .denoisers import NetworkDenoiser
from .gaussian import q_sample
from .likelihood import vlb_prior, vlb_term
from .pixels import Trunk, quantise, to_grey
from .samplers import ddpm, final
from .schedules import Schedule


def even_snr(T: int, low: float = -7.0, high: float = 7.0) -> Schedule:
    """T noise levels spaced evenly in log SNR, from `high` at t = 1 to `low` at t = T. Raises ValueError for T below 2 and low not below high."""
    if T < 2 or not low < high:
        raise ValueError(f"T must be at least 2 and low below high, got T = {T}, low = {low}, high = {high}")
    return Schedule(torch.cat([torch.ones(1, dtype=torch.float64), torch.linspace(high, low, T, dtype=torch.float64).sigmoid()]))


@dataclass(frozen=True)
class PatchConfig(Config):
    """patch: pixels a side of a patch, of a picture with `size`. channels, blocks: the trunk's. width, layers: the head's. T: its diffusion steps.

    Raises ValueError for sides that the patch does not divide and for values too small.
    """

    levels: int = 8
    size: int = 14
    patch: int = 2
    channels: int = 40
    blocks: int = 6
    width: int = 128
    layers: int = 3
    T: int = 100

    def __post_init__(self) -> None:
        self.at_least(levels=2, patch=1, size=1, channels=1, blocks=1, width=2, layers=1, T=2)
        if self.size % self.patch:
            raise ValueError(f"patch must divide size, got {self.patch} and {self.size}")

    @property
    def side(self) -> int:
        """Patches a side."""
        return self.size // self.patch


class Head(nn.Module):
    """The patch denoiser: noised patches (M, d), t - 1 and codes (M, channels) to v and a variance, (M, 2 d).

    It sees each value through waves of which the fastest has the distance of two levels as its period: without them a network can hardly tell the
    nearest level, on which the last steps' likelihood hangs (Kingma et al. 2021, appendix C).
    """

    def __init__(self, config: PatchConfig) -> None:
        super().__init__()
        d, w = config.patch**2, config.width
        self.scale, self.waves = math.pi / config.T, [math.pi * (config.levels - 1) / 2**k for k in range(3)]
        self.enter, self.told, self.leave = nn.Linear(7 * d, w), nn.Linear(config.channels + 16, w), nn.Linear(w, 2 * d)
        self.norms = nn.ModuleList(nn.LayerNorm(w) for _ in range(config.layers))
        self.inner = nn.ModuleList(nn.Linear(w, w) for _ in range(config.layers))
        self.outer = nn.ModuleList(nn.Linear(w, w) for _ in range(config.layers))
        for layer in (*self.outer, self.leave):
            nn.init.zeros_(layer.weight)

    def forward(self, x: Tensor, t: Tensor, code: Tensor) -> Tensor:
        when = (self.scale * t[:, None] * torch.arange(1, 17, device=x.device)).cos().to(x.dtype)
        told = self.told(torch.cat([code, when], 1))
        h = self.enter(torch.cat([x] + [wave(f * x) for f in self.waves for wave in (torch.sin, torch.cos)], 1)) + told
        for norm, inner, outer in zip(self.norms, self.inner, self.outer, strict=True):
            h = h + outer(F.silu(inner(norm(h)) + told))
        return self.leave(h)


class PatchNet(nn.Module):
    """Trunk and head. Called, it gives the terms of the bound; `codes` and `denoiser` are its parts."""

    def __init__(self, config: PatchConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = Trunk(config.patch**2 * config.levels, config.channels, config.side, config.blocks, causal=True)
        self.head = Head(config)
        self.schedule = even_snr(config.T)

    def codes(self, x: Tensor) -> Tensor:
        """What is told of each patch of levels (N, size, size): (N, side^2, channels), a function of the patches before it in raster order."""
        size = self.config.size
        if x.dim() != 3 or x.shape[1:] != (size, size) or x.is_floating_point():
            raise ValueError(f"x must be a LongTensor (N, {size}, {size}), got {x.dtype} {tuple(x.shape)}")
        hot = F.one_hot(x, self.config.levels).movedim(-1, 1).to(self.head.enter.weight.dtype)
        return self.trunk(F.pixel_unshuffle(hot, self.config.patch)).flatten(2).transpose(1, 2)

    def patches(self, x: Tensor) -> Tensor:
        """Levels (N, size, size) as patches (N, side^2, patch^2) of greys in [-1, 1]."""
        grey = to_grey(x, self.config.levels).to(self.head.enter.weight.dtype)
        return F.pixel_unshuffle(grey, self.config.patch).flatten(2).transpose(1, 2)

    def denoiser(self) -> NetworkDenoiser:
        """The head as a denoiser of patches (M, patch^2), cond being their codes (M, channels); it says v and a variance."""
        return NetworkDenoiser(self.head, self.schedule, "v")

    def forward(self, x: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """The bound's terms L_{t-1} in nats, (N, side^2), of each patch of x at its own t (N, side^2) with noise eps (N, side^2, patch^2)."""
        clean, code = self.patches(x).flatten(0, 1), self.codes(x).flatten(0, 1)
        prediction = self.denoiser()(q_sample(self.schedule, clean, t.flatten(), eps.flatten(0, 1)), t.flatten(), code)
        terms = vlb_term(prediction, self.schedule, clean, t.flatten(), variance="learned", bins=self.config.levels)
        return terms.reshape(t.shape)


def patch_loss(holder: NetworkDenoiser, x0: Tensor, t: Tensor, eps: Tensor, cond: Tensor | None) -> Tensor:
    """The bound in bits a dimension, without its constant L_T, for `training.fit`; holder holds a PatchNet. t, eps and cond are not used.

    Every patch has a time of its own; together they are spread evenly over 1 .. T, which makes the sum's estimate far steadier.
    """
    module = holder.net.module if hasattr(holder.net, "module") else holder.net  # several processes train it in a wrapper
    config, generator = module.config, torch.default_generator
    x = quantise(x0, config.levels, x0.shape[-1] // config.size)
    count = len(x) * config.side**2
    even = (torch.arange(count) + torch.rand((), generator=generator)) / count * config.T
    times = even.long().clamp(max=config.T - 1)[torch.randperm(count, generator=generator)].reshape(len(x), -1) + 1
    noise = torch.randn(*times.shape, config.patch**2, generator=generator).to(x.device)
    return holder.net(x, times, noise).mean() * config.T / (config.patch**2 * math.log(2))


@torch.no_grad()
def patch_bound(net: PatchNet, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """An unbiased estimate, one draw for each patch and t, of the bound on -log p(x): (N,) nats a picture (Ho et al. 2020, equation 5).

    The chain rule over patches is exact; what is only bounded is -log p of each patch given those before.
    """
    clean, code = net.patches(x).flatten(0, 1), net.codes(x).flatten(0, 1)
    denoiser, total = net.denoiser(), vlb_prior(net.schedule, clean).double()
    for t in range(1, net.config.T + 1):
        eps = torch.randn(clean.shape, generator=generator, dtype=clean.dtype).to(clean.device)
        prediction = denoiser(q_sample(net.schedule, clean, t, eps), t, code)
        total += vlb_term(prediction, net.schedule, clean, t, variance="learned", bins=net.config.levels)
    return total.reshape(len(x), -1).sum(1)


def measured_bound(net: PatchNet, pictures: Tensor, batch: int = 500) -> dict[str, list[float]]:
    """The bound in bits a dimension of pictures (N, 1, H, W), as [mean, standard error] under "bound"."""
    generator, config = torch.Generator().manual_seed(0), net.config
    nats = torch.cat([patch_bound(net, quantise(x, config.levels, x.shape[-1] // config.size), generator) for x in pictures.split(batch)])
    bits = nats / (config.size**2 * math.log(2))
    return {"bound": [round(float(bits.mean()), 4), round(float(bits.std() / len(bits) ** 0.5), 4)]}


@torch.no_grad()
def sample_patches(net: PatchNet, n: int, generator: torch.Generator | None = None) -> Tensor:
    """n pictures of levels (n, size, size): for each patch, T steps of diffusion given its code, then the nearest level."""
    config, levels = net.config, net.config.levels
    x = torch.zeros(n, config.size, config.size, dtype=torch.long, device=net.head.enter.weight.device)
    for k in range(config.side**2):
        noise = torch.randn(n, config.patch**2, generator=generator).to(x.device)
        grey = final(ddpm(net.denoiser(), noise, net.schedule, variance="learned", cond=net.codes(x)[:, k], generator=generator))
        row, column = k // config.side * config.patch, k % config.side * config.patch
        patch = ((grey + 1) / 2 * (levels - 1)).round().clamp(0, levels - 1).long()
        x[:, row:row + config.patch, column:column + config.patch] = patch.reshape(n, config.patch, config.patch)
    return x
