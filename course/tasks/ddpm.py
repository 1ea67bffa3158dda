"""Graders of section 3.1, DDPM."""

import math

import torch

from diffusion_core import Prediction, Schedule, q_posterior, q_sample, timesteps
from diffusion_core.denoisers import FunctionDenoiser

from ..task import Essay, ProblemSet, Task, close, number, sequence, tensor

SETUP = """\
import math

import torch

from diffusion_core import GaussianMixture, Schedule, ddpm, final, q_posterior, q_sample, timesteps

linear = Schedule.linear(1000)

# Five petals in the plane, and their exact denoiser.
angle = 2 * math.pi * torch.arange(5, dtype=torch.float64) / 5 + math.pi / 2
outward, along = torch.stack([angle.cos(), angle.sin()], 1), torch.stack([-angle.sin(), angle.cos()], 1)
spread = sum(sd**2 * axis[:, :, None] * axis[:, None, :] for sd, axis in ((0.30, outward), (0.10, along)))
petals = GaussianMixture([0.30, 0.25, 0.20, 0.15, 0.10], 1.2 * outward, spread)
exact = petals.denoiser(linear)

# The exact denoiser of N(0, 0.25), and the variance of what the sampler makes with it.
gaussian = GaussianMixture([1.0], torch.zeros(1, 1).double(), [0.25]).denoiser(linear)


def sampled_variance(schedule, c2, pairs, variance):
    # Variance of the sampler's output for data N(0, c2), exact denoiser, exactly.
    V = torch.ones((), dtype=torch.float64)
    for t, s in pairs:
        a_t, a_s = schedule.alpha_bar[t], schedule.alpha_bar[s]
        keeps, g = a_t / a_s, a_t.sqrt() * c2 / (a_t * c2 + 1 - a_t)
        k = (a_s.sqrt() * (1 - keeps) * g + keeps.sqrt() * (1 - a_s)) / (1 - a_t)
        noise = 0.0 if s == 0 else (1 - keeps) * ((1 - a_s) / (1 - a_t) if variance == "small" else 1)
        V = k**2 * V + noise
    return float(V)
"""
linear = Schedule.linear(1000)


def of_normal(schedule, mean, c2):
    """The exact denoiser of N(mean, c2), each number by itself."""
    def predict(x, t, cond):
        a = schedule.at(t)
        gain = a.sqrt() * c2 / (a * c2 + 1 - a)
        return Prediction(x, a, "x0", mean + gain * (x - a.sqrt() * mean))
    return FunctionDenoiser(schedule, predict)


def multiplies(schedule, c2, t, s):
    """What a step does to the distance from the mean, for data of variance c2: k of the recursion."""
    a_t, a_s = schedule.alpha_bar[t].item(), schedule.alpha_bar[s].item()
    keeps, g = a_t / a_s, math.sqrt(a_t) * c2 / (a_t * c2 + 1 - a_t)
    return (math.sqrt(a_s) * (1 - keeps) * g + math.sqrt(keeps) * (1 - a_s)) / (1 - a_t)


# Another T


betas = Task(
    "ddpm-betas",
    ("amplitude_left", "short_betas"),
    minutes=10,
    difficulty=1,
    example="amplitude_left(100, 1e-4, 0.02), short_betas(100).sum()",
    vary={"digits": (None, 4, 5, 6)},
    twist="Your version asks for another schedule: the $\\beta_t$ of `short_betas(T)` are all equal, and $\\bar\\alpha_T = 10^{{-{digits}}}$.",
)
LENGTHS = (50, 100, 250)


@betas.part(1, "the amplitude that is left is right")
def amplitude(answers, case):
    drawn = case.uniform(3, 2, low=1e-4, high=0.1).sort().values.tolist()
    for T, start, end in ((100, 1e-4, 0.02), (1000, 1e-4, 0.02), (2, 0.1, 0.5), *((20 + 5 * k, *ends) for k, ends in enumerate(drawn))):
        kept = math.prod(1 - (start + (end - start) * k / (T - 1)) for k in range(T))
        found = number(answers.amplitude_left(T, start, end))
        assert close(found, math.sqrt(kept)), f"T = {T}, beta from {start:.3g} to {end:.3g}: {found:.6f} is left in place of {math.sqrt(kept):.6f}"


