"""Graders of section 3.2, DDIM."""

import math

import numpy as np
import torch

from diffusion_core import GaussianMixture, Prediction, Schedule, clipped, ddim, ddpm, final, q_sample, timesteps
from diffusion_core.denoisers import FunctionDenoiser
from diffusion_core.gaussian import q_posterior

from ..task import Essay, ProblemSet, Task, close, number, sequence, tensor

SETUP = """\
import math

import torch

from diffusion_core import GaussianMixture, Prediction, Schedule, timesteps

schedule = Schedule.cosine(1000)
T, a = len(schedule), schedule.alpha_bar      # a[t] is alpha_bar_t, float64, for t = 0 .. T
modes = GaussianMixture([0.5, 0.5], torch.tensor([[-0.5], [0.5]], dtype=torch.float64), [0.01, 0.01])


def variance(t, s, eta):
    '''sigma^2 of the DDIM step from t to s.'''
    return eta**2 * (1 - a[s]) / (1 - a[t]) * (1 - a[t] / a[s])
"""

schedule = Schedule.cosine(1000)
T, a = len(schedule), schedule.alpha_bar


def variance(t, s, eta):
    return eta**2 * (1 - a[s]) / (1 - a[t]) * (1 - a[t] / a[s])


# The step without x0

point = Task(
    "ddim-point",
    ("step_in_eps",),
    minutes=15,
    difficulty=1,
    example="step_in_eps(torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64), 500, 400, 0.5, torch.ones(3, dtype=torch.float64))",
    vary={"c": (0, 1, 0.5, 2)},
    twist="The network of your version does not predict $\\epsilon$ but the mixture $\\epsilon - {c}\\, x_0$ (with factor 1 this is the velocity "
          "along the straight line from $x_0$ to $\\epsilon$). This is what the argument `eps` holds. Noises and $\\sigma$ are what they were.",
)
ETAS = (0.0, 0.5, 1.0)


def jumps(case):
    drawn = case.uniform(4, 2, low=1, high=T, stream=9).round().long().sort(1, descending=True).values.tolist()
    return [(T, 400), (700, 699), (500, 20), (300, 0), *((t, s) for t, s in drawn if t > s)]


def carried(answers, case, x0, eps, t, s, eta, z):
    """What the step makes of x_t = sqrt(a_t) x0 + sqrt(1 - a_t) eps for a network that is right."""
    return tensor(answers.step_in_eps(q_sample(schedule, x0, t, eps), eps - case.c * x0, t, s, eta, z), len(x0))


@point.part(1, "the picture arrives at its new strength, in any jump and for any eta")
def strength(answers, case):
    x0, eps = case.normal(2, 6)
    for t, s in jumps(case):
        for eta in ETAS:
            one, other = (carried(answers, case, x0, sign * eps, t, s, eta, 0 * eps) for sign in (1, -1))
            found, wanted = (one + other) / 2, a[s].sqrt() * x0
            assert close(found, wanted, 1e-8), (f"from {t} to {s} at eta = {eta}: the part of x0 = {x0[0]:.3f} in x_s is {found[0]:.4f}, "
                                                f"where x_s holds {wanted[0]:.4f} of it")


@point.part(1, "old and fresh noise together have variance 1 - alpha_bar_s")
def total(answers, case):
    x0, eps, z = case.normal(3, 6, stream=1)
    for t, s in jumps(case):
        for eta in ETAS:
            one, other = (carried(answers, case, x0, sign * eps, t, s, eta, 0 * eps) for sign in (1, -1))
            plus, minus = (carried(answers, case, x0, eps, t, s, eta, sign * z) for sign in (1, -1))
            old, fresh = (one - other) / (2 * eps), (plus - minus) / (2 * z)
            found, wanted = old**2 + fresh**2, torch.full_like(eps, float(1 - a[s]))
            assert close(found, wanted, 1e-8), f"from {t} to {s} at eta = {eta}: the noise of x_s has variance {found[0]:.5f}, not {wanted[0]:.5f}"
            assert bool((old > -1e-8).all()), f"from {t} to {s} at eta = {eta}: the old noise comes back with its sign turned"


