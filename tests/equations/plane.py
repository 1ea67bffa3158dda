"""A plane with three classes whose densities are known, which the checks of guidance in sections 3.3 and 5.3 share."""

import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from diffusion_core import GaussianMixture, Schedule

SCHEDULE = Schedule.cosine(1000)


def double(values):
    return torch.tensor(values, dtype=torch.float64)


# The first class has two parts.
WEIGHTS, MEANS = double([0.3, 0.2, 0.3, 0.2]), double([[-1.1, 0.9], [1.1, 0.9], [1.3, -0.6], [-0.5, -1.0]])
COVARIANCES = torch.stack([double([[0.2, 0.1], [0.1, 0.3]]) * k for k in (1.0, 0.7, 0.5, 0.9)])
LABELS = torch.tensor([0, 0, 1, 2])
PLANE = GaussianMixture(WEIGHTS, MEANS, COVARIANCES, labels=LABELS)
EXACT = PLANE.denoiser(SCHEDULE)


def diffused(t, parts):
    """The diffused parts of the plane as a distribution of torch.distributions."""
    a = SCHEDULE.alpha_bar[t]
    covariances = a * COVARIANCES[parts] + (1 - a) * torch.eye(2, dtype=torch.float64)
    normal = MultivariateNormal(a.sqrt() * MEANS[parts], covariances)
    return MixtureSameFamily(Categorical(WEIGHTS[parts]), normal)


def log_p(x, t, label=None):
    """log p_t(x | label) by torch.distributions; None: log p_t(x)."""
    return diffused(t, slice(None) if label is None else LABELS == label).log_prob(x)


def gradient(function, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(function(x).sum(), x)[0]
