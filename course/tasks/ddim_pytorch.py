"""Graders of section 5.2, DDIM in PyTorch."""

import math

import numpy as np
import torch

from diffusion_core import GaussianMixture, Prediction, Schedule, ddim, final, guided, q_sample, timesteps
from diffusion_core.denoisers import FunctionDenoiser
from diffusion_core.gaussian import posterior_variance

from ..task import Case, Essay, ProblemSet, Task, close, number, sequence, tensor

SETUP = """\
import math

import torch

from diffusion_core import GaussianMixture, Prediction, Schedule, ddim, final, guided, q_sample, timesteps

schedule = Schedule.cosine(1000)
T, a = len(schedule), schedule.alpha_bar                     # a[t] is alpha_bar_t; float64
alpha, sigma = a.sqrt(), (1 - a).sqrt()
rho = sigma / alpha                                          # noise over signal, 0 at t = 0
lam = (alpha / sigma).log()                                  # infinite at t = 0

# Three modes on a line, and their exact denoiser: to try things on. Part k has label k.
centres = torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64)
mixture = GaussianMixture(torch.tensor([0.2, 0.3, 0.5]), centres, torch.full((3,), 0.4**2), labels=torch.arange(3))
oracle = mixture.denoiser(schedule)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)
"""
schedule = Schedule.cosine(1000)
T, a = len(schedule), schedule.alpha_bar
alpha, sigma = a.sqrt(), (1 - a).sqrt()
mixture = GaussianMixture(torch.tensor([0.2, 0.3, 0.5]), torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64), torch.full((3,), 0.4**2),
                          labels=torch.arange(3))
oracle = mixture.denoiser(schedule)


def gaussian(m, v):
    """The exact denoiser of data N(m, v) on a line."""
    return GaussianMixture([1.0], torch.full((1, 1), m, dtype=torch.float64), [v]).denoiser(schedule)


def made_up(asked=None):
    """A denoiser of no data at all, for tensors of any shape; the times it is asked for are appended to `asked`."""

    def predict(x_t, t, cond):
        t = int(torch.as_tensor(t).flatten()[0])
        if asked is not None:
            asked.append(t)
        return Prediction(x_t, schedule.at(t), "v", (3 * x_t).sin() + t / T)

    return FunctionDenoiser(schedule, predict)


# A grid that is even in noise level, from any time, in any number of steps

grid = Task(
    "practice-ddim-grid",
    ("level_grid",),
    minutes=20,
    difficulty=2,
    example="level_grid(900, 5)",
    vary={"root": (0, 3, 5, 7)},
    twist="Your version spaces the noise as Karras et al. do: in place of $\\lambda$, the levels are even in $\\rho^{{1/{root}}}$, where "
          "$\\rho = \\sqrt{{1 - \\bar\\alpha}} / \\sqrt{{\\bar\\alpha}}$ is the array `rho`.",
)
FEW = ((1000, 4), (990, 9), (900, 8), (600, 12), (300, 5), (40, 3), (7, 2))
MANY = ((1, 1), (2, 2), (2, 1), (7, 5), (7, 7), (40, 39), (150, 150), (990, 61), (1000, 400))


def heights(case):
    """What the levels are even in, falling with the noise: minus lambda, or a root of rho; infinite at t = 0, which no level is at."""
    height = (sigma / alpha).log() if case.root == 0 else (sigma / alpha) ** (1 / case.root)
    return torch.cat([torch.tensor([-math.inf], dtype=torch.float64), height[1:]])


def nearest(case, t0, n, last=1):
    """The times nearest to n levels from t0 to `last`."""
    height = heights(case)
    return (height[None, :] - torch.linspace(float(height[t0]), float(height[last]), n, dtype=torch.float64)[:, None]).abs().argmin(1).tolist()