@point.part(2, "eta = 1 draws from DDPM's posterior, and the fresh noise grows in proportion to eta")
def ancestral(answers, case):
    x0, eps, z = case.normal(3, 6, stream=2)
    for t, s in jumps(case):
        mean, var = q_posterior(schedule, x0, q_sample(schedule, x0, t, eps), t, s)
        found, wanted = carried(answers, case, x0, eps, t, s, 1.0, z), mean + var.sqrt() * z
        assert close(found, wanted, 1e-8), f"from {t} to {s} at eta = 1: {found[0]:.5f} came back, the posterior's draw is {wanted[0]:.5f}"
        for eta in (0.0, 0.3, 0.8):
            fresh = (carried(answers, case, x0, eps, t, s, eta, z) - carried(answers, case, x0, eps, t, s, eta, 0 * z)) / z
            wanted = eta * var.sqrt().expand(6)
            assert close(fresh, wanted, 1e-8), f"from {t} to {s} at eta = {eta}: sigma is {fresh[0]:.5f}, eta times the posterior's {wanted[0]:.5f}"


def stepping(case, keep_signal=lambda t, s: a[s].sqrt(), sigma2=variance, reduce=1, fresh=torch.sqrt):
    """A step for this version's network, with parts that can be wrong."""
    def step_in_eps(x, eps, t, s, eta, z):
        x0 = (x - (1 - a[t]).sqrt() * eps) / (a[t].sqrt() + case.c * (1 - a[t]).sqrt())
        noise, var = eps + case.c * x0, sigma2(t, s, eta)
        return keep_signal(t, s) * x0 + (1 - a[s] - reduce * var).clamp(min=0).sqrt() * noise + fresh(var) * z
    return step_in_eps


@point.mistake("The fresh noise comes on top of the old noise. In the family it takes the place of a part of it.")
def on_top(case):
    return stepping(case, reduce=0)


@point.mistake("The fresh noise is scaled by its variance. z has variance 1, so scale it by the standard deviation.")
def variance_for_deviation(case):
    return stepping(case, fresh=lambda var: var)


@point.mistake("The picture keeps the strength that it had at time t. On the way to s its factor changes, too.")
def old_strength(case):
    return stepping(case, keep_signal=lambda t, s: a[t].sqrt())


@point.mistake("The picture is scaled by alpha-bar at s. Variances go with alpha-bar, values with its square root.")
def strength_squared(case):
    return stepping(case, keep_signal=lambda t, s: a[s])


@point.mistake("x_t is stretched to the strength of s together with its noise, and then the noise for s is added to that. "
               "The stretched noise is still in it.")
def noise_twice(case):
    def step_in_eps(x, eps, t, s, eta, z):
        x0 = (x - (1 - a[t]).sqrt() * eps) / (a[t].sqrt() + case.c * (1 - a[t]).sqrt())
        return stepping(case)(x, eps, t, s, eta, z) + (a[s] / a[t]).sqrt() * (1 - a[t]).sqrt() * (eps + case.c * x0)
    return step_in_eps


@point.mistake("sigma is computed with the beta of the step from t - 1 to t. This step jumps from s, so it needs alpha-bar at t over alpha-bar at s.")
def neighbours_beta(case):
    return stepping(case, sigma2=lambda t, s, eta: eta**2 * (1 - a[s]) / (1 - a[t]) * schedule.betas[t])


@point.mistake("eta multiplies the variance here. It is a factor of the standard deviation.")
def eta_of_variance(case):
    return stepping(case, sigma2=lambda t, s, eta: eta * variance(t, s, 1.0))


# A grid for any number of steps

grid = Task(
    "ddim-grid",
    ("make_grid",),
    minutes=15,
    difficulty=1,
    example="make_grid(50, 7)",
    vary={"p": (1, 2, 3, 1.5)},
    twist="Your version takes shorter steps near the data: the $k$-th time from the end is to lie less than 1 away from "
          "$T\\,(k/n)^{{{p}}}$, or from $k$ where $k$ is larger. (Close to $t = 0$ the wanted times are less than 1 apart, and so every time "
          "is used.) All else stays, for every $1 \\le n \\le T$.",
)


