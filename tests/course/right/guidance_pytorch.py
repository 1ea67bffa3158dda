"""Right answers of section 5.3, written in other ways than the book's."""

import math

import torch

from diffusion_core import NULL, Prediction, timesteps
from diffusion_core.denoisers import FunctionDenoiser


def by_positions(case):
    def rows_needed(N, T, steps, low, high):
        times = torch.tensor([t for t, _ in timesteps(T, steps)])
        guided = int(((times >= low) & (times <= high)).sum())
        return N * (len(times) - guided) + N * guided * (case.away + 1)
    return rows_needed


def by_rounding(case):
    def rows_needed(N, T, steps, low, high):
        from fractions import Fraction
        times = [round(Fraction(T * (steps - k), steps)) for k in range(steps)]
        return float(N * steps + N * case.away * len([t for t in times if not (t < low or t > high)]))
    return rows_needed


def in_eps(case):
    def my_interval(denoiser, w, low, high):
        def predict(x_t, t, cond):
            plain = denoiser(x_t, t, cond)
            if t in range(low, high + 1):
                free, weight = denoiser(x_t, t, None), w * denoiser.schedule.at(t) ** case.power
                return Prediction(x_t, plain.alpha_bar, "eps", plain.eps + weight * (plain.eps - free.eps))
            return plain
        return FunctionDenoiser(denoiser.schedule, predict)
    return my_interval


def in_one_call(case):
    def my_interval(denoiser, w, low, high):
        a = denoiser.schedule.alpha_bar

        def predict(x_t, t, cond):
            if t < low or t > high:
                return denoiser(x_t, t, cond)
            labels = torch.as_tensor(cond).expand(len(x_t))
            both = denoiser(torch.cat([x_t, x_t]), t, torch.cat([labels, torch.full_like(labels, NULL)])).v
            plain, free = both[: len(x_t)], both[len(x_t):]
            return Prediction(x_t, a[t], "v", torch.lerp(free, plain, 1 + w * float(a[t] ** case.power)))
        return lambda x_t, t, cond: predict(x_t, t, cond)
    return my_interval


def by_standard_form(case):
    def rescale(leaning, plain, phi):
        mean = torch.lerp(leaning.mean(1), plain.mean(1), float(case.kappa))
        target = torch.lerp(leaning.std(1), plain.std(1), phi)
        return torch.stack([m + s * (row - row.mean()) / row.std() for m, s, row in zip(mean, target, leaning)])
    return rescale


def by_biased_moments(case):
    def rescale(leaning, plain, phi):
        centred = leaning - leaning.mean(-1, keepdim=True)
        size = lambda x: x.var(-1, unbiased=False, keepdim=True) ** 0.5
        shift = case.kappa * (plain - leaning).mean(-1, keepdim=True)
        return leaning + shift + phi * (size(plain) / size(leaning) - 1) * centred
    return rescale


def by_closed_form(case):
    def repair(c0, c, C):
        a = torch.tensor([c0, c, C], dtype=torch.float64)
        per_unit = (a[1] / a[2]).log() - ((a[1] + case.stop) / (a[2] + case.stop)).log() if case.stop < math.inf else (a[1] / a[2]).log()
        return (a[0] / a[1]).log() / per_unit
    return repair


def by_quadrature(case):
    def repair(c0, c, C):
        """Shrinking of the logarithm of the variance, summed over the guided noise by Gauss and Legendre's rule in x = log noise."""
        high = math.log(case.stop) if case.stop < math.inf else 60.0
        total, edges = 0.0, [-60 + k * (high + 60) / 400 for k in range(401)]
        for low, up in zip(edges, edges[1:]):
            for place, share in ((-math.sqrt(0.6), 5 / 18), (0.0, 8 / 18), (math.sqrt(0.6), 5 / 18)):
                noise = math.exp((low + up) / 2 + place * (up - low) / 2)
                total += share * (up - low) * noise * (1 / (c + noise) - 1 / (C + noise))
        return math.log(c / c0) / total
    return repair


RIGHT = {"practice-cfg-rows": [by_positions, by_rounding], "practice-cfg-interval": [in_eps, in_one_call],
         "practice-cfg-rescale": [by_standard_form, by_biased_moments], "practice-cfg-repair": [by_closed_form, by_quadrature]}
