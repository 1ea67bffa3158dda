"""A chain of eight uneven steps, which the checks of section 4.1 share."""

import itertools

import torch

from diffusion_core import Schedule

BETAS = [0.02, 0.3, 0.1, 0.25, 0.05, 0.4, 0.15, 0.35]  # uneven, and large enough for a wrong index to show
SCHEDULE = Schedule.from_betas(torch.tensor(BETAS, dtype=torch.float64))
TRIPLES = list(itertools.combinations(range(9), 3))  # r < s < t
PAIRS = [(t, s) for s, t in itertools.combinations(range(9), 2)]
NOISY = [(t, s) for t, s in PAIRS if s > 0]


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def random(n, seed):
    return torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