def sizes(case):
    """All n for short lengths; for T = 1000 some where sums of floats go wrong, both ends, and some at random."""
    small = [(length, n) for length in (1, 7, 16) for n in range(1, length + 1)]
    drawn = case.uniform(4, low=2, high=500).round().long().tolist()
    return small + [(1000, n) for n in (1, 2, 3, 30, 61, 122, 150, 999, *drawn)]


def pairs_of(value):
    """Pairs of whole numbers as a tensor (n, 2)."""
    pairs = [[number(time) for time in sequence(pair, 2)] for pair in sequence(value)]
    assert pairs, "no pairs came back"
    broken = [pair for pair in pairs if not all(time.is_integer() for time in pair)]
    assert not broken, f"whole times are asked for, and the pair {tuple(broken[0])} came back"
    return torch.tensor(pairs, dtype=torch.float64)


def chained(pairs, first, last, n, where):
    assert len(pairs) == n, f"{where}: {len(pairs)} pairs came back"
    start, end = int(pairs[0, 0]), int(pairs[-1, 1])
    assert (start, end) == (first, last), f"{where}: it goes from {start} to {end}"
    gap = (pairs[:-1, 1] != pairs[1:, 0]).nonzero()
    assert not len(gap), f"{where}: a step ends at {int(pairs[gap[0], 1])}, and the next begins at {int(pairs[gap[0] + 1, 0])}"


@grid.part(2, "n pairs from T to 0, each s the next t")
def complete(answers, case):
    for length, n in sizes(case):
        chained(pairs_of(answers.make_grid(length, n)), length, 0, n, f"T = {length}, n = {n}")


@grid.part(1, "n steps, all of them down, from T on")
def decreasing(answers, case):
    for length, n in sizes(case):
        pairs = pairs_of(answers.make_grid(length, n))
        wrong = (pairs[:, 0] <= pairs[:, 1]).nonzero()
        assert not len(wrong), f"T = {length}, n = {n}: the pair {tuple(pairs[wrong[0, 0]].int().tolist())} does not go down"
        assert len(pairs) == n and pairs[0, 0] == length, f"T = {length}, n = {n}: {len(pairs)} pairs came back, the first from {int(pairs[0, 0])}"
        assert bool((pairs[1:, 0] < pairs[:-1, 0]).all()), f"T = {length}, n = {n}: a time occurs twice, or they rise"


@grid.part(2, "every time is less than 1 from where it should be")
def spaced(answers, case):
    for length, n in sizes(case):
        times = pairs_of(answers.make_grid(length, n))[:, 0].flip(0)
        assert len(times) == n, f"T = {length}, n = {n}: {len(times)} pairs came back"
        k = torch.arange(1, n + 1, dtype=torch.float64)
        off = (times - torch.maximum(length * (k / n) ** case.p, k)).abs()
        worst = int(off.argmax())
        assert off[worst] < 1 + 1e-9, f"T = {length}, n = {n}: time {worst + 1} from the end is {int(times[worst])}, and {off[worst]:.2f} off"


def paired(times):
    times = [int(time) for time in times]
    return list(zip(times, [*times[1:], 0]))


def wanted(case, length, n):
    return [max(k, math.floor(length * (k / n) ** case.p + 0.5)) for k in range(n, 0, -1)]


@grid.mistake("A range with a float step returns one time too many for some n, 61 of 1000 for one. "
              "Each time must come from a whole number of its own.")
def float_step(case):
    return lambda T, n: paired(np.round(T * (np.arange(T, 0, -T / n).clip(0) / T) ** case.p))


