"""Right answers of section 5.2, written in other ways than the book's."""

import math

import torch

from diffusion_core import Schedule, final, guided, timesteps
from diffusion_core.editing import sdedit

schedule = Schedule.cosine(1000)
T, a = len(schedule), schedule.alpha_bar
alpha, sigma = a.sqrt(), (1 - a).sqrt()


def nearest_times(case, t0, n):
    ratio = (sigma[1:] / alpha[1:]).log()
    height = ratio if case.root == 0 else (ratio / case.root).exp()
    levels = float(height[t0 - 1]) + torch.arange(n) / max(n - 1, 1) * float(height[0] - height[t0 - 1])
    return [t0, *(1 + int((height - level).abs().argmin()) for level in levels.tolist()[1:])]


def by_ranks(case):
    """t_k + k must not grow with k, and lies between n and t0."""
    def level_grid(t0, n):
        rank = torch.arange(n)
        times = ((torch.tensor(nearest_times(case, t0, n)) + rank).cummin(0).values.clamp(n, t0) - rank).tolist()
        return [(t, s) for t, s in zip(times, times[1:] + [0])]
    return level_grid


def from_the_clean_end(case):
    """Each time above the one after it, then none above its place below t0."""
    def level_grid(t0, n):
        times, below = [], 0
        for t in reversed(nearest_times(case, t0, n)):
            below = max(t, below + 1)
            times.append(below)
        times = [min(t, t0 - k) for k, t in enumerate(reversed(times))]
        return tuple((times[k], times[k + 1] if k + 1 < n else 0) for k in range(n))
    return level_grid


def by_rotation(case):
    """A step up turns (x, v) by the angle of the step."""
    angle = torch.atan2(sigma, alpha)

    def inversion(denoiser, x, pairs):
        for t, s in pairs[::-1]:
            s = max(s, case.first)
            turn = angle[t] - angle[s]
            x = turn.cos() * x + turn.sin() * denoiser(x, torch.full((len(x),), s), None).v
        return x

    return inversion


def by_euler(case):
    """Euler's step in x / alpha against noise over signal, which starts at the state that x counts as."""
    rho = sigma / alpha

    def inversion(denoiser, x, pairs):
        for t, s in reversed(pairs):
            s = max(s, case.first)
            x = alpha[t] * (x / alpha[s] + (rho[t] - rho[s]) * denoiser(x, s).eps)
        return x

    return inversion


MASKS = {"1 where the picture is made anew and 0": (1, 0), "0 where the picture is made anew and 1": (0, 1),
         "0 where the picture is made anew and 255": (0, 255), "-1 where the picture is made anew and 1": (-1, 1)}


def fresh_share(case, mask):
    """1 where the picture is made anew, 0 where it is kept."""
    new, kept = MASKS[case.marks.removesuffix(" where it is kept")]
    return (mask - kept) / (new - kept)


def edits_by_formulas(case):
    def between_mended(x, other, u, t0, generator):
        return alpha[t0] * (x + u * (other - x)) + sigma[t0] * torch.randn(x.shape, dtype=x.dtype, generator=generator)

    def strokes_mended(denoiser, guide, t0, n, generator):
        x = alpha[t0] * guide + sigma[t0] * torch.randn(guide.shape, dtype=guide.dtype, generator=generator)
        for t, s in timesteps(t0, n):
            said = denoiser(x, t)
            fresh = case.eta**2 * (1 - a[s]) / (1 - a[t]) * (1 - a[t] / a[s])
            x = alpha[s] * said.x0 + (1 - a[s] - fresh).sqrt() * said.eps
            if s > 0 and case.eta > 0:
                x = x + fresh.sqrt() * torch.randn(x.shape, dtype=x.dtype, generator=generator)
        return x

    def keep_mended(prediction, picture, mask):
        share = fresh_share(case, mask)
        x0 = picture + share * (prediction.x0 - picture)
        return x0, (prediction.x_t - prediction.alpha_bar.sqrt() * x0) / (1 - prediction.alpha_bar).sqrt()

    return {"between_mended": between_mended, "strokes_mended": strokes_mended, "keep_mended": keep_mended}


def edits_by_slerp(case):
    """Two noises on the great circle are as strong as one; SDEdit is the core's; the change of eps follows from the change of x0."""
    def between_mended(x, other, u, t0, generator):
        one, two = torch.randn(2, *x.shape, dtype=x.dtype, generator=generator)
        return alpha[t0] * torch.lerp(x, other, u) + sigma[t0] * (math.cos(u * math.pi / 2) * one + math.sin(u * math.pi / 2) * two)

    def strokes_mended(denoiser, guide, t0, n, generator):
        return final(sdedit(denoiser, guide, schedule, steps=timesteps(t0, n), eta=case.eta, generator=generator))

    def keep_mended(prediction, picture, mask):
        change = (1 - fresh_share(case, mask)) * (picture - prediction.x0)
        return [prediction.x0 + change, prediction.eps - change * (prediction.alpha_bar / (1 - prediction.alpha_bar)).sqrt()]

    return {"between_mended": between_mended, "strokes_mended": strokes_mended, "keep_mended": keep_mended}


def said_on_the_way_down(case, denoiser):
    if case.w == -1:
        return lambda x, t: denoiser(x, t)
    return lambda x, t: guided(denoiser, case.w)(x, t, torch.ones(len(x), dtype=torch.long))


def by_correcting(case):
    """Move x_t by what the step down misses: that contracts wherever the step down is nearly the identity."""
    def exact_inversion(denoiser, x, pairs, rounds):
        said = said_on_the_way_down(case, denoiser)
        for t, s in reversed(pairs):
            goal = x
            for _ in range(rounds):
                here = said(x, t)
                x = x + goal - alpha[s] * here.x0 - sigma[s] * here.eps
        return x
    return exact_inversion


def by_both_parts(case):
    """The step down, x_t and v written out: x_t = tangent form, from x0-hat = alpha x - sigma v and eps-hat = sigma x + alpha v."""
    angle = torch.atan2(sigma, alpha)

    def exact_inversion(denoiser, x, pairs, rounds):
        said = said_on_the_way_down(case, denoiser)
        for t, s in reversed(pairs):
            start, turn = x, angle[t] - angle[s]
            for _ in range(rounds):
                here = said(x, t)
                x = start / turn.cos() + turn.tan() * (alpha[t] * here.eps - sigma[t] * here.x0)
        return x

    return exact_inversion


RIGHT = {
    "practice-ddim-grid": [by_ranks, from_the_clean_end],
    "practice-ddim-invert": [by_rotation, by_euler],
    "practice-ddim-bugs": [edits_by_formulas, edits_by_slerp],
    "practice-ddim-exact": [by_correcting, by_both_parts],
}