def schedule_of(answers, T):
    found = tensor(answers.short_betas(T), T)
    assert bool(((found > 0) & (found < 1)).all()), f"T = {T}: the betas lie between {found.min():.3g} and {found.max():.3g}"
    return Schedule.from_betas(found)


@betas.part(2, "the new betas are T, and leave as little of the picture at the end as they should")
def little_left(answers, case):
    for T in LENGTHS:
        schedule = schedule_of(answers, T)
        left, low, high = schedule.alpha_bar[-1].item(), schedule.betas[1:].min().item(), schedule.betas[1:].max().item()
        if case.digits is None:
            assert left < 1e-3, f"T = {T}: alpha_bar at T is {left:.2g}"
        else:
            assert close(left * 10**case.digits, 1, 1e-3), f"T = {T}: alpha_bar at T is {left:.4g} in place of 1e-{case.digits}"
            assert close(low, high, 1e-6), f"T = {T}: the betas lie between {low:.3g} and {high:.3g}, and have to be equal"


@betas.part(1, "started from N(0, I), the exact denoiser's samples of data of mean 2 have mean 2")
def mean_of_samples(answers, case):
    for T in LENGTHS:
        schedule = schedule_of(answers, T)
        off = schedule.alpha_bar[-1].sqrt().item() * math.prod(multiplies(schedule, 0.25, t, t - 1) for t in range(1, T + 1))
        assert abs(2 * off) < 0.01, f"T = {T}: the mean of the samples is {2 - 2 * off:.3f}"


def even(T, start, end):
    return torch.linspace(start, end, T, dtype=torch.float64)


def kept(T, start, end):
    return (1 - even(T, start, end)).prod()


def mends(case):
    """The right `short_betas`."""
    if case.digits is None:
        return lambda T: even(T, 0.1 / T, 20 / T)
    return lambda T: torch.full((T,), 1 - 10 ** (-case.digits / T), dtype=torch.float64)


def with_betas(short_betas):
    return {"amplitude_left": lambda *a: kept(*a).sqrt(), "short_betas": short_betas}


@betas.mistake("These are the paper's betas, from 1e-4 to 0.02. They belong to 1000 steps, and fewer of them add up to too little noise.")
def papers_ends(case):
    return with_betas(lambda T: even(T, 1e-4, 0.02))


@betas.mistake("The betas got smaller with fewer steps. Each step now has to do the work of several.")
def wrong_way(case):
    return with_betas(lambda T: even(T, 1e-4 * T / 1000, 0.02 * T / 1000))


@betas.mistake("The betas grow with the root of 1000 / T. But a beta is a share of the variance, and variances add up as they are.")
def by_the_root(case):
    return with_betas(lambda T: even(T, 1e-4, 0.02) * math.sqrt(1000 / T))