@grid.mistake("Here s is guessed from t, as t - T // n. It is right only where n divides T: the next time of the grid is s.")
def guessed_previous(case):
    return lambda T, n: [(t, max(t - T // n, 0)) for t in wanted(case, T, n)]


@grid.mistake("This is leading spacing: its first time is not T, unless n = T.")
def leading(case):
    return lambda T, n: paired(max(k + 1, round(T * (k / n) ** case.p)) for k in range(n - 1, -1, -1))


@grid.mistake("The times are spread evenly from T to 1, both included. So the last step has length 1, and the others are too long.")
def both_ends(case):
    return lambda T, n: paired([T] if n == 1 else [max(k + 1, round(1 + (T - 1) * (k / (n - 1)) ** case.p)) for k in range(n - 1, -1, -1)])


@grid.mistake("A whole stride T // n is too short where n does not divide T: more than n steps come out.")
def whole_stride(case):
    return lambda T, n: paired(range(T, 0, -(T // n)))


@grid.mistake("n times from T to 0 make n - 1 pairs: 0 is no time at which the network is called, and does not count.")
def one_too_few(case):
    def make_grid(T, n):
        times = [round(T * (k / (n - 1)) ** case.p) for k in range(n - 1, -1, -1)] if n > 1 else [T]
        return list(zip(times, times[1:]))
    return make_grid


@grid.mistake("These pairs go up, from data to noise. A sampler goes down, from T.")
def upwards(case):
    return lambda T, n: [(s, t) for t, s in reversed(paired(wanted(case, T, n)))]


# Three samplers, three bugs

bugs = Task(
    "ddim-bugs",
    ("mended",),
    minutes=20,
    difficulty=2,
    example="list(mended(modes.denoiser(schedule), torch.ones(2, 1, dtype=torch.float64), 4, 1.0, torch.Generator().manual_seed(0)))",
    vary={"until": (0, 300, 500, 700)},
    twist="In your version fresh noise is added only while the picture is very noisy: a step that begins at $t > {until}$ has "
          "the given $\\eta$, and every later step has $\\eta = 0$ and draws nothing from `generator`.",
)
at_the_edge = GaussianMixture([0.5, 0.5], torch.tensor([[-0.95], [0.9]], dtype=torch.float64), [0.1, 0.1]).denoiser(schedule)      # clipping matters


def known(value):
    """The denoiser of data that are one point."""
    return FunctionDenoiser(schedule, lambda x, t, cond: Prediction(x, schedule.at(t), "x0", torch.full_like(x, value)))


def run(answers, denoiser, x, n, eta, seed):
    """The steps that come back as (t, s, x), t and s ints."""
    generator = torch.Generator().manual_seed(seed)
    steps = [sequence(step, 3) for step in sequence(answers.mended(denoiser, x, n, eta, generator), n)]
    return [(int(number(t)), int(number(s)), tensor(state, *x.shape)) for t, s, state in steps]


def compare(answers, case, eta, n, stream, early):
    """The end of a run against that of `early` down to case.until, and deterministic steps from there."""
    x_T, generator = case.normal(40, 1, stream=stream), torch.Generator().manual_seed(case.seed % 1000 + stream)
    grid_pairs = timesteps(T, n)
    noisy, calm = [p for p in grid_pairs if p[0] > case.until], [p for p in grid_pairs if p[0] <= case.until]
    x = final(early(x_T, noisy, generator))
    x = final(ddim(clipped(at_the_edge), x, schedule, steps=calm)) if calm else x
    found = run(answers, at_the_edge, x_T, n, eta, case.seed % 1000 + stream)[-1][2]
    off = (found - x).abs().max()
    assert close(found, x, 1e-8), f"{n} steps from the same x_T with the same seed: the pictures differ by up to {off:.3g}"


@bugs.part(1, "at eta = 1 it is ancestral sampling, draw for draw")
def ancestral_run(answers, case):
    for n in (20, 12):
        compare(answers, case, 1.0, n, n, lambda x, steps, g: ddpm(clipped(at_the_edge), x, schedule, steps=steps, generator=g))


@bugs.part(2, "at eta between 0 and 1 it is the member of the family that eta names")
def between(answers, case):
    for eta in (0.4, 0.8):
        compare(answers, case, eta, 15, int(10 * eta), lambda x, steps, g: ddim(clipped(at_the_edge), x, schedule, steps=steps, eta=eta, generator=g))


@bugs.part(1, "where x0 is clipped, x_s is made of the clipped x0 and the noise that belongs to it")
def made_up(answers, case):
    x_T = case.normal(10, 1, stream=3)
    for edge, factor in zip((1.0, -1.0), case.uniform(2, low=1.2, high=2.0, stream=4).tolist()):
        start = (x_T - a[T].sqrt() * edge) / (1 - a[T]).sqrt()
        for t, s, x in run(answers, known(edge * factor), x_T, 10, 0.0, 0):
            off = (x - q_sample(schedule, torch.full_like(x, edge), s, start)).abs().max()
            assert off < 1e-8, f"x0-hat is {edge * factor:.2f}; at s = {s} the state is {off:.3g} from what {edge:g} and the noise of the start give"


@bugs.part(1, "n steps from T to 0, each s the next t")
def whole_grid(answers, case):
    for n in (150, 30, *case.uniform(1, low=8, high=60, stream=5).round().long().tolist()):
        steps = run(answers, known(0.5), torch.zeros(1, 1, dtype=torch.float64), n, 0.0, 0)
        chained(torch.tensor([(t, s) for t, s, _ in steps], dtype=torch.float64), T, 0, n, f"n = {n}")


def sampling(case, guess=lambda denoiser, x, t: denoiser(x, t).clamp(1.0), sigma2=variance, following=lambda t, s, n: s, keep=1, after=lambda x: x):
    """A sampler of this version, with parts that can be wrong; guess gives something with x0 and eps."""
    def mended(denoiser, x, n, eta, generator):
        for t, s in timesteps(T, n):
            s, now = following(t, s, n), eta if t > case.until else 0.0
            prediction, var = guess(denoiser, x, t), sigma2(t, s, now)
            x = a[s].sqrt() * prediction.x0 + (1 - a[s] - keep * var).clamp(min=0).sqrt() * prediction.eps
            if s > 0 and now > 0:
                x = x + var.sqrt() * torch.randn(x.shape, dtype=x.dtype, generator=generator)
            x = after(x)
            yield t, s, x
    return mended


class HalfClipped:
    """A prediction whose x0 is clipped while its eps stays."""

    def __init__(self, prediction):
        self.x0, self.eps = prediction.x0.clamp(-1, 1), prediction.eps


@bugs.mistake("The bug of sampler A is still there: the beta of one time is too small a variance for a jump over many.")
def bug_a(case):
    return sampling(case, sigma2=lambda t, s, eta: eta**2 * (1 - a[s]) / (1 - a[t]) * schedule.betas[t])


@bugs.mistake("The bug of sampler B is still there: x0 is clipped, and eps is the one that belonged to the unclipped x0.")
def bug_b(case):
    return sampling(case, guess=lambda denoiser, x, t: HalfClipped(denoiser(x, t)))


@bugs.mistake("The bug of sampler C is still there: s is computed from t, where it should come from the grid.")
def bug_c(case):
    return sampling(case, following=lambda t, s, n: max(t - T // n, 0))


@bugs.mistake("Nothing is clipped any more. The samplers clip x0 on purpose: what has to follow is eps.")
def unclipped(case):
    return sampling(case, guess=lambda denoiser, x, t: denoiser(x, t))


@bugs.mistake("The state x is clipped instead of x0. A noisy state lies outside [-1, 1] rightly.")
def clipped_state(case):
    return sampling(case, guess=lambda denoiser, x, t: denoiser(x, t), after=lambda x: x.clamp(-1, 1))


@bugs.mistake("eta multiplies the variance, where it belongs to the standard deviation. At eta = 1 nobody sees it.")
def eta_unsquared(case):
    return sampling(case, sigma2=lambda t, s, eta: eta * variance(t, s, 1.0))


@bugs.mistake("The variance of the mended step is that of the forward step, 1 - alpha_bar_t / alpha_bar_s. The posterior's has another factor.")
def forward_variance(case):
    return sampling(case, sigma2=lambda t, s, eta: eta**2 * (1 - a[t] / a[s]))


@bugs.mistake("The old noise is not reduced by what fresh noise adds, so there is more noise than the schedule says.")
def not_reduced(case):
    return sampling(case, keep=0)


# The best grid for Gaussian data

angles = Task(
    "ddim-angles",
    ("best_grid",),
    minutes=25,
    difficulty=3,
    example="best_grid(5, 0.25)",
    vary={"end": (0, 100, 200, 300)},
    twist="The sampler of your version hands its state over to another model at $t = {end}$: `best_grid` returns $n$ pairs from $T$ to {end}, "
          "and the share to keep is $\\prod \\cos^2\\theta_k$ over these $n$ steps. No time below {end} is used.",
)


def angle_of(v):
    """The angle of u_t against the axis of pure signal, for t = 0 .. T."""
    return torch.atan2((1 - a).sqrt(), (a * v).sqrt())


def kept(times, v):
    """log of the share of the variance that deterministic steps keep; times (.., n + 1)."""
    return 2 * angle_of(v)[times].diff(dim=-1).cos().log().sum(-1)


def requests(case):
    """(n, v) where even steps in t are clearly not the best, in either direction."""
    low, high = case.uniform(2, low=0.01, high=0.2, stream=1).tolist(), case.uniform(2, low=4.0, high=10.0, stream=2).tolist()
    return [(20, 0.01), (12, 0.25), (20, 10.0), (6, low[0]), (15, low[1]), (8, high[0]), (16, high[1])]


def best(answers, case, n, v):
    """The times of the grid that comes back, (n + 1,)."""
    pairs = pairs_of(answers.best_grid(n, v))
    chained(pairs, T, case.end, n, f"n = {n}, v = {v:.3g}")
    assert bool((pairs[:, 0] > pairs[:, 1]).all()), f"n = {n}, v = {v:.3g}: not every step goes down"
    return torch.cat([pairs[:, 0], pairs[-1:, 1]]).long()


@angles.part(1, "n pairs that go down from T, each s the next t; for v = 1, too, hardly any of the variance is lost")
def a_grid(answers, case):
    for n in (1, 2, 20):
        times = best(answers, case, n, 1.0)
        total = float(angle_of(1.0)[T] - angle_of(1.0)[case.end])
        bound = 2 * n * math.log(max(math.cos(total / n), 1e-9))
        mine = kept(times, 1.0)
        assert n == 1 or mine > 1.02 * bound, f"n = {n}, v = 1: the share that is kept is {mine.exp():.4f}; {math.exp(bound):.4f} can be had"


@angles.part(2, "no even spacing in t and no random grid keeps more")
def no_rival(answers, case):
    for n, v in requests(case):
        mine = kept(best(answers, case, n, v), v)
        even = kept(torch.linspace(T, case.end, n + 1, dtype=torch.float64).round().long(), v)
        assert mine > even, f"n = {n}, v = {v:.3g}: {mine.exp():.4f} of the variance is kept, with even steps in t {even.exp():.4f}"
        generator = case.generator(3)
        inner = [case.end + 1 + torch.randperm(T - case.end - 1, generator=generator)[: n - 1].sort().values for _ in range(100)]
        rivals = torch.stack([torch.cat([torch.tensor([case.end]), times, torch.tensor([T])]) for times in inner])
        rival = kept(rivals, v).max()
        assert mine > rival, f"n = {n}, v = {v:.3g}: {mine.exp():.4f} of the variance is kept, by a random grid {rival.exp():.4f}"


@angles.part(2, "hardly more could be kept by any angles")
def near_bound(answers, case):
    for n, v in requests(case):
        mine = kept(best(answers, case, n, v), v)
        total = float(angle_of(v)[T] - angle_of(v)[case.end])
        bound = 2 * n * math.log(math.cos(total / n))
        assert mine > 1.02 * bound, f"n = {n}, v = {v:.3g}: the share that is kept is {mine.exp():.4f}; {math.exp(bound):.4f} can be had"


def even_in(clock, case):
    """Steps that are even in a clock: a function of v that gives a monotone table over t = 0 .. T. Times that would repeat are moved apart."""
    def best_grid(n, v):
        table = clock(v)
        wanted = torch.linspace(float(table[T]), float(table[case.end]), n + 1, dtype=torch.float64)
        times = [T, *((table - w).abs().argmin().item() for w in wanted[1:-1]), case.end]
        for k in range(1, n):
            times[k] = max(min(times[k], times[k - 1] - 1), case.end + n - k)
        return list(zip(times, times[1:]))
    return best_grid


@angles.mistake("The steps are even in t, whatever v is. What should be even depends on v.")
def even_in_time(case):
    return even_in(lambda v: torch.arange(T + 1, dtype=torch.float64), case)


@angles.mistake("The angles are those of data of variance 1. The signal's axis must be measured in the data's own standard deviation.")
def v_forgotten(case):
    return even_in(lambda v: angle_of(1.0), case)


@angles.mistake("The signal of x_t has variance alpha_bar v, so its length is that variance's root: v is not under a root here.")
def v_without_root(case):
    return even_in(lambda v: angle_of(v**2), case)


@angles.mistake("The root is taken twice: the signal's length is the root of alpha_bar v, and v is a variance already.")
def root_twice(case):
    return even_in(lambda v: angle_of(v**0.5), case)


@angles.mistake("The steps are even in the noise-to-signal ratio. That ratio is the tangent of the angle, and it is the angles that should be even.")
def even_in_ratio(case):
    return even_in(lambda v: ((1 - a) / (a * v)).sqrt(), case)


@angles.mistake("The steps are even in the logarithm of the signal-to-noise ratio. The loss of a step depends on its angle.")
def even_in_log_snr(case):
    return even_in(lambda v: ((1 - a).clamp(min=1e-6) / (a * v)).log(), case)


@angles.mistake("The steps are even in alpha-bar, which knows nothing of v.")
def even_in_alpha_bar(case):
    return even_in(lambda v: a, case)


@angles.mistake("The angles grow or shrink along the way. log cos is concave, so unequal angles with the same sum lose more.")
def growing_angles(case):
    return even_in(lambda v: angle_of(v) ** 2, case)


ESSAY = Essay(
    question="""\
A colleague has an exact denoiser (so no error comes from a network) for data with three modes, the smallest of weight 0.1. She draws with $n$ steps
of DDIM and writes in her report:

> (a) At $\\eta = 0$ the same $x_T$ always gives the same picture, at $\\eta = 1$ it does not. So sampling at $\\eta = 0$ loses diversity, and small
> modes starve.
>
> (b) The marginals $q(x_t \\mid x_0)$ are the same for every $\\eta$ and on every grid of times. So the law of my samples is the same for 5 and for
> 500 steps and for every $\\eta$.
>
> (c) With the larger variance $\\hat\\sigma^2 = 1 - \\bar\\alpha_t / \\bar\\alpha_s$ the variance of my samples was right at 5 steps and wrong at 20.
> So 5 steps are the better choice there.

Judge each of the three claims in a few sentences: what in it is true, where exactly the argument breaks, and what you expect to see instead. For (a)
and (b) name one measurement, with a number that you would expect, that would convince her.""",
    rubric="""\
- (a) 2 points. True: at eta = 0 the picture is a function of x_T. The break: the variety *across* samples comes from x_T, and the flow carries all of
  N(0, I) onto all of the data; what is given up is variety *given* x_T (1). Measurement: the shares
  of the modes among many samples from many x_T, about 0.1 for the small one with many steps; with few steps the share is off by a percent or two, and
  at eta = 1 by no less than at eta = 0 (1).
- (b) 2 points. True for the process that *knows* x0. The sampler puts the mean x0-hat in its place and loses k^2 Cov[x0 | x_t] in each step (1). So
  with 5 steps the samples are too narrow, with an error that falls like 1/n, and larger at
  eta = 1 than at eta = 0, since k grows with eta. Measurement: the variance (or the width of a mode) against n, e.g. the error falls by about 2 for
  twice the steps (1).
- (c) 2 points. Two errors of opposite sign meet: the loss through x0-hat, and the surplus of sigma-hat, which adds noise on top of the old instead of
  replacing a part of it (1). They cancel at one number of steps for one variance of the
  data; for another direction or another data set the crossing lies elsewhere, so it is luck, and the rest of the law is not right either (1).

Typical wrong answers: "(a) is right, but one can raise eta a little"; "(b) fails because of rounding" or "because the network is not exact" (it is);
"(c) the fresh noise corrects errors" (it may with a network, but here the denoiser is exact).""",
    points=6,
    minutes=20,
)

SET = ProblemSet("ddim", "Deterministic and few-step sampling", "03_algorithms/02_ddim", SETUP, [point, grid, bugs, angles], ESSAY)
