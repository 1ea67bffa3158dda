"""The shared core of the book: one path, one interface for denoisers, short samplers, one real UNet."""

from .denoisers import NULL, Denoiser, NetworkDenoiser, clipped
from .gaussian import Prediction, q_posterior, q_sample, vlb_terms
from .guidance import guided
from .mixture import GaussianMixture
from .samplers import Step, ddim, ddpm, final
from .schedules import Schedule, cosine_betas, linear_betas, timesteps, zero_terminal_snr
from .unet import UNet, UNetConfig

__all__ = ["NULL", "Denoiser", "GaussianMixture", "NetworkDenoiser", "Prediction", "Schedule", "Step", "UNet", "UNetConfig", "clipped",
           "cosine_betas", "ddim", "ddpm", "final", "guided", "linear_betas", "q_posterior", "q_sample", "timesteps", "vlb_terms",
           "zero_terminal_snr"]
