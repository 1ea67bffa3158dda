"""The shared core of the book: one path, one interface for denoisers, short samplers, one real UNet."""

from .denoisers import NULL, Denoiser, NetworkDenoiser, clipped
from .editing import inpainted, invert, sdedit, slerp
from .gaussian import Prediction, q_posterior, q_sample
from .guidance import autoguided, classifier_guided, distilled, guided, interval_guided, rescaled, thresholded
from .likelihood import bits_per_dim, flow_log_prob, vlb_terms
from .mixture import GaussianMixture
from .samplers import Step, adams, ddim, ddpm, dpmpp_2m, final, heun
from .schedules import Schedule, cosine_betas, linear_betas, noise_steps, timesteps, zero_terminal_snr
from .unet import UNet, UNetConfig

__all__ = ["adams", "autoguided", "bits_per_dim", "classifier_guided", "clipped", "cosine_betas", "ddim", "ddpm", "Denoiser", "distilled",
           "dpmpp_2m", "final", "flow_log_prob", "GaussianMixture", "guided", "heun", "inpainted", "interval_guided", "invert",
           "linear_betas", "NetworkDenoiser", "noise_steps", "NULL", "Prediction", "q_posterior", "q_sample", "rescaled", "Schedule",
           "sdedit", "slerp", "Step", "thresholded", "timesteps", "UNet", "UNetConfig", "vlb_terms", "zero_terminal_snr"]
