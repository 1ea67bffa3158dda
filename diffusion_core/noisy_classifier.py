"""A classifier that knows how noisy its picture is: what classifier guidance differentiates (Dhariwal & Nichol 2021, section 4)."""

import torch.nn.functional as F
from torch import Tensor, nn

from .unet import Attention, ResBlock, UNetConfig, normalisation, resampler, timestep_embedding


class NoisyClassifier(nn.Module):
    """classifier(x_t, t): pictures x_t (N, in_channels, H, W) noised to t, LongTensor (N,) in 1 .. T, to class logits (N, classes).

    The way down of the UNet of `config` with one block a level, attention at its end, and the mean over the picture in place of a way up.
    Raises ValueError for a config without classes.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        if config.classes is None:
            raise ValueError("a classifier needs classes, got a config with classes = None")
        self.config = config
        widths, emb = config.widths, 4 * config.channels
        self.time = nn.Sequential(nn.Linear(config.channels, emb), nn.SiLU(), nn.Linear(emb, emb))
        self.stem = nn.Conv2d(config.in_channels * config.patch**2, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for c_in, c_out in zip([widths[0], *widths], widths, strict=False):
            if self.blocks:
                self.blocks.append(resampler(c_in, emb, config, up=False))
            self.blocks.append(ResBlock(c_in, c_out, emb, config))
        self.attention, self.norm = Attention(widths[-1], config), normalisation(widths[-1], config)
        self.last = nn.Linear(widths[-1], config.classes)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        embedding = self.time(timestep_embedding(t, self.config.channels).to(x_t.dtype))
        h = self.stem(F.pixel_unshuffle(x_t, self.config.patch))
        for block in self.blocks:
            h = block(h, embedding)
        return self.last(F.silu(self.norm(self.attention(h))).mean((2, 3)))
