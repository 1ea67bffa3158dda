"""Gaussian mixtures: the data for which every quantity of a diffusion model is known exactly. The oracle of the whole book."""

import math

import torch
from torch import Tensor

from .denoisers import NULL, Denoiser, FunctionDenoiser, rows
from .gaussian import Prediction, like
from .schedules import Schedule


class GaussianMixture:
    """p(x0) = sum_k weights_k N(means_k, covariances_k) for x0 of shape (N, D), float64 unless means are of another dtype.

    weights (K,) positive (scaled to sum 1); means (K, D); covariances (K, D, D), (K, D) for diagonals, or (K,) for multiples of the
    identity, positive definite; labels (K,) gives each part a class, so that cond picks the parts of that class. Diffused to time t, each
    part stays Gaussian: N(sqrt(alpha_bar) mean, alpha_bar covariance + (1 - alpha_bar) I). Raises ValueError for other arguments.
    """

    def __init__(self, weights: Tensor, means: Tensor, covariances: Tensor, labels: Tensor | None = None) -> None:
        means = means if isinstance(means, Tensor) and means.is_floating_point() else torch.as_tensor(means, dtype=torch.float64)
        weights, covariances = (torch.as_tensor(a, dtype=means.dtype, device=means.device) for a in (weights, covariances))
        K = len(weights)
        if means.dim() != 2 or len(means) != K or weights.dim() != 1 or not bool((weights > 0).all()):
            raise ValueError(f"expected weights (K,) > 0 and means (K, D), got {tuple(weights.shape)} and {tuple(means.shape)}")
        self.log_weights, self.means = (weights / weights.sum()).log(), means
        self.labels = None if labels is None else torch.as_tensor(labels).long()
        if self.labels is not None and (self.labels.shape != (K,) or bool((self.labels < 0).any())):
            raise ValueError(f"labels must be integers >= 0 of shape ({K},), got {labels}")
        # covariance = axes diag(spread) axes^T: adding noise only changes the spread, so no time needs an inverse of its own.
        self.spread, self.axes = torch.linalg.eigh(_full(covariances, *means.shape))
        if not bool((self.spread > 0).all()):
            raise ValueError("every covariance must be positive definite")

    def log_prob(self, schedule: Schedule, x_t: Tensor, t: int | Tensor, cond: Tensor | None = None) -> Tensor:
        """log p_t(x_t | cond), shape (N,), in nats; t in 0 .. T, 0 being the data themselves."""
        joint, _ = self._parts(schedule, x_t, t, cond)
        return torch.logsumexp(joint, -1)

    def score(self, schedule: Schedule, x_t: Tensor, t: int | Tensor, cond: Tensor | None = None) -> Tensor:
        """The gradient of log p_t(x_t | cond), shape (N, D): each part's, weighted by its posterior probability."""
        joint, residual = self._parts(schedule, x_t, t, cond)
        spread = self._spread(schedule, x_t, t)
        pull = -torch.einsum("kde,nke->nkd", self.axes, residual / spread)
        return (joint.softmax(-1)[..., None] * pull).sum(1)

    def posterior_mean(self, schedule: Schedule, x_t: Tensor, t: int | Tensor, cond: Tensor | None = None) -> Tensor:
        """E[x0 | x_t, cond], shape (N, D): the best prediction of x0 in mean square; t in 0 .. T."""
        joint, residual = self._parts(schedule, x_t, t, cond)
        gain = self._alpha_bar(schedule, x_t, t).sqrt() * self.spread / self._spread(schedule, x_t, t)
        means = self.means + torch.einsum("kde,nke->nkd", self.axes, gain * residual)
        return (joint.softmax(-1)[..., None] * means).sum(1)

    def denoiser(self, schedule: Schedule) -> Denoiser:
        """The exact denoiser: x0 = E[x0 | x_t, cond]."""

        def predict(x_t: Tensor, t: int | Tensor, cond: Tensor | None) -> Prediction:
            index = schedule.check(t)
            return Prediction(x_t, schedule.at(index), "x0", self.posterior_mean(schedule, x_t, index, cond))

        return FunctionDenoiser(schedule, predict)

    def sample(self, n: int, generator: torch.Generator | None = None, cond: int | None = None) -> tuple[Tensor, Tensor]:
        """n draws x0 (n, D) and the part each came from (n,); cond restricts them to the parts of that label."""
        log_weights = self.log_weights
        if cond is not None:
            log_weights = self._masked(torch.tensor([cond]))[0]
        part = torch.multinomial(log_weights.exp(), n, replacement=True, generator=generator)
        z = torch.randn(n, self.means.shape[1], dtype=self.means.dtype, generator=generator)
        return self.means[part] + torch.einsum("nde,ne->nd", self.axes[part], self.spread[part].sqrt() * z), part

    def _alpha_bar(self, schedule: Schedule, x_t: Tensor, t: int | Tensor) -> Tensor:
        return like(schedule.at(t), x_t)[..., None] if torch.as_tensor(t).dim() else like(schedule.at(t), x_t)

    def _spread(self, schedule: Schedule, x_t: Tensor, t: int | Tensor) -> Tensor:
        """Eigenvalues of each part's covariance at t, shape (K, D) or (N, K, D)."""
        a = self._alpha_bar(schedule, x_t, t)
        return a * self.spread.to(x_t) + (1 - a)

    def _parts(self, schedule: Schedule, x_t: Tensor, t: int | Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        """log(weight_k p_t(x_t | part k)) of shape (N, K), and x_t minus each part's mean along its axes, (N, K, D)."""
        D = self.means.shape[1]
        if x_t.dim() != 2 or x_t.shape[1] != D:
            raise ValueError(f"x must have shape (N, {D}), got {tuple(x_t.shape)}")
        gap = x_t[:, None] - self._alpha_bar(schedule, x_t, t).sqrt() * self.means
        residual = torch.einsum("kde,nkd->nke", self.axes, gap)
        spread = self._spread(schedule, x_t, t)
        log_part = -0.5 * (residual**2 / spread + spread.log() + math.log(2 * math.pi)).sum(-1)
        return self._masked(rows(cond, x_t)) + log_part, residual

    def _masked(self, cond: Tensor) -> Tensor:
        """log weights (N, K) of the mixture each row asks for: minus infinity for parts of another label, then scaled to sum 1."""
        if bool((cond == NULL).all()):
            return self.log_weights.expand(len(cond), -1)
        if self.labels is None:
            raise ValueError("this mixture has no labels, so cond must be None")
        wanted = (cond[:, None] == self.labels) | (cond[:, None] == NULL)
        if not bool(wanted.any(1).all()):
            raise ValueError(f"cond must be among the labels {sorted(set(self.labels.tolist()))} (or NULL = -1), got {cond.tolist()}")
        return self.log_weights.masked_fill(~wanted, -math.inf).log_softmax(-1)


def _full(covariances: Tensor, K: int, D: int) -> Tensor:
    """covariances as (K, D, D)."""
    if covariances.shape == (K,):
        return covariances[:, None, None] * torch.eye(D).to(covariances)
    if covariances.shape == (K, D):
        return torch.diag_embed(covariances)
    if covariances.shape == (K, D, D) and torch.allclose(covariances, covariances.mT):
        return (covariances + covariances.mT) / 2
    raise ValueError(f"covariances must have shape ({K},), ({K}, {D}) or ({K}, {D}, {D}) and be symmetric, got {tuple(covariances.shape)}")
