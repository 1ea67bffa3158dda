"""Right answers of section 1.1, written in other ways than the book's."""

import math

import torch


def by_variance_lost(case):
    def ou_step(x, dh, kappa, z):
        gone = -torch.expm1(torch.tensor(-2 * kappa * dh, dtype=torch.float64))         # share of the variance that is replaced
        return x * (1 - gone).sqrt() + z * (gone * case.tau / kappa).sqrt()
    return ou_step


def by_hyperbolic_sine(case):
    return lambda x, dh, kappa, z: math.exp(-kappa * dh) * (x + z * math.sqrt(2 * case.tau / kappa * math.exp(kappa * dh) * math.sinh(kappa * dh)))


SPACING = 0.1


def by_metropolis(case):
    """Proposals to both neighbours, accepted with probability min(1, e^-dU): one matrix, applied again and again."""
    def relax(p, U, steps):
        accept = (-U.diff() / case.tau).exp().clamp(max=1), (U.diff() / case.tau).exp().clamp(max=1)
        chain = 0.25 * (torch.diag(accept[0], -1) + torch.diag(accept[1], 1))           # column: where from, row: where to
        chain = chain + torch.diag(1 - chain.sum(0))
        path = [p]
        while len(path) <= steps:
            path.append(chain @ path[-1])
        return path
    return relax


def by_exponential(case):
    """Hops in continuous time: the exact propagator of 0.002 relaxation times, through the eigenvectors of the symmetric form."""
    def relax(p, U, steps):
        root = (-U / case.tau).softmax(0).sqrt()
        rate = case.tau / SPACING**2
        hop = torch.diag(torch.full((len(U) - 1,), rate, dtype=torch.float64), 1)
        symmetric = hop + hop.T
        symmetric = symmetric - torch.diag((symmetric * root).sum(1) / root)             # root is at rest
        values, vectors = torch.linalg.eigh(symmetric)
        part = vectors.T @ (p / root)
        return [p] + [root * (vectors @ ((0.002 * k * values).exp() * part)) for k in range(1, steps + 1)]
    return relax


MEAN_SIZE = {"Gaussian": math.sqrt(2 / math.pi), "uniform": math.sqrt(3) / 2, "Laplace": math.sqrt(0.5), "two-point": 1.0}
WAVE = {"Gaussian": lambda w: math.exp(-(w**2) / 2), "uniform": lambda w: math.sin(math.sqrt(3) * w) / (math.sqrt(3) * w),
        "Laplace": lambda w: 1 / (1 + w**2 / 2), "two-point": math.cos}


def by_mean_size(case):
    """The factor of x by regression, then size, side and mean absolute value of what is left."""
    def diagnose(step):
        x = torch.randn(200_000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        y = step(x, 0.1, torch.Generator().manual_seed(2))
        factor = (x * y).mean() / (x * x).mean()
        eps = (y - math.sqrt(0.9) * x) / math.sqrt(0.1)
        side, size = (eps**3).mean(), eps.abs().mean()
        return all((abs(factor - math.sqrt(0.9)) < 0.005, abs(eps.mean()) < 0.02, abs(eps.square().mean() - 1) < 0.03, abs(side) < 0.5,
                    abs(size - MEAN_SIZE[case.law]) < 0.01))
    return diagnose


def by_waves(case):
    """The characteristic function of the noise at a few frequencies: it knows mean, size and shape at once."""
    def diagnose(step):
        x = torch.full((100_000,), -5.0)
        eps = (step(x, 0.02, torch.Generator().manual_seed(3)).double() - math.sqrt(0.98) * x) / math.sqrt(0.02)
        gaps = [complex((w * eps).cos().mean() - WAVE[case.law](w), (w * eps).sin().mean()) for w in (0.5, 1.0, 2.0, 3.0)]
        return torch.tensor(max(map(abs, gaps)) < 0.02)
    return diagnose


def by_geometric_series(case):
    def mean_work(L, n, dh):
        keep = math.exp(-case.kappa * dh)
        lags = sum((n - k) * keep**k for k in range(1, n))                               # pairs of jumps that are k apart
        return case.kappa * (L / n) ** 2 * (n / 2 + lags)
    return mean_work


def by_matrix(case):
    """Half of the variance of the work, from the covariance of the positions at the jumps."""
    def mean_work(L, n, dh):
        at = torch.arange(n, dtype=torch.float64) * dh
        covariance = (-case.kappa * (at[:, None] - at).abs()).exp() / case.kappa
        return (case.kappa * L / n) ** 2 * covariance.sum() / 2
    return mean_work


RIGHT = {
    "origins-step": [by_variance_lost, by_hyperbolic_sine],
    "origins-free": [by_metropolis, by_exponential],
    "origins-bugs": [by_mean_size, by_waves],
    "origins-drag": [by_geometric_series, by_matrix],
}
