"""Right answers of section 2.2, written in other ways than the book's."""

import itertools
import math

import torch


# elbo-discrete

def reconstruction_minus_kl(case):
    def discrete_elbo(log_prior, log_likelihood, q):
        used = q > 0
        stray = (q[used] * (q[used].log() - log_prior[used])).sum()
        return q @ log_likelihood - case.weight * stray
    return discrete_elbo


def value_by_value(case):
    def discrete_elbo(log_prior, log_likelihood, q):
        total = 0.0
        for prior, likelihood, p in zip(log_prior.tolist(), log_likelihood.tolist(), q.tolist(), strict=True):
            total += p * (likelihood + case.weight * (prior - math.log(p))) if p else 0.0
        return total
    return discrete_elbo


# elbo-bugs

SIGMA = 0.5


def single_draws(case):
    """log p(x, z) - log q(z) of each draw, without a formula for the KL; the width of B by bisection."""
    def bound_mended(x, mu, logvar, eps):
        q = torch.distributions.Normal(mu, torch.exp(logvar / 2))
        z = mu + q.stddev * eps
        detector = torch.distributions.Normal(case.gain * z, SIGMA)
        prior = torch.distributions.Normal(torch.zeros_like(mu), 1.0)
        return (detector.log_prob(x) + prior.log_prob(z) - q.log_prob(z)).sum(-1)

    def learned_widths(D):
        low, high = 1e-6, 1.0
        for _ in range(200):
            middle = (low + high) / 2
            slope = 1 / middle - middle - 2 * case.gain**2 * middle**3 / SIGMA**2
            low, high = (middle, high) if slope > 0 else (low, middle)
        return [1, low, (D * (case.gain / SIGMA) ** 2 + 1) ** -0.5]
    return {"bound_mended": bound_mended, "learned_widths": learned_widths}


def wave_by_wave(case):
    def bound_mended(x, mu, logvar, eps):
        total = torch.zeros(len(eps), dtype=torch.float64)
        for d in range(len(x)):
            width = math.sqrt(math.exp(logvar[d]))
            error = x[d] - case.gain * (mu[d] + width * eps[:, d])
            kl = -math.log(width) + (width**2 + float(mu[d]) ** 2) / 2 - 0.5
            total += -(error**2) / (2 * SIGMA**2) - math.log(SIGMA * math.sqrt(2 * math.pi)) - kl
        return total

    def learned_widths(D):
        r = (case.gain / SIGMA) ** 2
        variances = 1.0, 1 / (0.5 + math.sqrt(0.25 + 2 * r)), 1 / (1 + r * D)           # B: the root of r v^2 + v / 2 - 1 / 2, the other way up
        return tuple(map(math.sqrt, variances))
    return {"bound_mended": bound_mended, "learned_widths": learned_widths}


# elbo-baseline

def weighted_mean(case):
    def baseline(f, g):
        weight = (g**2).reshape(len(f), -1).sum(1)
        return torch.dot(weight / weight.sum(), f)
    return {"baseline": baseline, "at_best": lambda D: torch.tensor([1 + D / 2, case.P + case.P * D / 2], dtype=torch.float64).tolist()}


def by_covariance(case):
    """The slope of f g on g, with both means taken off first."""
    def baseline(f, g):
        g = g.reshape(len(f), -1)
        product = f[:, None] * g
        return float(((product - product.mean(0)) * (g - g.mean(0))).sum() / ((g - g.mean(0)) ** 2).sum())

    def at_best(D):
        """E[f g^2] and E[f^2 g^2] from moments of chi-squared numbers: g^2 weighs like two more degrees of freedom."""
        weighted, squared = (D + 2) / 2, (D + 2) * (D + 4) / 4
        return weighted, case.P * (squared - weighted**2)
    return {"baseline": baseline, "at_best": at_best}


# elbo-weights

def largest_first(case):
    def mean(log_w):
        scaled = case.order * log_w
        top = scaled.max(-1, keepdim=True).values
        return ((torch.exp(scaled - top).mean(-1, keepdim=True).log() + top) / case.order).mean()

    def subset_bound(log_w):
        K = log_w.shape[1]
        return sum(mean(torch.cat([log_w[:, :k], log_w[:, k + 1 :]], 1)) for k in range(K)) / K
    return {"weighted_bound": mean, "subset_bound": subset_bound}


def two_at_a_time(case):
    """Add weights up one by one; subsets from itertools."""
    def of_row(row):
        total = case.order * row[0]
        for item in row[1:]:
            total = torch.logaddexp(total, case.order * item)
        return (total - math.log(len(row))) / case.order

    def weighted_bound(log_w):
        return of_row(log_w.T).mean()

    def subset_bound(log_w):
        subsets = itertools.combinations(range(log_w.shape[1]), log_w.shape[1] - 1)
        return float(torch.stack([weighted_bound(log_w[:, list(subset)]) for subset in subsets]).mean())
    return {"weighted_bound": weighted_bound, "subset_bound": subset_bound}


RIGHT = {
    "elbo-discrete": [reconstruction_minus_kl, value_by_value],
    "elbo-bugs": [single_draws, wave_by_wave],
    "elbo-baseline": [weighted_mean, by_covariance],
    "elbo-weights": [largest_first, two_at_a_time],
}
