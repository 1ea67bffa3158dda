"""Right answers of section 4.1, written in other ways than the book's."""

import math

import torch

from diffusion_core import Prediction, Schedule, ddim, final
from diffusion_core.denoisers import FunctionDenoiser

schedule = Schedule.linear(1000)
a = schedule.alpha_bar


# convert


def by_the_cores_prediction(case):
    def convert(x_t, alpha_bar, value, kind, to):
        if kind == "score":
            kind, value = "eps", -(1 - alpha_bar).sqrt() * case.unit * value
        prediction = Prediction(x_t / case.unit, alpha_bar, kind, value)
        return prediction.score / case.unit if to == "score" else getattr(prediction, to)
    return convert


def by_linear_equations(case):
    """Every kind is one row, the state another: solve the two for (x0, eps)."""
    def convert(x_t, alpha_bar, value, kind, to):
        alpha, sigma = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
        rows = {"x0": (1.0, 0.0), "eps": (0.0, 1.0), "v": (-sigma, alpha), "score": (0.0, -1 / (sigma * case.unit))}
        matrix = torch.tensor([[case.unit * alpha, case.unit * sigma], rows[kind]], dtype=torch.float64)
        pair = torch.linalg.solve(matrix, torch.stack([x_t, value]).reshape(2, -1))
        return (torch.tensor(rows[to], dtype=torch.float64) @ pair).reshape(x_t.shape)
    return convert


# posterior


def by_regression(case):
    """Condition the Gaussian pair (x_s, x_t) given x0: covariance of the two over the variance of x_t."""
    def posterior(x0, x_t, t, s):
        m_s, m_t = (case.centre + a[u].sqrt() * (x0 - case.centre) for u in (s, t))
        v_s, v_t = (case.tau * (1 - a[u]) for u in (s, t))
        covariance = (a[t] / a[s]).sqrt() * v_s
        return m_s + covariance / v_t * (x_t - m_t), v_s - covariance**2 / v_t
    return posterior


def by_precisions(case):
    def posterior(x0, x_t, t, s):
        if s == 0:
            return x0, 0.0
        k, c = float((a[t] / a[s]).sqrt()), case.centre
        tau2, sigma2 = case.tau * float(1 - a[s]), case.tau * float(1 - a[t] / a[s])
        precision = 1 / tau2 + k * k / sigma2
        return c + (float(a[s].sqrt()) * (x0 - c) / tau2 + k * (x_t - c) / sigma2) / precision, 1 / precision
    return posterior


# best_variance


def by_squared_means(case):
    """E x_s^2 minus E of the squared best guess of x_s, each guess a mixture of the parts' regressions."""
    def best_variance(points, t, s):
        points = points - points.mean()
        v_s, v_t = (float(a[u] * case.blur + 1 - a[u]) for u in (s, t))
        x = torch.linspace(float(a[t].sqrt() * points.min()) - 9, float(a[t].sqrt() * points.max()) + 9, 3001, dtype=torch.float64)[:, None]
        likely = torch.exp(-((x - a[t].sqrt() * points) ** 2) / (2 * v_t))
        guess = a[s].sqrt() * points + (a[t] / a[s]).sqrt() * v_s / v_t * (x - a[t].sqrt() * points)
        mean = (likely * guess).sum(1) / likely.sum(1).clamp(min=1e-300)
        return float(a[s] * (points**2).mean() + v_s - (likely.sum(1) * mean**2).sum() / likely.sum())
    return best_variance


def by_fisher_information(case):
    """Tweedie's second formula: the doubt about x0 from the mean square of the score of x_t."""
    def best_variance(points, t, s):
        alpha, noise, v_t = a[t].sqrt(), 1 - a[t], a[t] * case.blur + 1 - a[t]
        x = torch.linspace(float(alpha * points.min()) - 9, float(alpha * points.max()) + 9, 3001, dtype=torch.float64)[:, None]
        part = torch.exp(-((x - alpha * points) ** 2) / (2 * v_t))
        slope = (-(x - alpha * points) / v_t * part).sum(1)
        information = (slope**2 / part.sum(1).clamp(min=1e-300)).sum() / part.sum()
        doubt = noise / a[t] * (1 - noise * information)
        b = 1 - a[t] / a[s]
        return (1 - a[s]) / noise * b + a[s] * (b / noise) ** 2 * doubt
    return best_variance


# samplers


def by_turning_coefficients(case):
    """Both rules as a step of the pair of coefficients (A, S)."""
    def walk(denoiser, path, x_T, pairs, new):
        x = x_T
        for t, s in pairs:
            eps = denoiser(x, t).eps / case.scale
            x0 = (x - (1 - a[t]).sqrt() * eps) / a[t].sqrt()
            A, S = new(path, t, s)
            z = A * x0 + S * eps
            x = z if s == 0 else z * a[s].sqrt() / path(s)[0]
        return x

    def tangent(path, t, s):
        A, S, A_, S_, clock = path(t)
        return A + (path(s)[4] - clock) * A_, S + (path(s)[4] - clock) * S_

    return {"euler_sampler": lambda *args: walk(*args, tangent), "mended_sampler": lambda *args: walk(*args, lambda path, t, s: path(s)[:2])}


def by_the_cores_ddim(case):
    def scaled(denoiser):
        return FunctionDenoiser(schedule, lambda x, t, cond: Prediction(x, a[t], "eps", denoiser(x, t, cond).eps / case.scale))

    def euler_sampler(denoiser, path, x_T, pairs):
        z = x_T / a[pairs[0][0]].sqrt() * path(pairs[0][0])[0]
        for t, s in pairs:
            A, S, A_, S_, clock = path(t)
            prediction = scaled(denoiser)(z / (A / a[t].sqrt()), t)
            z = z + (path(s)[-1] - clock) * (A_ / A * z + (S_ - A_ * S / A) * prediction.eps)        # the velocity with x0 eliminated
        return z

    def mended_sampler(denoiser, path, x_T, pairs):
        return final(ddim(scaled(denoiser), x_T, schedule, steps=pairs))

    return {"euler_sampler": euler_sampler, "mended_sampler": mended_sampler}


RIGHT = {
    "process-convert": [by_the_cores_prediction, by_linear_equations],
    "process-zoo": [by_regression, by_precisions],
    "process-variance": [by_squared_means, by_fisher_information],
    "process-paths": [by_turning_coefficients, by_the_cores_ddim],
}
