"""A small variational autoencoder: the baseline with a latent space of its own (Kingma & Welling 2014)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .config import Config
from .denoisers import NetworkDenoiser


@dataclass(frozen=True)
class VAEConfig(Config):
    """latent: numbers a picture is put into. channels: width of the first convolution, doubled once. size: pixels a side, a multiple of 4.

    Raises ValueError for values below 1 and for another size.
    """

    latent: int = 16
    channels: int = 32
    size: int = 28

    def __post_init__(self) -> None:
        self.at_least(latent=1, channels=1, size=1)
        if self.size % 4:
            raise ValueError(f"size must be a multiple of 4, got {self.size}")


class VAE(nn.Module):
    """q(z | x) = N(mean(x), diag exp(logvar(x))), p(z) = N(0, I), p(x | z) = N(decode(z), sigma^2 I) for pictures (N, 1, size, size) in [-1, 1].

    sigma is one learned number for all pixels (Rybkin, Daniilidis & Levine 2021), so that no weight between the two terms is chosen by hand.
    """

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config, c, side = config, config.channels, config.size // 4
        self.encoder = nn.Sequential(
            nn.Conv2d(1, c, 4, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(c, 2 * c, 4, stride=2, padding=1), nn.SiLU(),
            nn.Flatten(), nn.Linear(2 * c * side**2, 2 * config.latent))
        self.decoder = nn.Sequential(
            nn.Linear(config.latent, 2 * c * side**2), nn.SiLU(), nn.Unflatten(1, (2 * c, side, side)),
            nn.ConvTranspose2d(2 * c, c, 4, stride=2, padding=1), nn.SiLU(),
            nn.ConvTranspose2d(c, 1, 4, stride=2, padding=1), nn.Tanh())
        self.log_sigma = nn.Parameter(torch.tensor(-1.0))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, logvar) of q(z | x), each (N, latent). Raises ValueError for pictures of another shape."""
        if x.dim() != 4 or x.shape[1:] != (1, self.config.size, self.config.size):
            raise ValueError(f"x must be (N, 1, {self.config.size}, {self.config.size}), got {tuple(x.shape)}")
        mean, logvar = self.encoder(x).chunk(2, dim=1)
        return mean, logvar

    def decode(self, z: Tensor) -> Tensor:
        """The mean of p(x | z), (N, 1, size, size) in [-1, 1], for z (N, latent). Raises ValueError for another shape."""
        if z.dim() != 2 or z.shape[1] != self.config.latent:
            raise ValueError(f"z must be (N, {self.config.latent}), got {tuple(z.shape)}")
        return self.decoder(z)

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """(-log p(x | z), KL(q(z | x) || p(z))) in nats a picture, each (N,), at z = mean + sd noise with noise (N, latent) from N(0, I).

        Their sum is a sample of minus the evidence lower bound (Kingma & Welling 2014, equations 3 and 10).
        """
        mean, logvar = self.encode(x)
        error = (x - self.decode(mean + (logvar / 2).exp() * noise)) / self.log_sigma.exp()
        nll = (0.5 * error**2 + self.log_sigma + 0.5 * math.log(2 * math.pi)).flatten(1).sum(1)
        return nll, 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum(1)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n pictures decode(z) with z from the prior, without the pixel noise of p(x | z), which nobody wants to see."""
        return self.decode(torch.randn(n, self.config.latent, generator=generator).to(self.log_sigma.device))


def negative_elbo(holder: NetworkDenoiser, x0: Tensor, t: Tensor, eps: Tensor, cond: Tensor | None) -> Tensor:
    """Minus the bound in nats a pixel, for `training.fit`; `holder` holds the VAE as its net. t, eps and cond are not used."""
    latent = torch.randn(len(x0), holder.net.config.latent, generator=torch.default_generator).to(x0.device)
    nll, kl = holder.net(x0, latent)
    return (nll + kl).mean() / x0[0].numel()
