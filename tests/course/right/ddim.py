"""Right answers of section 3.2, written in other ways than the book's."""

import math

import torch

from diffusion_core import Schedule, clipped, ddim, q_sample, timesteps
from diffusion_core.gaussian import posterior_variance

schedule = Schedule.cosine(1000)
T, a = len(schedule), schedule.alpha_bar


def by_two_equations(case):
    """The step sends x0 to its strength at s and the noise to its own: two equations for the two coefficients."""
    def step_in_eps(x, eps, t, s, eta, z):
        sigma2 = eta**2 * posterior_variance(schedule, t, s)
        system = torch.stack([torch.stack([a[t].sqrt(), torch.tensor(-case.c, dtype=torch.float64)]),
                              torch.stack([(1 - a[t]).sqrt(), torch.ones((), dtype=torch.float64)])])
        of_x, of_eps = torch.linalg.solve(system, torch.stack([a[s].sqrt(), (1 - a[s] - sigma2).sqrt()]))
        return of_x * x + of_eps * eps + sigma2.sqrt() * z
    return step_in_eps


def by_mixing_noises(case):
    """A part of the old noise is replaced, and x0 is noised to s with the mixture."""
    def step_in_eps(x, eps, t, s, eta, z):
        x0 = (x - (1 - a[t]).sqrt() * eps) / (a[t].sqrt() + case.c * (1 - a[t]).sqrt())
        share = eta**2 * (1 - a[t] / a[s]) / (1 - a[t])
        return q_sample(schedule, x0, s, (1 - share).sqrt() * (eps + case.c * x0) + share.sqrt() * z)
    return step_in_eps


def by_ceiling(case):
    def make_grid(T, n):
        times = [0] + [max(k, math.ceil(T * k / n if case.p == 1 else T * (k / n) ** case.p)) for k in range(1, n + 1)]
        return [(times[k], times[k - 1]) for k in range(n, 0, -1)]
    return make_grid


def from_below(case):
    """Each step goes as far as it may: to the wanted time, and at least one time beyond the one before."""
    def make_grid(T, n):
        pairs, s = [], 0
        for k in range(1, n + 1):
            t = max(s + 1, k * T // n if case.p == 1 else int(T * (k / n) ** case.p))
            pairs, s = [(t, s), *pairs], t
        return pairs
    return make_grid


def by_the_core(case):
    def mended(denoiser, x, n, eta, generator):
        for t, s in timesteps(T, n):
            (step,) = ddim(clipped(denoiser), x, schedule, steps=[(t, s)], eta=eta if t > case.until else 0.0, generator=generator)
            x = step.x
            yield t, s, x
    return mended


def by_noising_again(case):
    def mended(denoiser, x, n, eta, generator):
        steps = []
        for t, s in timesteps(T, n):
            x0 = denoiser(x, t).x0.clamp(-1, 1)
            noise = (x - a[t].sqrt() * x0) / (1 - a[t]).sqrt()
            if s > 0 and t > case.until and eta > 0:
                share = eta**2 * (1 - a[t] / a[s]) / (1 - a[t])
                noise = (1 - share).sqrt() * noise + share.sqrt() * torch.randn(x.shape, dtype=x.dtype, generator=generator)
            x = q_sample(schedule, x0, s, noise)
            steps.append((t, s, x))
        return steps
    return mended


def by_inverting_the_angle(case):
    """Equal angles, and the alpha-bar that belongs to each: tan^2 = (1 - alpha_bar) / (alpha_bar v)."""
    def best_grid(n, v):
        first, last = (math.atan2(float((1 - a[t]).sqrt()), float((a[t] * v).sqrt())) for t in (T, case.end))
        wanted = [1 / (1 + v * math.tan(first + (last - first) * k / n) ** 2) for k in range(1, n)]
        times = [T, *(int((a - w).abs().argmin()) for w in wanted), case.end]
        return list(zip(times, times[1:]))
    return best_grid


def by_dynamic_programming(case):
    """The best grid, of times below 100 and every third beyond: for each count of steps and each time, the most that can be kept down to it."""
    def best_grid(n, v):
        times = torch.tensor([t for t in range(T + 1) if t >= case.end and (t < 100 or t % 3 == 0 or t in (case.end, T))])
        u = torch.stack([(a[times] * v).sqrt(), (1 - a[times]).sqrt()], 1)
        u = u / u.norm(dim=1, keepdim=True)
        gain = (u @ u.T).log().masked_fill(~torch.ones(len(u), len(u)).tril(-1).bool(), -torch.inf)        # gain[t, s] for s < t
        most, origins = torch.full((len(u),), -torch.inf, dtype=torch.float64), []
        most[-1] = 0.0
        for _ in range(n):
            most, origin = (most[:, None] + gain).max(0)
            origins.append(origin)
        places = [0]
        for origin in reversed(origins):
            places.append(int(origin[places[-1]]))
        return [(int(times[t]), int(times[s])) for s, t in zip(places, places[1:])][::-1]
    return best_grid


RIGHT = {
    "ddim-point": [by_two_equations, by_mixing_noises],
    "ddim-grid": [by_ceiling, from_below],
    "ddim-bugs": [by_the_core, by_noising_again],
    "ddim-angles": [by_inverting_the_angle, by_dynamic_programming],
}