@betas.mistake("This picks betas out of the table of 1000. A beta is the noise of one short step, and the steps in between are lost.")
def picked_betas(case):
    return with_betas(lambda T: linear.betas[1000 // T :: 1000 // T])


@betas.mistake("alpha_bar_T is the share of the picture's variance that is left. Its amplitude is what multiplies x_0.")
def share_of_variance(case):
    return {"amplitude_left": kept, "short_betas": mends(case)}


@betas.mistake("This is the amplitude of the noise at t = T. Asked for is that of the picture.")
def of_the_noise(case):
    return {"amplitude_left": lambda *a: (1 - kept(*a)).sqrt(), "short_betas": mends(case)}


@betas.mistake("The picture's variance shrinks by a factor 1 - beta in each step. Factors multiply; exp(-beta) is right for small beta only.")
def by_the_sum(case):
    return {"amplitude_left": lambda *a: (-even(*a).sum() / 2).exp(), "short_betas": mends(case)}


# Detours cost nothing, if x0 is known


posterior = Task(
    "ddpm-posterior",
    ("coefficients", "compose"),
    minutes=20,
    difficulty=2,
    example="compose(coefficients(500, 300), coefficients(300, 20))",
    vary={"tau": (None, 0.5, 2.0, 3.0)},
    twist="Your version leaves the picture at full strength and has noise of another strength. With the table $\\bar\\alpha_t$ of `linear`, "
          "the state is $y_t = x_0 + \\sqrt{{{tau}\\,(1 - \\bar\\alpha_t) / \\bar\\alpha_t}}\\; \\epsilon$; from $s$ to $t$ independent noise "
          "is added to $y_s$. `coefficients(t, s)` gives $A$, $B$ and $v$ of $q(y_s \\mid y_t, x_0) = \\mathcal N(A x_0 + B y_t, v)$.",
)


def law(case, t):
    """What multiplies x0 in the state at t, and the variance of its noise."""
    a = linear.alpha_bar[t].item()
    return (math.sqrt(a), 1 - a) if case.tau is None else (1.0, case.tau * (1 - a) / a)


def step(case, t, s):
    """What multiplies the state on its way from s to t, and the variance that is added."""
    (scale_t, var_t), (scale_s, var_s) = law(case, t), law(case, s)
    return scale_t / scale_s, var_t - (scale_t / scale_s) ** 2 * var_s


def conditioned(case, t, s):
    """A, B and v from the joint law of the states at s and t given x0: the oracle."""
    (scale_t, var_t), (scale_s, var_s), (factor, _) = law(case, t), law(case, s), step(case, t, s)
    B = factor * var_s / var_t
    return scale_s - B * scale_t, B, var_s - B * factor * var_s


def after(first, second):
    (A1, B1, v1), (A2, B2, v2) = first, second
    return A2 + B2 * A1, B2 * B1, v2 + B2**2 * v1


def times_of(case, how_many, count, stream):
    """`how_many` lists of `count` different times, the latest first; the last list ends at 0."""
    drawn = [sorted((case.uniform(1000, stream=stream + k).argsort()[:count] + 1).tolist(), reverse=True) for k in range(how_many)]
    return [*drawn[:-1], [*drawn[-1][:-1], 0]]


def near(found, should):
    return close(found, should, 1e-9 * max(1.0, abs(should)))


def three(value):
    return [number(item) for item in sequence(value, 3)]


@posterior.part(1, "averaged over x_t, q(x_s | x_t, x0) is q(x_s | x0)")
def marginal(answers, case):
    for t, s in times_of(case, 8, 2, stream=10):
        A, B, v = three(answers.coefficients(t, s))
        (scale_t, var_t), (scale_s, var_s) = law(case, t), law(case, s)
        assert near(A + B * scale_t, scale_s), f"t = {t}, s = {s}: the mean is {A + B * scale_t:.6g} x0 in place of {scale_s:.6g} x0"
        assert near(v + B**2 * var_t, var_s), f"t = {t}, s = {s}: the variance is {v + B**2 * var_t:.6g} in place of {var_s:.6g}"


@posterior.part(2, "A, B and v are those of Bayes' rule")
def bayes(answers, case):
    for t, s in [(300, 299), *times_of(case, 8, 2, stream=20)]:
        for name, found, should in zip("ABv", three(answers.coefficients(t, s)), conditioned(case, t, s)):
            assert near(found, should), f"t = {t}, s = {s}: {name} is {found:.6g} in place of {should:.6g}"


@posterior.part(2, "one step after another is the step all the way")
def detour(answers, case):
    for t, u, s in times_of(case, 8, 3, stream=30):
        found = three(answers.compose(conditioned(case, t, u), conditioned(case, u, s)))
        for name, value, should in zip("ABv", found, conditioned(case, t, s)):
            assert near(value, should), f"t = {t}, u = {u}, s = {s}: {name} is {value:.6g}, and {should:.6g} without the detour"
    for first, second in case.uniform(3, 2, 3, low=0.1, stream=50).tolist():
        found = three(answers.compose(tuple(first), tuple(second)))
        for name, value, should in zip("ABv", found, after(first, second)):
            assert near(value, should), f"the steps {first} and {second}: {name} is {value:.6g} in place of {should:.6g}"


def by_formula(case, t, s, factor, added):
    (_, var_t), (scale_s, var_s) = law(case, t), law(case, s)
    return scale_s * added / var_t, factor * var_s / var_t, var_s * added / var_t


@posterior.mistake("The noise of the step is taken from the table at t, which is that from t - 1 to t. The step from s to t has more.")
def one_short_step(case):
    return {"coefficients": lambda t, s: by_formula(case, t, s, *step(case, t, t - 1)), "compose": after}


@posterior.mistake("v is the variance that the forward step from s to t adds. Knowing x0 as well leaves less.")
def forward_variance(case):
    return {"coefficients": lambda t, s: (*conditioned(case, t, s)[:2], step(case, t, s)[1]), "compose": after}


@posterior.mistake("This is q(x_s | x0), in which nothing is known of x_t. What x_t tells about x_s is missing.")
def not_looked_at(case):
    return {"coefficients": lambda t, s: (law(case, s)[0], 0.0, law(case, s)[1]), "compose": after}


@posterior.mistake("A and B have changed places: A multiplies x0 and B multiplies x_t.")
def exchanged(case):
    return {"coefficients": lambda t, s: [conditioned(case, t, s)[k] for k in (1, 0, 2)], "compose": after}


@posterior.mistake("The third number is a standard deviation. Asked for is a variance.")
def deviation(case):
    return {"coefficients": lambda t, s: (*conditioned(case, t, s)[:2], math.sqrt(conditioned(case, t, s)[2])), "compose": after}


@posterior.mistake("The two steps are put together in the wrong order: `first` is the one that starts at x_t.")
def wrong_order(case):
    return {"coefficients": lambda t, s: conditioned(case, t, s), "compose": lambda first, second: after(second, first)}


@posterior.mistake("The first step's noise is multiplied by B of the second, so its variance is multiplied by another number.")
def not_squared(case):
    return {"coefficients": lambda t, s: conditioned(case, t, s),
            "compose": lambda first, second: (*after(first, second)[:2], second[2] + second[1] * first[2])}


@posterior.mistake("x0 enters both steps. What the first one put into the state is carried on by the second.")
def enters_once(case):
    return {"coefficients": lambda t, s: conditioned(case, t, s), "compose": lambda first, second: (second[0], *after(first, second)[1:])}


# A sample is twice as wrong as the mean


sample = Task(
    "ddpm-sample",
    ("restored", "drawn"),
    minutes=20,
    difficulty=2,
    example="drawn(exact, torch.ones(4, 2, dtype=torch.float64), 50, torch.Generator().manual_seed(0)).shape",
    vary={"draws": (1, 2, 3, 4)},
    twist="In your version `drawn` returns, for each row of `x_t`, the mean of {draws} independent samples of $q(x_0 \\mid x_t)$. "
          "What is the ratio of the errors now?",
)
CENTRES, WEIGHTS, C2 = (-1.0, 0.8), (0.35, 0.65), 0.06


def posterior_of_two(schedule, x, t):
    """Mean and variance of x0 given x_t, for data with two peaks."""
    a = schedule.alpha_bar[t].item()
    spread, gain = a * C2 + 1 - a, math.sqrt(a) * C2 / (a * C2 + 1 - a)
    left, right = (x - math.sqrt(a) * centre for centre in CENTRES)
    p = (math.log(WEIGHTS[1] / WEIGHTS[0]) + (left**2 - right**2) / (2 * spread)).sigmoid()          # of the right peak
    low, high = CENTRES[0] + gain * left, CENTRES[1] + gain * right
    return (1 - p) * low + p * high, C2 * (1 - a) / spread + p * (1 - p) * (high - low) ** 2


def of_two(schedule):
    """The exact denoiser of these data."""
    return FunctionDenoiser(schedule, lambda x, t, cond: Prediction(x, schedule.at(t), "x0", posterior_of_two(schedule, x, t)[0]))


def two_peaks(case, schedule, n, t, stream):
    """x_t of these data."""
    x0 = torch.tensor(CENTRES).double()[(case.uniform(n, stream=stream) > WEIGHTS[0]).long()] + math.sqrt(C2) * case.normal(n, stream=stream + 1)
    return q_sample(schedule, x0[:, None], t, case.normal(n, 1, stream=stream + 2))


@sample.part(2, "`restored` is the mean of x0 given x_t")
def mean_given(answers, case):
    for t in (20, 150, 600):
        x = two_peaks(case, linear, 50, t, stream=t)
        found, should = tensor(answers.restored(of_two(linear), x, t), 50, 1), posterior_of_two(linear, x, t)[0]
        worst = (found - should).abs().argmax()
        assert close(found, should), f"t = {t}, x_t = {x[worst, 0]:.3f}: {found[worst, 0]:.4f} in place of {should[worst, 0]:.4f}"


def walked_variance(c2, t, large):
    """Variance of the sampler's samples from one x_t in single steps, for data of variance c2: the recursion, from 0."""
    V = 0.0
    for u in range(t, 0, -1):
        a_t, a_s = linear.alpha_bar[u].item(), linear.alpha_bar[u - 1].item()
        noise = (1 - a_t / a_s) * (1.0 if large else (1 - a_s) / (1 - a_t))
        V = multiplies(linear, c2, u, u - 1) ** 2 * V + (noise if u > 1 else 0.0)
    return V


@sample.part(2, "`drawn` has the mean and the variance of x0 given x_t, with new noise from another generator")
def spread_given(answers, case):
    n, t, mean, c2 = 4000, 40, 0.5, 0.05
    x, denoiser = torch.full((n, 1), 1.1, dtype=torch.float64), of_normal(linear, mean, c2)
    found = tensor(answers.drawn(denoiser, x, t, case.generator(100)), n, 1)
    centre = denoiser(x, t).x0[0].item()
    # Either variance of the steps will do, and what lies between.
    low, high = (walked_variance(c2, t, large) / case.draws for large in (False, True))
    off, variance, chance = (found.mean().item() - centre) / math.sqrt(high / n), found.var().item(), 4.7 * math.sqrt(2 / n)
    what = f"N({mean}, {c2}), t = {t}, x_t = 1.1"
    assert abs(off) < 5, f"{what}: the mean of what is drawn is {found.mean():.4f} in place of {centre:.4f}"
    fits = low * (1 - chance) < variance < high * (1 + chance)
    assert fits, f"{what}: the variance of what is drawn is {variance:.4f}, not {low:.4f} to {high:.4f}"
    few = [tensor(answers.drawn(denoiser, x[:5], 5, case.generator(stream)), 5, 1) for stream in (101, 102, 102)]
    assert close(few[1], few[2]) and not close(few[0], few[1], 1e-6), "equal generators have to give equal draws, and others other draws"


@sample.part(2, "the errors of both, for data with two peaks, are what theory says")
def errors(answers, case):
    schedule, n, t = Schedule.linear(250), 4000, 40
    x = two_peaks(case, schedule, n, t, stream=200)
    mean, variance = posterior_of_two(schedule, x, t)
    # The mean over x0 given x_t of (answer - x0)^2 is known, so only what is drawn is left to chance.
    restored, drawn = (1 + ((tensor(found, n, 1) - mean).square().mean() / variance.mean()).item()
                       for found in (answers.restored(of_two(schedule), x, t), answers.drawn(of_two(schedule), x, t, case.generator(203))))
    should = 1 + 1 / case.draws
    what = f"T = 250, t = {t}: in mean square, the error of"
    assert restored < 1.01, f"{what} `restored` is {restored:.2f} times the least possible"
    assert 0.82 < (drawn - 1) / (should - 1) < 1.15, f"{what} `drawn` is {drawn:.2f} times the least possible in place of {should:.2f}"


def best(denoiser, x_t, t):
    return denoiser(x_t, t).x0


def walked(case, denoiser, x, pairs, generator, noise=lambda variance: variance.sqrt()):
    """The mean of `draws` walks from x along the pairs, with noise(variance) as the standard deviation in each step but the last."""
    found = []
    for _ in range(case.draws):
        y = x
        for u, s in pairs:
            y, variance = q_posterior(denoiser.schedule, denoiser(y, u).x0, y, u, s)
            y = y + (noise(variance) if s else 0.0) * torch.randn(y.shape, dtype=y.dtype, generator=generator)
        found.append(y)
    return torch.stack(found).mean(0)


def single(t):
    return [(u, u - 1) for u in range(t, 0, -1)]


def draw(case):
    """The right `drawn`."""
    return lambda denoiser, x_t, t, generator: walked(case, denoiser, x_t, single(t), generator)


@sample.mistake("This undoes the shrinking and keeps the noise. The mean of x0 given x_t is what the denoiser says.")
def only_scaled(case):
    return {"restored": lambda denoiser, x_t, t: x_t / denoiser.schedule.at(t).sqrt(), "drawn": draw(case)}


@sample.mistake("The predicted noise is taken away, but what is left is the picture at the strength it has at time t.")
def still_shrunk(case):
    return {"restored": lambda denoiser, x_t, t: x_t - (1 - denoiser.schedule.at(t)).sqrt() * denoiser(x_t, t).eps, "drawn": draw(case)}


@sample.mistake("A single step from t to 0 adds no noise, so it ends at the mean. A sample needs the steps between, and their noise.")
def in_one_step(case):
    return {"restored": best, "drawn": lambda denoiser, x_t, t, generator: walked(case, denoiser, x_t, [(t, 0)], generator)}


@sample.mistake("No noise is added on the way, so every walk from one x_t ends at one point: this is no draw.")
def without_noise(case):
    return {"restored": best, "drawn": lambda denoiser, x_t, t, generator: walked(case, denoiser, x_t, single(t), generator, lambda variance: 0.0)}


@sample.mistake("Noise is scaled by a variance where a standard deviation belongs: the samples stay too close to each other.")
def by_the_variance(case):
    def drawn(denoiser, x_t, t, generator):
        return walked(case, denoiser, x_t, single(t), generator, lambda variance: variance)
    return {"restored": best, "drawn": drawn}


@sample.mistake("This starts from fresh noise. What is drawn has to fit the x_t that is given.")
def from_nothing(case):
    def drawn(denoiser, x_t, t, generator):
        return walked(case, denoiser, torch.randn(x_t.shape, dtype=x_t.dtype, generator=generator), single(t), generator)
    return {"restored": best, "drawn": drawn}


@sample.mistake("This is the mean with the noise of x_t added again. How uncertain x0 is, given x_t, depends on the data as well.")
def noised_again(case):
    def drawn(denoiser, x_t, t, generator):
        eps = torch.randn(case.draws, *x_t.shape, dtype=x_t.dtype, generator=generator).mean(0)
        return best(denoiser, x_t, t) + (1 - denoiser.schedule.at(t)).sqrt() * eps
    return {"restored": best, "drawn": drawn}


@sample.mistake("The noise is the same in every call. It has to come from `generator`, so that another one gives another sample.")
def noise_of_its_own(case):
    return {"restored": best, "drawn": lambda denoiser, x_t, t, generator: draw(case)(denoiser, x_t, t, torch.Generator().manual_seed(0))}


@sample.mistake("The two answers have changed places: `restored` is the mean, `drawn` a sample.")
def swapped(case):
    return {"restored": lambda denoiser, x_t, t: draw(case)(denoiser, x_t, t, torch.Generator().manual_seed(0)),
            "drawn": lambda denoiser, x_t, t, generator: best(denoiser, x_t, t)}


# Bug zoo: one sampler, three bugs


bugs = Task(
    "ddpm-bugs",
    ("mended",),
    minutes=35,
    difficulty=3,
    example="mended(gaussian, torch.ones(5, 1, dtype=torch.float64), linear, 20, torch.Generator().manual_seed(0)).shape",
    vary={"share": (0.0, 0.25, 0.5, 0.75)},
    twist="In your version the variance lies between the two: the noise of a step has variance "
          "${share}\\, \\tilde\\beta + (1 - {share})\\, \\beta$, both of the step that is taken. "
          "The recursion with this variance in place of $\\beta$ is your judge.",
)
SAMPLES = 20_000


def noise_of(case, t, s):
    """The variance of the noise in the step from t to s."""
    a_t, a_s = linear.alpha_bar[t].item(), linear.alpha_bar[s].item()
    return (1 - a_t / a_s) * (1 - case.share + case.share * (1 - a_s) / (1 - a_t))


def variance_of(case, c2, n, noise=lambda variance: variance, last=False):
    """The variance of the samples by the recursion; noise(variance) is added in each step, and in the last one too if `last`."""
    V = 1.0
    for t, s in timesteps(1000, n):
        V = multiplies(linear, c2, t, s) ** 2 * V + (noise(noise_of(case, t, s)) if s or last else 0.0)
    return V


def meets(answers, case, c2, n, should, stream, what, **switches):
    start = case.normal(SAMPLES, 1, stream=stream)
    x = tensor(answers.mended(of_normal(linear, 0.0, c2), start, linear, n, case.generator(stream + 1), **switches), SAMPLES, 1)
    found, error = x.var().item(), should * math.sqrt(2 / SAMPLES)
    assert abs(found - should) < 4.5 * error, f"N(0, {c2}), {n} steps{what}: the variance of the samples is {found:.3g} in place of {should:.3g}"


@bugs.part(2, "mended, the samples have the variance of the recursion, and a shift of x_T moves them by the right factor")
def recursion(answers, case):
    for k, (c2, n) in enumerate(((0.25, 20), (0.25, 8), (1.5, 20))):
        meets(answers, case, c2, n, variance_of(case, c2, n), 10 * k, "")
    x = case.normal(5, 1, stream=40)
    ends = [tensor(answers.mended(of_normal(linear, 0.0, 0.25), y, linear, 20, case.generator(41)), 5, 1) for y in (x, x + 100)]
    should = 100 * math.prod(multiplies(linear, 0.25, t, s) for t, s in timesteps(1000, 20))
    moved = (ends[1] - ends[0]).mean().item()
    assert close(ends[1] - ends[0], torch.full((5, 1), should), 1e-6), f"x_T is moved by 100, and the samples by {moved:.5g} in place of {should:.5g}"


@bugs.part(1, "the last step ends at the predicted clean picture, without noise")
def last_step(answers, case):
    x, denoiser = case.normal(5, 1, stream=50), of_normal(linear, 0.0, 0.25)
    for t, stream in ((1000, 51), (1000, 52)):
        found = tensor(answers.mended(denoiser, x, linear, 1, case.generator(stream)), 5, 1)
        assert close(found, denoiser(x, t).x0), f"one step from t = {t} to 0: it ends {(found - denoiser(x, t).x0).abs().max():.2g} away from x0-hat"


@bugs.part(2, "each switch puts back its own bug, and no other")
def switches(answers, case):
    meets(answers, case, 0.25, 20, variance_of(case, 0.25, 20, lambda variance: variance**2), 60, ", root=False", root=False)
    meets(answers, case, 0.25, 8, variance_of(case, 0.25, 8, last=True), 62, ", guard=False", guard=False)
    # With one step, the table's last entry in place of the clean one is that of t itself: the step does nothing.
    x = case.normal(5, 1, stream=64)
    found = tensor(answers.mended(of_normal(linear, 0.0, 0.25), x, linear, 1, case.generator(65), clean_entry=False), 5, 1)
    assert close(found, x), "clean_entry=False, one step: `table[-1]` for the clean entry is that of t = T itself, so that nothing should happen"


def sampler(case, always=(), never=(), turned=False, step_beta=None, look=0, share=None):
    """`mended`, with what the mistakes change: bugs that are always or never there, the switches turned round, another beta, time or variance."""
    def mended(denoiser, x, schedule, n, generator, clean_entry=True, root=True, guard=True):
        a, on = schedule.alpha_bar, {"clean_entry": clean_entry, "root": root, "guard": guard}
        good = {name: (name in never) or (name not in always and on[name] != turned) for name in on}
        for t, s in timesteps(len(schedule), n):
            a_t, a_s = a[t], a[s] if s > 0 or good["clean_entry"] else a[-1]
            beta = 1 - a_t / a_s if step_beta is None else step_beta(t)
            x0 = denoiser(x, t + look).x0
            mean = a_s.sqrt() * beta / (1 - a_t) * x0 + (1 - beta).sqrt() * (1 - a_s) / (1 - a_t) * x
            w = case.share if share is None else share
            variance = (beta * (1 - w + w * (1 - a_s) / (1 - a_t))).clamp(min=0)
            z = torch.randn(x.shape, dtype=x.dtype, generator=generator)
            x = mean + (variance.sqrt() if good["root"] else variance) * (z if s > 0 or not good["guard"] else 0)
        return x
    return mended


@bugs.mistake("At the last step the clean entry is still read at -1, which is the noisiest one.")
def noisiest_entry(case):
    return sampler(case, always=("clean_entry",))


@bugs.mistake("Noise is still scaled by a variance. What multiplies z is a standard deviation.")
def still_beta(case):
    return sampler(case, always=("root",))


@bugs.mistake("Noise is still added in the step that ends at the clean picture. Ask where a step goes, not where it starts.")
def noise_at_the_end(case):
    return sampler(case, always=("guard",))


@bugs.mistake("The step's beta is read from the table, which holds those of neighbouring times. A longer step has more.")
def beta_of_the_table(case):
    return sampler(case, step_beta=lambda t: linear.betas[t])


@bugs.mistake("The noise has the fixed-small variance. Another one is asked for.")
def too_small(case):
    return sampler(case, share=1.0)


@bugs.mistake("The denoiser is asked about a time that is one too early: for this table, x is at time t itself.")
def a_time_too_early(case):
    return sampler(case, look=-1)


@bugs.mistake("The sampler is right, but the switches change nothing: `False` has to put the bug back.")
def dead_switches(case):
    return sampler(case, never=("clean_entry", "root", "guard"))


@bugs.mistake("The switches are the wrong way round: `True` stands for mended.")
def turned_switches(case):
    return sampler(case, turned=True)


QUESTION = r"""
A colleague trains a network that predicts $\epsilon$ on pictures, with the linear schedule and $L_\text{simple}$. She measures two things.

- Her error of $\hat\epsilon$ is 0.97 at $t = 1$, hardly better than if the network always answered 0, and 0.002 at $t = 1000$. "The network
  has learned nothing at low noise. I will train longer there."
- The one-shot $\hat x_0$ at $t = 900$ is blurred. "I will train with a loss that punishes blur, until $\hat x_0$ looks like a real picture
  at every $t$. The sampler then gets better pictures to work with, and its samples will be sharper."

Judge both plans. For each: is the observation a sign that something is wrong, what would you measure to find out, and what will the plan do
to the samples? For the second, say which part of the reverse step is exact with the best $\hat x_0$, and whether it stays so.
"""
RUBRIC = r"""
The first plan (3 points).
- 1: it need not be a fault. At $t = 1$ the noise is far smaller than the spread of the data, so $x_t$ says hardly anything about it: the floor
  of the loss is near 1 there. At $t = T$ the input is noise, so the floor is near 0.
- 1: only the excess over the floor measures the network. For pictures the floor is unknown; one can compare the loss on held-out pictures with
  that on training pictures, or train the same network on data whose exact denoiser is known.
- 1: training cannot pass the floor. Longer training there takes effort away from times at which there is an excess.

The second plan (3 points).
- 1: the blur is right. $\hat x_0$ estimates the mean of all pictures that could hide behind $x_t$, and a mean of many pictures is blurred.
- 1: the mean of the reverse step is exact if $\hat x_0$ is the posterior mean, since it is linear in $x_0$. With another $\hat x_0$ it is not.
- 1: the consequence. Each step is pulled towards one picture that $x_t$ does not yet support, so the samples no longer have the law of the
  data. Sharp samples do not need it: as $t$ falls, less is left open and $\hat x_0$ gets sharp by itself. Which picture it becomes is decided by
  $x_T$ and the noise of the steps.

Typical wrong answers: "a loss near 1 means no learning"; "diffusion blurs, so the output is blurred"; "a sharper x0-hat is nearer to the truth"
(a sample of $q(x_0 \mid x_t)$ is twice as far from it in mean square).
"""
SET = ProblemSet("ddpm", "Noise in small steps, and the way back", "03_algorithms/01_ddpm", SETUP, [betas, posterior, sample, bugs],
                 Essay(QUESTION.strip(), RUBRIC.strip(), 6, 25))