def some(case, stream):
    """Two more requests of few steps."""
    return [(t0, 3 + t0 // 200) for t0 in case.uniform(2, low=100, high=999, stream=stream).int().tolist()]


def times(answers, t0, n):
    """The n times of a grid, which is looked at from all sides first."""
    pairs = [tuple(number(time) for time in sequence(pair, 2)) for pair in sequence(answers.level_grid(t0, n), n)]
    where = f"t0 = {t0}, n = {n}: "
    assert all(time == int(time) for pair in pairs for time in pair), where + "a time is no whole number"
    assert pairs[0][0] == t0, where + f"the first pair is {pairs[0]}"
    assert pairs[-1][1] == 0, where + f"the last pair is {pairs[-1]}"
    assert all(s == t for (_, s), (t, _) in zip(pairs, pairs[1:])), where + "an s is not the next t"
    assert all(t > s for t, s in pairs), where + f"the step {next(pair for pair in pairs if pair[0] <= pair[1])} does not lead down"
    return [int(t) for t, _ in pairs]


@grid.part(1, "few steps: n pairs from t0 down to clean data, each s the next t")
def chain(answers, case):
    for t0, n in (*FEW, *some(case, 0)):
        times(answers, t0, n)


@grid.part(1, "the same for every n up to t0")
def crowd(answers, case):
    for t0, n in MANY:
        times(answers, t0, n)


@grid.part(2, "few steps: each time is the one nearest to its level")
def levels(answers, case):
    for t0, n in (*FEW, *some(case, 1)):
        wanted = nearest(case, t0, n)
        if len(set(wanted)) == n:
            for k, (t, ideal) in enumerate(zip(times(answers, t0, n), wanted, strict=True)):
                assert abs(t - ideal) <= 1, f"t0 = {t0}, n = {n}: time {k} is {t}, and {ideal} is nearest to its level"


@grid.part(1, "many steps: none is longer than even ones would be, unless it is from one time to the next")
def as_even_as_can_be(answers, case):
    height = heights(case)
    around = torch.cat([height.diff(), torch.zeros(1)]).maximum(torch.cat([torch.zeros(1), height.diff()]))       # the wider gap beside a time
    for t0, n in ((990, 60), (1000, 100), (700, 120)):
        even, grid = float(height[t0] - height[1]) / (n - 1), times(answers, t0, n)
        for t, s in zip(grid, grid[1:]):
            longest = even + float(around[t] + around[s]) / 2 + 1e-9
            assert t - s == 1 or height[t] - height[s] <= longest, f"t0 = {t0}, n = {n}: the step from {t} to {s} is longer than even ones"


def repaired(nearest, t0):
    """Times that come nearest to some wanted ones, as numbers that go down from t0 to at least 1."""
    found, n = [t0, *nearest[1:]], len(nearest)
    for k in range(1, n):
        found[k] = min(found[k], found[k - 1] - 1)
    return [max(t, n - k) for k, t in enumerate(found)]


def paired(times):
    return list(zip(times, [*times[1:], 0], strict=True))


@grid.mistake("The grid is even in t, as `timesteps` makes it. It should be even in the level of the noise.")
def even_in_time(case):
    return lambda t0, n: timesteps(t0, n)


@grid.mistake("Several levels fall on the same time, so some steps lead nowhere: after rounding, times have to be moved apart.")
def not_repaired(case):
    return lambda t0, n: paired([t0, *nearest(case, t0, n)[1:]])


@grid.mistake("Times that come twice are dropped. That leaves fewer steps than were asked for.")
def dropped(case):
    return lambda t0, n: paired(sorted({t0, *nearest(case, t0, n)[1:]}, reverse=True))


@grid.mistake("The repair looks only downwards. At the clean end it runs out of times, so the times there have to leave room for those that follow.")
def out_of_room(case):
    def level_grid(t0, n):
        found = [t0, *nearest(case, t0, n)[1:]]
        for k in range(1, n):
            found[k] = min(found[k], found[k - 1] - 1)
        return paired(found)
    return level_grid


@grid.mistake("The last pair ends at s = 1: the sampler would return a picture with noise in it.")
def stops_at_one(case):
    def level_grid(t0, n):
        found = repaired(nearest(case, t0, n + 1), t0)
        return list(zip(found, found[1:], strict=False))
    return level_grid


@grid.mistake("s is not the time before t in the table, t - 1. It is the next time of the grid.")
def one_below(case):
    return lambda t0, n: [(t, t - 1) for t, _ in paired(repaired(nearest(case, t0, n), t0))]


@grid.mistake("Times are numbers of rows in a table: a time between two of them has no entry. Round.")
def not_rounded(case):
    def level_grid(t0, n):
        height = heights(case)[1:].numpy()
        return paired(np.interp(np.linspace(height[t0 - 1], height[0], n), height, np.arange(1.0, T + 1)).tolist())
    return level_grid


@grid.mistake("The levels start at T, whatever t0 is. An edit that starts at t0 needs its levels from there on.")
def from_the_top(case):
    return lambda t0, n: paired(repaired(nearest(case, T, n), T))


@grid.mistake("The levels are even in rho, noise over signal, itself. Then nearly all steps lie where there is hardly anything but noise.")
def even_in_noise(case):
    plain = Case(root=1)
    return lambda t0, n: paired(repaired(nearest(plain, t0, n), t0))


# Inversion by plain steps upwards

invert = Task(
    "practice-ddim-invert",
    ("inversion",),
    minutes=15,
    difficulty=2,
    example="inversion(oracle, torch.ones(3, 1, dtype=torch.float64), timesteps(T, 10))",
    vary={"first": (1, 8, 15, 30)},
    twist="The network of your version has never seen times below {first}. A state at an earlier $s$, clean pictures included, counts as "
          "$x_{{{first}}}$: ask the denoiser for $t = {first}$ there.",
)


def up(x, m, v, pairs, first):
    """Inversion of data N(m, v) with the exact denoiser, from the arrows: u_s . u_t / |u_s|^2 a step."""
    for t, s in reversed(pairs):
        s = max(s, first)
        turn = (alpha[s] * alpha[t] * v + sigma[s] * sigma[t]) / (a[s] * v + 1 - a[s])
        x = alpha[t] * m + turn * (x - alpha[s] * m)
    return x


@invert.part(2, "one step up is made of the x0 and the eps that the denoiser gives at its start")
def one_step(answers, case):
    network = made_up()
    for k, (t, s) in enumerate(((1000, 960), (500, 300), (60, 33), (33, 5), (5, 2), (10, 0), (400, 0))):
        x = case.normal(2, 1, 3, 3, stream=k)
        said = network(x, max(s, case.first))
        found = tensor(answers.inversion(network, x, [(t, s)]), 2, 1, 3, 3)
        gap = float((found - alpha[t] * said.x0 - sigma[t] * said.eps).abs().max())
        assert close(gap, 0), f"from s = {s} to t = {t}: off by {gap:.2g}"


@invert.part(1, "Gaussian data arrive with the mean and the width that the angles of the steps give")
def width(answers, case):
    uneven = [(1000, 850), (850, 400), (400, 60), (60, 10), (10, 0)]
    for k, (m, v, pairs) in enumerate(((0.0, 0.25, timesteps(T, 40)), (0.5, 1.0, timesteps(600, 20)), (-0.3, 0.0025, uneven))):
        x = m + v**0.5 * case.normal(5, 1, stream=k)
        found, wanted = tensor(answers.inversion(gaussian(m, v), x, pairs), 5, 1), up(x, m, v, pairs, case.first)
        gap = float((found - wanted).abs().max())
        assert close(gap, 0), f"data N({m}, {v}), {len(pairs)} steps up: off by {gap:.2g}"


@invert.part(1, "the error of a round trip halves when the steps are doubled")
def halves(answers, case):
    x, _ = mixture.sample(100, case.generator())
    down = FunctionDenoiser(schedule, lambda x_t, t, cond: oracle(x_t, max(t, case.first), cond))
    errors = []
    for n in (20, 40, 80):
        noise = tensor(answers.inversion(oracle, x, timesteps(T, n)), 100, 1)
        errors.append(float((final(ddim(down, noise, schedule, steps=n)) - x).abs().median()))
    for n, before, after in zip((20, 40), errors, errors[1:], strict=False):
        assert 1.6 * after < before < 2.5 * after, f"from {n} to {2 * n} steps the median error goes from {before:.3g} to {after:.3g}"


@invert.mistake("The denoiser is asked at the time the step goes to, so it takes x for noisier than it is. Ask at the time that x is at.")
def ahead_of_time(case):
    def inversion(denoiser, x, pairs):
        for t, s in reversed(pairs):
            eps = denoiser(x, t).eps
            x = alpha[t] * (x - sigma[s] * eps) / alpha[s] + sigma[t] * eps
        return x
    return inversion


@invert.mistake("The prediction is made for the noise of t and put together with the noise of t: that gives x back, whatever the network says.")
def nothing_happens(case):
    def inversion(denoiser, x, pairs):
        for t, _ in reversed(pairs):
            said = denoiser(x, t)
            x = alpha[t] * said.x0 + sigma[t] * said.eps
        return x
    return inversion


@invert.mistake("The steps are right, and they are gone through from the noisy end. Inversion starts at the clean picture.")
def downwards(case):
    def inversion(denoiser, x, pairs):
        for t, s in pairs:
            said = denoiser(x, max(s, case.first))
            x = alpha[t] * said.x0 + sigma[t] * said.eps
        return x
    return inversion


@invert.mistake("The noise is drawn anew at every step. That makes some noise, not the one that leads back to this picture.")
def any_noise(case):
    def inversion(denoiser, x, pairs):
        generator = torch.Generator().manual_seed(0)
        for t, s in reversed(pairs):
            x = alpha[t] * denoiser(x, max(s, case.first)).x0 + sigma[t] * torch.randn(x.shape, dtype=x.dtype, generator=generator)
        return x
    return inversion


@invert.mistake("The strengths of signal and noise at t are the roots of alpha_bar and of 1 - alpha_bar.")
def no_roots(case):
    def inversion(denoiser, x, pairs):
        for t, s in reversed(pairs):
            said = denoiser(x, max(s, case.first))
            x = a[t] * said.x0 + (1 - a[t]) * said.eps
        return x
    return inversion


@invert.mistake("The clean picture takes the place of the predicted one. The predicted noise belongs to the predicted picture: use both.")
def knows_the_picture(case):
    def inversion(denoiser, x, pairs):
        picture = x
        for t, s in reversed(pairs):
            x = alpha[t] * picture + sigma[t] * denoiser(x, max(s, case.first)).eps
        return x
    return inversion


# Three edits with a mistake each

MARKS = {                                                            # new, kept
    "1 where the picture is made anew and 0 where it is kept": (1, 0),
    "0 where the picture is made anew and 1 where it is kept": (0, 1),
    "0 where the picture is made anew and 255 where it is kept": (0, 255),
    "-1 where the picture is made anew and 1 where it is kept": (-1, 1),
}
edits = Task(
    "practice-ddim-bugs",
    ("between_mended", "strokes_mended", "keep_mended"),
    minutes=20,
    difficulty=2,
    example="between_mended(torch.ones(4), -torch.ones(4), 0.5, 600, seeded(1))",
    vary={"marks": tuple(MARKS), "eta": (0.0, 0.4, 0.7, 1.0)},
    twist="In your version the mask of `keep_mended` is {marks}, and linear in between. `strokes_mended` samples with fresh noise: $\\eta = {eta}$, "
          "drawn from the same generator after the noise for the guide.",
)


@edits.part(1, "between: the pictures are mixed with 1 - u and u, and the noise has its full strength at every u")
def full_strength(answers, case):
    x, other = case.normal(8, 1, 50, 50), case.uniform(8, 1, 50, 50, low=-1, high=1)
    for u, t0 in ((0.0, 600), (0.3, 200), (0.5, 600), (0.8, 850), (1.0, 400)):
        state = tensor(answers.between_mended(x, other, u, t0, case.generator(1)), 8, 1, 50, 50)
        noise = (state - alpha[t0] * ((1 - u) * x + u * other)) / sigma[t0]
        assert close(noise.std(), 1, 0.04), f"u = {u}, t0 = {t0}: beside the mixed pictures the state has the sd {noise.std():.2f} sigma"


@edits.part(1, "strokes: the sampler goes from t0 down to clean data in n steps")
def starts_at_t0(answers, case):
    for t0, n in ((500, 20), (777, 13), (60, 5)):
        asked = []
        guide = case.normal(2, 1, 3, 3)
        tensor(answers.strokes_mended(made_up(asked), guide, t0, n, case.generator(1)), 2, 1, 3, 3)
        assert asked == [t for t, _ in timesteps(t0, n)], f"t0 = {t0}, n = {n}: the denoiser was asked at the times {asked[:3]} .. {asked[-1:]}"


def kept_share(v, t0, n, eta):
    """Of data N(m, v): the share of the guide's distance from m that is left after n steps from t0, and the sd of the result."""
    share, variance = float(alpha[t0]), float(1 - a[t0])
    for t, s in timesteps(t0, n):
        fresh = eta**2 * float(posterior_variance(schedule, t, s))
        whole = float(a[t] * v + 1 - a[t])
        keep = float(alpha[s] * alpha[t]) * v / whole + math.sqrt(max(float(1 - a[s]) - fresh, 0.0)) * float(sigma[t]) / whole
        share, variance = keep * share, keep**2 * variance + (fresh if s > 0 else 0)
    return share, math.sqrt(variance)


@edits.part(1, "strokes: of Gaussian data, the guide is kept and the noise turned into data as they should be")
def guide_kept(answers, case):
    for m, v, t0, n in ((0.2, 0.25, 500, 30), (-0.4, 1.0, 800, 20), (0.3, 0.5, 400, 1)):
        ends = []
        for guide in (1.0, 0.0):
            x = torch.full((4000, 1), guide, dtype=torch.float64)
            ends.append(tensor(answers.strokes_mended(gaussian(m, v), x, t0, n, case.generator(1)), 4000, 1))
        share, sd = kept_share(v, t0, n, case.eta)
        found, spread = float((ends[0] - ends[1]).mean()), float(ends[1].std())
        where = f"data N({m}, {v}), t0 = {t0}, n = {n}: "
        assert close(found, share, 1e-6), where + f"from one seed {found:.3f} of the difference of two guides is left, not {share:.3f}"
        assert close(spread, sd, 0.06 * sd), where + f"edits of one guide have the sd {spread:.3f}, not {sd:.3f}"


@edits.part(2, "keep: x0 is the picture where it is kept, the network's elsewhere, and x0 and eps make up x_t")
def one_statement(answers, case):
    picture, m = case.uniform(3, 1, 4, 4, low=-1, high=1), case.uniform(1, 1, 4, 4, stream=1).round(decimals=1)
    new, kept = MARKS[case.marks]
    m[..., 0, :], m[..., 1, :] = 0, 1
    for k, t in enumerate((30, 400, 800)):
        prediction = Prediction(case.normal(3, 1, 4, 4, stream=2 + k), schedule.at(t), "v", case.normal(3, 1, 4, 4, stream=5 + k))
        x0, eps = (tensor(part, 3, 1, 4, 4) for part in sequence(answers.keep_mended(prediction, picture, new * m + kept * (1 - m)), 2))
        wanted = m * prediction.x0 + (1 - m) * picture
        gap = float((x0 - wanted).abs().max())
        assert close(gap, 0), f"t = {t}: x0 is off by {gap:.2g}"
        gap = float((alpha[t] * x0 + sigma[t] * eps - prediction.x_t).abs().max())
        assert close(gap, 0), f"t = {t}: alpha x0 + sigma eps differs from x_t by {gap:.2g}"


def noise_like(x, generator):
    return torch.randn(x.shape, dtype=x.dtype, generator=generator)


def mended(case, **wrong):
    """The three functions as they should be, but for those in `wrong`."""
    new, kept = MARKS[case.marks]

    def between(x, other, u, t0, generator):
        return q_sample(schedule, (1 - u) * x + u * other, t0, noise_like(x, generator))

    def strokes(denoiser, guide, t0, n, generator):
        x = q_sample(schedule, guide, t0, noise_like(guide, generator))
        return final(ddim(denoiser, x, schedule, steps=timesteps(t0, n), eta=case.eta, generator=generator))

    def keep(prediction, picture, mask):
        m = (mask - kept) / (new - kept)
        said = prediction.with_x0(m * prediction.x0 + (1 - m) * picture)
        return said.x0, said.eps

    return {f"{name}_mended": wrong.get(name, function) for name, function in (("between", between), ("strokes", strokes), ("keep", keep))}


def two_noises(x, other, u, t0, generator):
    noise, noise_other = (noise_like(x, generator) for _ in range(2))
    return (1 - u) * q_sample(schedule, x, t0, noise) + u * q_sample(schedule, other, t0, noise_other)


def from_the_noisy_end(case):
    def strokes(denoiser, guide, t0, n, generator):
        x = q_sample(schedule, guide, t0, noise_like(guide, generator))
        return final(ddim(denoiser, x, schedule, steps=n, eta=case.eta, generator=generator))
    return strokes


def stale_eps(case):
    right = mended(case)["keep_mended"]
    return lambda prediction, picture, mask: (right(prediction, picture, mask)[0], prediction.eps)


@edits.mistake("Nothing is mended yet: look at the strength of a noise, at the time a sampler starts from, and at two numbers that belong together.")
def as_found(case):
    return mended(case, between=two_noises, strokes=from_the_noisy_end(case), keep=stale_eps(case))


@edits.mistake("`between`: two independent noises on a straight line are weaker than either of them.")
def weak_noise(case):
    return mended(case, between=two_noises)


@edits.mistake("`strokes`: the guide is as noisy as t0, and the sampler is told another time.")
def wrong_time(case):
    return mended(case, strokes=from_the_noisy_end(case))


@edits.mistake("`strokes`: the guide needs the noise of t0 before the sampler may take it for x at t0.")
def no_noise(case):
    def strokes(denoiser, guide, t0, n, generator):
        return final(ddim(denoiser, guide, schedule, steps=timesteps(t0, n), eta=case.eta, generator=generator))
    return mended(case, strokes=strokes)


@edits.mistake("`strokes`: the noise on the guide has another strength than that of t0. Its *variance* is 1 - alpha_bar.")
def weak_start(case):
    def strokes(denoiser, guide, t0, n, generator):
        x = alpha[t0] * guide + (1 - a[t0]) * noise_like(guide, generator)
        return final(ddim(denoiser, x, schedule, steps=timesteps(t0, n), eta=case.eta, generator=generator))
    return mended(case, strokes=strokes)


@edits.mistake("`strokes`: check how much fresh noise, which eta, the sampler is asked to draw on its way.")
def other_eta(case):
    def strokes(denoiser, guide, t0, n, generator):
        x = q_sample(schedule, guide, t0, noise_like(guide, generator))
        return final(ddim(denoiser, x, schedule, steps=timesteps(t0, n), eta=1.0 if case.eta < 1 else 0.0, generator=generator))
    return mended(case, strokes=strokes)


@edits.mistake("`keep`: x0 has changed and eps has not. Both are read from one x_t, so a new x0 means a new eps.")
def old_eps(case):
    return mended(case, keep=stale_eps(case))


@edits.mistake("`keep`: the mask is read the other way round, so the known part is made anew and the rest is kept.")
def mask_turned(case):
    right, (new, kept) = mended(case)["keep_mended"], MARKS[case.marks]
    return mended(case, keep=lambda prediction, picture, mask: right(prediction, picture, new + kept - mask))


@edits.mistake("`keep`: the noise is what is left of x_t when the *scaled* picture is taken away, in units of its strength.")
def unscaled(case):
    right = mended(case)["keep_mended"]

    def keep(prediction, picture, mask):
        x0, _ = right(prediction, picture, mask)
        return x0, (prediction.x_t - x0) / (1 - prediction.alpha_bar).sqrt()

    return mended(case, keep=keep)


# Inversion without error

exact = Task(
    "practice-ddim-exact",
    ("exact_inversion",),
    minutes=30,
    difficulty=3,
    example="exact_inversion(oracle, torch.ones(3, 1, dtype=torch.float64), timesteps(T, 10), 20)",
    vary={"w": (-1.0, 0.25, 0.5, 1.0)},
    twist="The way down of your version is *guided* towards label 1 with the weight $w = {w}$. At every $t$ it uses "
          "$\\hat x_0 = (1 + w)\\, \\hat x_0(x_t, t, y) - w\\, \\hat x_0(x_t, t)$ and the $\\hat\\epsilon$ that belongs to it. "
          "`denoiser(x, t, y)` takes a LongTensor $y$ with one label a row (here all are 1), and `denoiser(x, t)` is without a label. "
          "Invert that way down exactly.",
)


def labels(x):
    return torch.ones(len(x), dtype=torch.long)


def down(x, pairs, case):
    """The way down: w = -1 makes it the one without a label."""
    return final(ddim(guided(oracle, case.w), x, schedule, steps=pairs, cond=labels(x)))


def data(case, n, stream=0):
    return mixture.sample(n, case.generator(stream), cond=None if case.w == -1 else 1)[0]


def single_steps(answers, case, steps):
    for k, (t, s) in enumerate(steps):
        x = alpha[s] * data(case, 50, k) + sigma[s] * case.normal(50, 1, stream=k)
        found = tensor(answers.exact_inversion(oracle, x, [(t, s)], 20), 50, 1)
        gap = float((down(found, [(t, s)], case) - x).abs().max())
        assert close(gap, 0, 1e-6), f"the step from {t} down to {s} does not undo the one up, after 20 rounds: off by {gap:.2g}"


@exact.part(1, "single steps are undone where there is hardly anything but noise")
def near_noise(answers, case):
    single_steps(answers, case, ((1000, 970), (960, 900)))


@exact.part(1, "single steps are undone near clean data, and the first one from it")
def near_data(answers, case):
    single_steps(answers, case, ((120, 80), (30, 0), (8, 0)))


@exact.part(2, "the whole way down undoes the whole way up")
def round_trip(answers, case):
    x, pairs = data(case, 100, 9), timesteps(T, 16)
    again = down(tensor(answers.exact_inversion(oracle, x, pairs, 12), 100, 1), pairs, case)
    gap = float((again - x).abs().max())
    assert close(gap, 0, 1e-6), f"16 steps, 12 rounds each: a picture comes back with an error of {gap:.2g}"


def leaning(denoiser, case):
    """The prediction that the way down uses, as a function of x and t."""
    if case.w == -1:
        return denoiser
    both = guided(denoiser, case.w)
    return lambda x, t: both(x, t, labels(x))


def repeated(case, f):
    """A function like `exact_inversion` that repeats x <- f(denoiser, x, x_s, t, s)."""
    def exact_inversion(denoiser, x, pairs, rounds):
        for t, s in reversed(pairs):
            x_s = x
            for _ in range(rounds):
                x = f(leaning(denoiser, case), x, x_s, t, s)
        return x
    return exact_inversion


def turn(t, s):
    """Cosine and sine of the angle from s to t."""
    return alpha[t] * alpha[s] + sigma[t] * sigma[s], sigma[t] * alpha[s] - alpha[t] * sigma[s]


@exact.mistake("With eps on the right-hand side the iteration works near clean data and hardly contracts near T: there eps follows x one to one.")
def with_eps(case):
    return repeated(case, lambda denoiser, x, x_s, t, s: alpha[t] / alpha[s] * (x_s - sigma[s] * denoiser(x, t).eps) + sigma[t] * denoiser(x, t).eps)


@exact.mistake("With x0 on the right-hand side the iteration works near T. The step to s = 0 leaves x0 alone, so there it can not be solved for x.")
def with_x0(case):
    return repeated(case, lambda denoiser, x, x_s, t, s: sigma[t] / sigma[s] * (x_s - alpha[s] * denoiser(x, t).x0) + alpha[t] * denoiser(x, t).x0)


@exact.mistake("This is the plain step up, with the answers from its start. However often it is repeated, it does not look at x_t.")
def plain(case):
    def step(denoiser, x, x_s, t, s):
        said = denoiser(x_s, max(s, 1))
        return alpha[t] * said.x0 + sigma[t] * said.eps
    return repeated(case, step)


@exact.mistake("x_s has to stay what it is while x_t is improved. Here each round starts from the last one, so the steps add up.")
def moving_start(case):
    def step(denoiser, x, x_s, t, s):
        cos, sin = turn(t, s)
        return (x + sin * denoiser(x, t).v) / cos
    return repeated(case, step)


@exact.mistake("The sign of the rotation: up, the state turns towards the noise.")
def turned_back(case):
    def step(denoiser, x, x_s, t, s):
        cos, sin = turn(t, s)
        return (x_s - sin * denoiser(x, t).v) / cos
    return repeated(case, step)


@exact.mistake("A rotation up with the answer at the upper end is not the inverse of the rotation down: solve the step down for x_t.")
def rotated_up(case):
    def step(denoiser, x, x_s, t, s):
        cos, sin = turn(t, s)
        return cos * x_s + sin * denoiser(x, t).v
    return repeated(case, step)


@exact.mistake("The answer is asked for the time s. The way down asks at t, and so must the equation that undoes it.")
def asked_below(case):
    def step(denoiser, x, x_s, t, s):
        cos, sin = turn(t, s)
        return (x_s + sin * denoiser(x, max(s, 1)).v) / cos
    return repeated(case, step)


QUESTION = """\
In section 5.2 the noise that plain inversion finds for data $\\mathcal N(0, v)$ in $n$ steps is too short: its standard deviation is below 1 by the
product of the cosines of all steps. The last exercise inverts each step of the same sampler exactly instead.

1. Predict, with a reason, whether the noise that *exact* inversion finds for such data is too short, right, or too long, and by which factor.
   (For $v = 1$, think of what the sampler makes of noise with standard deviation 1.)
2. What becomes of both results as $n$ grows?
3. The page of an editing tool says: "Our inversion reproduces every photograph to the last digit. So the noise it finds is a fair draw of
   $\\mathcal N(0, I)$, and edits with guidance weight 7 keep everything that the new prompt does not mention." Which of the two conclusions follow
   from the first sentence? For each one, name a measurement that would test it.
"""
RUBRIC = """\
1. (2 points) Too long, by the inverse of the same product of cosines. The sampler takes noise of sd 1 to samples that are too narrow by that
   product. Real data are wider than what it makes of noise of sd 1, so the noise it needs for them is wider than 1. (1 point for "too long" with this
   reason or by a calculation: down, a step multiplies by u_s . u_t / |u_t|^2; exact inversion divides by it, which is |u_t| / (|u_s| cos theta).
   1 point for the factor.) No points for "right, since it is exact": exact means that it undoes the sampler, not that it follows the flow.
2. (1 point) Both products go to 1, with a difference of first order in 1/n: plain and exact inversion become the same flow, and the noise has sd 1.
   (No deduction for those who remark that u_1 stands for u_0 in the plain step.)
3. (3 points) Neither follows. The noise (1 point): reconstruction says only that down undoes up, which holds for any invertible map; inverted noise
   shows traces of the picture, and in finite steps it has the wrong length. The edit (1 point): with another prompt or weight the way down is another
   map than the one that was inverted, so the exactness says nothing about it. Measurements (1 point for both): length, sd over pixels that hardly
   vary, or correlation of neighbours in inverted noise against random draws; distance of pixels outside the edited part, or the share of pictures
   whose class or identity a classifier keeps, against the weight.
Typical wrong answers: "too short, as before"; "the noise is Gaussian because the sampler's noise is"; "guidance only adds what the prompt asks for".
"""
SET = ProblemSet("ddim_pytorch", "Inversion and editing", "05_practice/02_ddim_pytorch", SETUP, [grid, invert, edits, exact],
                 Essay(QUESTION, RUBRIC, 6, 25))
