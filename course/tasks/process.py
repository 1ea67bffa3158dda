"""Graders of section 4.1, describing the process."""

import math

import torch

from diffusion_core import GaussianMixture, Prediction, Schedule, ddim, final
from diffusion_core.denoisers import FunctionDenoiser

from ..task import Essay, ProblemSet, Task, close, number, sequence, tensor

SETUP = """\
import math

import torch

from diffusion_core import GaussianMixture, Prediction, Schedule

schedule = Schedule.linear(1000)
T, a, beta = len(schedule), schedule.alpha_bar, schedule.betas       # a[t] is alpha_bar_t, a[0] is 1; beta[t] is beta_t
means = torch.tensor([[-1.0], [0.8]], dtype=torch.float64)
exact = GaussianMixture([0.35, 0.65], means, [0.04, 0.09]).denoiser(schedule)       # exact(x_t, t) has .x0 and .eps
"""

schedule = Schedule.linear(1000)
a = schedule.alpha_bar
humps = GaussianMixture([0.35, 0.65], torch.tensor([[-1.0], [0.8]], dtype=torch.float64), [0.04, 0.09])
exact = humps.denoiser(schedule)


def log_normal(x, mean, variance):
    return -0.5 * ((x - mean) ** 2 / variance + math.log(2 * math.pi * variance))


# One statement, four languages

convert = Task(
    "process-convert",
    ("convert",),
    minutes=12,
    difficulty=1,
    example='convert(torch.ones(3, dtype=torch.float64), a[500], torch.zeros(3, dtype=torch.float64), "x0", "v")',
    vary={"unit": (1, 2, 0.5, 3)},
    twist="Your version measures the state in another unit: the first argument is $z = {unit}\\, x_t$, "
          "with $x_t = \\alpha x_0 + \\sigma\\epsilon$ as before. $x_0$, $\\epsilon$ and $v$ stay what they are. "
          "The score is that of $z$: the gradient of the log-density of $z$ with respect to $z$.",
)
KINDS = ("x0", "eps", "v")


def levels(case):
    return torch.cat([torch.tensor([0.999, 0.5, 0.01], dtype=torch.float64), case.uniform(2, low=0.05, high=0.95)])


def turned(answers, case, kinds, wanted):
    """Statements of these kinds about a draw become each other; `wanted` is the kind that every pair contains."""
    x0, eps = case.normal(2, 8, 2)
    for alpha_bar in levels(case):
        alpha, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        says = {"x0": x0, "eps": eps, "v": alpha * eps - sigma * x0}
        for kind, to in [(one, other) for one in kinds for other in kinds if wanted in (one, other)]:
            found = tensor(answers.convert(case.unit * (alpha * x0 + sigma * eps), alpha_bar, says[kind], kind, to), 8, 2)
            off = float((found - says[to]).abs().max())
            assert close(found, says[to], 1e-8), f"{kind} to {to} at alpha_bar = {alpha_bar:.3g}: off by up to {off:.2g}"


def scores(case):
    """Draws z of a mixture, and all that its exact denoiser says of them, the score by automatic differentiation."""
    for t in (50, 400, 800):
        z = (case.unit * case.normal(30, 1, stream=t)).requires_grad_()
        (score,) = torch.autograd.grad(humps.log_prob(schedule, z / case.unit, t).sum(), z)
        prediction = exact(z.detach() / case.unit, t)
        yield t, z.detach(), score, {"x0": prediction.x0, "eps": prediction.eps, "v": prediction.v}


@convert.part(1, "x0 and eps of a draw turn into each other")
def plain(answers, case):
    turned(answers, case, ("x0", "eps"), "x0")


@convert.part(1, "v turns into x0 and eps, and they into v")
def rotated(answers, case):
    turned(answers, case, KINDS, "v")


@convert.part(1, "told as a score, what an exact denoiser says is the gradient of the log-density")
def to_score(answers, case):
    for t, z, score, says in scores(case):
        for kind in KINDS:
            found = tensor(answers.convert(z, a[t], says[kind], kind, "score"), 30, 1)
            place = f"from {kind} at t = {t}, state {float(z[0]):.2f}"
            assert close(found, score, 1e-8), f"{place}: the score is {float(found[0]):.4g}, the slope {float(score[0]):.4g}"


@convert.part(1, "a score is read back as x0, eps and v")
def from_score(answers, case):
    for t, z, score, says in scores(case):
        for kind in KINDS:
            found = tensor(answers.convert(z, a[t], score, "score", kind), 30, 1)
            assert close(found, says[kind], 1e-8), f"to {kind} at t = {t}: off by up to {float((found - says[kind]).abs().max()):.2g}"


def translator(case, read, write, root=torch.sqrt):
    """convert by way of eps, with read(x, alpha, sigma, value) and write(x, alpha, sigma, eps) replacing those that a mistake concerns."""
    def convert(x_t, alpha_bar, value, kind, to):
        x, alpha, sigma = x_t / case.unit, root(alpha_bar), root(1 - alpha_bar)
        readers = {"x0": lambda x, al, s, value: (x - al * value) / s, "eps": lambda x, al, s, value: value,
                   "v": lambda x, al, s, value: s * x + al * value, "score": lambda x, al, s, value: -s * case.unit * value}
        writers = {"x0": lambda x, al, s, eps: (x - s * eps) / al, "eps": lambda x, al, s, eps: eps,
                   "v": lambda x, al, s, eps: (eps - s * x) / al, "score": lambda x, al, s, eps: -eps / (s * case.unit)}
        return {**writers, **write}[to](x, alpha, sigma, {**readers, **read}[kind](x, alpha, sigma, value))
    return convert


@convert.mistake("The sign of v: here v points from the data to the noise. The opposite sign is the target of EDM.")
def other_v(case):
    return translator(case, {"v": lambda x, al, s, value: s * x - al * value}, {"v": lambda x, al, s, eps: (s * x - eps) / al})


@convert.mistake("In v the coefficients change places: the noise carries alpha, and the data sigma.")
def coefficients_stay(case):
    return translator(case, {"v": lambda x, al, s, value: (x - value) / (2 * s)},
                      {"v": lambda x, al, s, eps: x - 2 * s * eps})


@convert.mistake("The sign of the score: it points to where the density is higher, that is against the noise.")
def uphill(case):
    return translator(case, {"score": lambda x, al, s, value: s * case.unit * value}, {"score": lambda x, al, s, eps: eps / (s * case.unit)})


@convert.mistake("The score is divided by the variance once too often: the noise in the state is sigma eps, which cancels one factor of sigma.")
def by_variance(case):
    return translator(case, {"score": lambda x, al, s, value: -(s**2) * case.unit * value},
                      {"score": lambda x, al, s, eps: -eps / (s**2 * case.unit)})


@convert.mistake("The state holds the roots of alpha_bar and of 1 - alpha_bar. Here stand alpha_bar and 1 - alpha_bar themselves.")
def no_roots(case):
    return translator(case, {}, {}, root=lambda x: x)


@convert.mistake("v is written well and read badly: solve x_t and v for eps together, and mind the sign of the term with x_t.")
def bad_reading(case):
    return translator(case, {"v": lambda x, al, s, value: al * value - s * x}, {})


# Three posteriors

zoo = Task(
    "process-zoo",
    ("posterior",),
    minutes=20,
    difficulty=2,
    example="posterior(torch.ones(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64), 500, 300)",
    vary={"centre": (0, 1, -1, 2), "tau": (1, 0.5, 2, 3)},
    twist="In your version the trap stands elsewhere and is at another temperature. A step from $s$ to $t$ is "
          "$x_t - ({centre}) = k\\,\\big(x_s - ({centre})\\big) + \\sqrt{{{tau}\\,\\beta_{{ts}}}}\\;z$ "
          "with $k^2 = \\bar\\alpha_t/\\bar\\alpha_s$, $\\beta_{{ts}} = 1 - k^2$: all is pulled towards {centre}, and the noise has "
          "{tau} times the variance. The functions A, B and C above are those of the usual process.",
)


def forward(case, x, kept):
    """Mean and variance after steps that keep the share `kept` of the variance."""
    return case.centre + math.sqrt(kept) * (x - case.centre), case.tau * (1 - kept)


def told(answers, x0, x_t, t, s):
    mean, variance = sequence(answers.posterior(x0, x_t, t, s), 2)
    return tensor(mean, *x0.shape), number(variance)


def bayes(answers, case, steps):
    for t, s in steps:
        x0, z, y = case.normal(3, 20, stream=t)
        m_s, v_s = forward(case, x0, float(a[s]))
        m_t, v_t = forward(case, x0, float(a[t]))
        x_s = m_s + math.sqrt(v_s) * z
        m_ts, v_ts = forward(case, x_s, float(a[t] / a[s]))
        x_t = m_ts + math.sqrt(v_ts) * y
        mean, variance = told(answers, x0, x_t, t, s)
        assert variance > 0, f"from {t} to {s} the variance is {variance:.3g}"
        off = log_normal(x_t, m_ts, v_ts) + log_normal(x_s, m_s, v_s) - log_normal(x_t, m_t, v_t) - log_normal(x_s, mean, variance)
        assert close(off, torch.zeros(20), 1e-7), f"from {t} to {s}: the log-density of x_s is off by up to {float(off.abs().max()):.3g}"


@zoo.part(1, "Bayes' rule holds for steps to the neighbour")
def neighbours(answers, case):
    bayes(answers, case, [(1000, 999), (500, 499), (3, 2), (2, 1)])


@zoo.part(2, "Bayes' rule holds for long steps")
def long_steps(answers, case):
    bayes(answers, case, [(1000, 1), (900, 500), (300, 20), (20, 10)])


@zoo.part(1, "at s = 0 the answer is x0 for certain")
def clean(answers, case):
    x0, x_t = case.normal(2, 20)
    for t in (1, 400, 1000):
        mean, variance = told(answers, x0, x_t, t, 0)
        assert close(mean, x0), f"from {t} to 0 the mean is off x0 by up to {float((mean - x0).abs().max()):.3g}"
        assert close(variance, 0), f"from {t} to 0 the variance is {variance:.3g}"


@zoo.part(1, "averaged over x_t it is q(x_s | x0), and detours cost nothing")
def consistent(answers, case):
    x0, x_t = case.normal(2, 20)
    for t, s, r in ((500, 499, 498), (900, 500, 100), (300, 20, 0)):
        for late, early in ((t, s), (t, r)):
            m, v = forward(case, x0, float(a[late]))
            (high, variance), (low, _) = (told(answers, x0, m + sign * math.sqrt(v), late, early) for sign in (1, -1))
            m_early, v_early = forward(case, x0, float(a[early]))
            assert close((high + low) / 2, m_early), f"averaged over x_t, the mean at s = {early} from t = {late} is not that of q(x_s | x0)"
            assert close(variance + ((high - low) / 2) ** 2, torch.full_like(x0, v_early)), \
                f"averaged over x_t, the variance at s = {early} from t = {late} is not that of q(x_s | x0)"
        (half, v1), (at_once, v) = told(answers, x0, x_t, t, s), told(answers, x0, x_t, t, r)
        (mean, v2), (further, _) = told(answers, x0, half, s, r), told(answers, x0, half + 1, s, r)
        same = close(mean, at_once) and close(v2 + (further - mean) ** 2 * v1, torch.full_like(x0, v))
        assert same, f"from {t} to {r} by way of {s} is not the direct way"


def step_back(case, coefficients):
    """posterior with (coefficient of x0, of x_t, variance) from coefficients(t, s), as in the usual process."""
    def posterior(x0, x_t, t, s):
        of_x0, of_x_t, variance = coefficients(t, s)
        return case.centre + of_x0 * (x0 - case.centre) + of_x_t * (x_t - case.centre), case.tau * variance
    return posterior


def back(a_t, a_s, b):
    return a_s.sqrt() * b / (1 - a_t), (1 - b).sqrt() * (1 - a_s) / (1 - a_t), (1 - a_s) / (1 - a_t) * b


@zoo.mistake("The variance that the step replaces is that of the step from t - 1, whatever s is.")
def last_beta(case):
    return step_back(case, lambda t, s: back(a[t], a[s], schedule.betas[t]))


@zoo.mistake("Everything is right for s > 0. For s = 0 the table has no entry, and index -1 gives the noisiest one.")
def no_clean_entry(case):
    table = a[1:]
    return step_back(case, lambda t, s: back(table[t - 1], table[s - 1], 1 - table[t - 1] / table[s - 1]))


@zoo.mistake("The mean is right. The variance comes back squared: somewhere the noise is scaled by a variance in place of its root.")
def squared(case):
    def posterior(x0, x_t, t, s):
        mean, variance = step_back(case, lambda t, s: back(a[t], a[s], 1 - a[t] / a[s]))(x0, x_t, t, s)
        return mean, variance**2
    return posterior


@zoo.mistake("The mean is right, and the variance is that of a step forward. Looking back, x0 is known, and that makes it smaller.")
def large(case):
    return step_back(case, lambda t, s: (*back(a[t], a[s], 1 - a[t] / a[s])[:2], 1 - a[t] / a[s]))


@zoo.mistake("This divides the step out and ignores what x0 says about x_s: the prior of Bayes' rule is missing.")
def divided(case):
    return step_back(case, lambda t, s: (0.0, (a[s] / a[t]).sqrt(), a[s] / a[t] - 1))


@zoo.mistake("This is DDIM's step without noise. Averaged over x_t it has the right marginals, and it is not the posterior of this process.")
def without_noise(case):
    return step_back(case, lambda t, s: (a[s].sqrt() - ((1 - a[s]) * a[t] / (1 - a[t])).sqrt(), ((1 - a[s]) / (1 - a[t])).sqrt(), 0.0))


@zoo.mistake("This is DDIM's step with half of the noise. Averages over x_t come out right; a detour is not the direct way.")
def half_the_noise(case):
    def coefficients(t, s):
        variance = 0.25 * (1 - a[s]) / (1 - a[t]) * (1 - a[t] / a[s])
        of_x_t = ((1 - a[s] - variance) / (1 - a[t])).sqrt()
        return a[s].sqrt() - of_x_t * a[t].sqrt(), of_x_t, variance
    return step_back(case, coefficients)


@zoo.mistake("The step keeps the root of alpha_bar_t / alpha_bar_s of the state. In the coefficients of the mean a root is missing.")
def roots_missing(case):
    def coefficients(t, s):
        b = 1 - a[t] / a[s]
        return a[s] * b / (1 - a[t]), (1 - b) * (1 - a[s]) / (1 - a[t]), (1 - a[s]) / (1 - a[t]) * b
    return step_back(case, coefficients)


# The best variance

variance = Task(
    "process-variance",
    ("best_variance",),
    minutes=30,
    difficulty=3,
    example="best_variance(torch.tensor([-0.8, 0.8], dtype=torch.float64), 300, 200)",
    vary={"blur": (0, 0.02, 0.05, 0.1)},
    twist="Your data have been measured with an error: $x_0 = p_k + \\sqrt{{{blur}}}\\,z$ with a standard normal $z$, "
          "where all points $p_k$ are equally likely. What is asked for is $v^\\star$ for these $x_0$.",
)


def gaussian_step(t, s, spread):
    """Var[x_s | x_t] for data N(0, spread)."""
    return float((1 - a[t] / a[s]) * (a[s] * spread + 1 - a[s]) / (a[t] * spread + 1 - a[t]))


def by_grids(points, t, s, blur):
    """The mean square distance of x_s from its mean given x_t, by sums over grids of both."""
    low, high = float(points.min()) - 0.1, float(points.max()) + 0.1
    x_s, x_t = (torch.linspace(float(a[u].sqrt()) * low - 7, float(a[u].sqrt()) * high + 7, n, dtype=torch.float64) for u, n in ((s, 481), (t, 361)))
    spread = a[s] * blur + 1 - a[s]
    prior = torch.exp(-((x_s[:, None] - a[s].sqrt() * points) ** 2) / (2 * spread)).sum(1)
    joint = prior[:, None] * torch.exp(-((x_t - (a[t] / a[s]).sqrt() * x_s[:, None]) ** 2) / (2 * (1 - a[t] / a[s])))
    joint = joint / joint.sum()
    mean = (joint * x_s[:, None]).sum(0) / joint.sum(0).clamp(min=1e-300)
    return float((joint * (x_s[:, None] - mean) ** 2).sum())


@variance.part(1, "a single point gives what Gaussian data of its spread give")
def one_point(answers, case):
    for t, s in ((300, 299), (200, 100), (500, 300), (900, 100)):
        for point in case.normal(2, stream=t):
            found, wanted = number(answers.best_variance(point[None], t, s)), gaussian_step(t, s, case.blur)
            assert close(found / wanted, 1, 1e-6), f"one point, from {t} to {s}: {found:.6g}, where {wanted:.6g} is right"


@variance.part(1, "white data give about beta")
def white(answers, case):
    points = math.sqrt(1 - case.blur) * torch.special.ndtri((torch.arange(200, dtype=torch.float64) + 0.5) / 200)
    for t, s in ((200, 100), (500, 300), (900, 100)):
        found, b = number(answers.best_variance(points, t, s)), float(1 - a[t] / a[s])
        assert close(found / b, 1, 0.02), f"200 points spread like N(0, {1 - case.blur:g}), from {t} to {s}: {found / b:.3f} times beta"


@variance.part(3, "it is the mean square distance of x_s from its mean given x_t, for few points, close or far")
def quadrature(answers, case):
    sets = (torch.tensor([-0.8, 0.8], dtype=torch.float64), torch.tensor([-3.0, 3.0], dtype=torch.float64), 1 + case.uniform(3, low=-1, high=1))
    for points in sets:
        for t, s in ((300, 270), (500, 300), (900, 100)):
            found, wanted = number(answers.best_variance(points, t, s)), by_grids(points, t, s, case.blur)
            names = ", ".join(f"{point:.2f}" for point in points.tolist())
            assert close(found / wanted, 1, 1e-5), f"points {names}, from {t} to {s}: {found:.6g}, where quadrature gives {wanted:.6g}"


def parts_of(points, t, s, blur):
    """v* with its pieces: what one blurred point gives, the square of d mean / d x0 for it, and the doubt about which point it was, by x_t."""
    spread = a[t] * blur + 1 - a[t]
    x = torch.linspace(float((a[t].sqrt() * points).min()) - 9, float((a[t].sqrt() * points).max()) + 9, 1501, dtype=torch.float64)
    log_joint = -((x[:, None] - a[t].sqrt() * points) ** 2) / (2 * spread)
    weights, p = log_joint.softmax(1), log_joint.logsumexp(1).softmax(0)
    doubt = (weights * (points - (weights * points).sum(1, keepdim=True)) ** 2).sum(1)
    return gaussian_step(t, s, blur), float((a[s].sqrt() * (1 - a[t] / a[s]) / spread) ** 2), doubt, p


@variance.mistake("Nothing here depends on which point it was. Given x_t one does not know, and that doubt adds to the variance.")
def no_doubt(case):
    return lambda points, t, s: gaussian_step(t, s, case.blur)


@variance.mistake("This is right for Gaussian data of the same variance. For other shapes it is an upper bound.")
def linear(case):
    return lambda points, t, s: gaussian_step(t, s, case.blur + float(points.var(correction=0)))


@variance.mistake("This is the variance of a step forward. It is the best one for white data alone.")
def beta(case):
    return lambda points, t, s: float(1 - a[t] / a[s])


@variance.mistake("The doubt about x0 is a variance: it enters with the square of the factor that x0 has in the mean.")
def factor_not_squared(case):
    def best_variance(points, t, s):
        within, square, doubt, p = parts_of(points, t, s, case.blur)
        return within + math.sqrt(square) * float((p * doubt).sum())
    return best_variance


@variance.mistake("This takes the spread of the points before anything has been seen. Given x_t, most of that doubt is gone.")
def doubt_before_looking(case):
    def best_variance(points, t, s):
        within, square, _, _ = parts_of(points, t, s, case.blur)
        return within + square * float(points.var(correction=0))
    return best_variance


@variance.mistake("The doubt about x0 is averaged over x_t evenly on a grid. Some x_t are more likely than others.")
def even_average(case):
    def best_variance(points, t, s):
        within, square, doubt, _ = parts_of(points, t, s, case.blur)
        return within + square * float(doubt.mean())
    return best_variance


@variance.mistake("The doubt about x0 is taken at one x_t, the mean. What is asked for is its average over all x_t.")
def at_the_mean(case):
    def best_variance(points, t, s):
        within, square, doubt, _ = parts_of(points, t, s, case.blur)
        return within + square * float(doubt[len(doubt) // 2])
    return best_variance


# Euler's rule on any path

paths = Task(
    "process-paths",
    ("euler_sampler", "mended_sampler"),
    minutes=30,
    difficulty=3,
    example="mended_sampler(exact, lambda t: (float(a[t].sqrt()), float((1 - a[t]).sqrt()), 0.0, 0.0, t), "
            "torch.ones(2, 1, dtype=torch.float64), [(1000, 500), (500, 0)])",
    vary={"scale": (1, 1.02, 1.05, 1.1)},
    twist="Your samplers use *epsilon scaling*, a remedy for networks whose noise is too strong along the way: in every step the denoiser's "
          "$\\hat\\epsilon$ is divided by {scale}, and $\\hat x_0$ is the one that belongs to this new $\\hat\\epsilon$ and the same $x_t$. "
          "By DDIM we mean DDIM with the same change.",
)
PAIRS = [(900, 700), (700, 400), (400, 150), (150, 40), (40, 0)]


def straight(t):
    alpha, sigma = float(a[t].sqrt()), float((1 - a[t]).sqrt())
    return alpha / (alpha + sigma), sigma / (alpha + sigma), -1.0, 1.0, sigma / (alpha + sigma)


def exploding(t):
    rho = float(((1 - a[t]) / a[t]).sqrt())
    return 1.0, rho, 0.0, 1.0, rho


def circle(t):
    phi = math.atan2(float((1 - a[t]).sqrt()), float(a[t].sqrt()))
    return math.cos(phi), math.sin(phi), -math.sin(phi), math.cos(phi), phi


def spiral(case):
    """A path that winds out or in from (1, 0), on a clock that runs like exp(phi)."""
    growth = float(case.uniform(1, low=0.3, high=1.5))

    def path(t):
        phi = circle(t)[4]
        size, slope, rate = 1 + growth * math.sin(phi), growth * math.cos(phi), math.exp(-phi)
        return (size * math.cos(phi), size * math.sin(phi), rate * (slope * math.cos(phi) - size * math.sin(phi)),
                rate * (slope * math.sin(phi) + size * math.cos(phi)), math.exp(phi))
    return path


def scaled(case, denoiser):
    return FunctionDenoiser(schedule, lambda x_t, t, cond: Prediction(x_t, a[t], "eps", denoiser(x_t, t, cond).eps / case.scale))


def against_ddim(sampler, case, path, name):
    x_T = case.normal(40, 1)
    found, wanted = tensor(sampler(exact, path, x_T, PAIRS), 40, 1), final(ddim(scaled(case, exact), x_T, schedule, steps=PAIRS))
    off = float((found - wanted).abs().max())
    assert close(found, wanted, 1e-8), f"{name}: off DDIM by up to {off:.3g}"


@paths.part(1, "on the straight path and on the exploding one, Euler's rule is DDIM")
def euler_is_ddim(answers, case):
    against_ddim(answers.euler_sampler, case, straight, "straight path")
    against_ddim(answers.euler_sampler, case, exploding, "exploding path")


@paths.part(2, "on a curved path, a step of Euler's rule leaves along the tangent")
def tangent(answers, case):
    for name, path in (("circle", circle), ("spiral", spiral(case))):
        for t in (200, 600):
            x0, eps = case.normal(2, 20, 1, stream=t)
            x_t = a[t].sqrt() * x0 + (1 - a[t]).sqrt() * eps
            frozen = FunctionDenoiser(schedule, lambda x, t, cond, x0=x0: Prediction(x, a[t], "x0", x0))
            used = scaled(case, frozen)(x_t, t, None)
            (A, S, A_, S_, clock), end = path(t), path(0)[4]
            wanted = (A + (end - clock) * A_) * used.x0 + (S + (end - clock) * S_) * used.eps
            found = tensor(answers.euler_sampler(frozen, path, x_t, [(t, 0)]), 20, 1)
            assert close(found, wanted, 1e-8), f"{name}, one step from {t} to 0: off the tangent by up to {float((found - wanted).abs().max()):.3g}"


@paths.part(2, "the mended rule is DDIM on every path")
def mended_is_ddim(answers, case):
    for name, path in (("straight path", straight), ("exploding path", exploding), ("circle", circle), ("spiral", spiral(case))):
        against_ddim(answers.mended_sampler, case, path, name)


def sampler(case, rule, start=True, unit=True):
    """rule(z, prediction, now, then) is a step; `now` and `then` are what the path gives at t and s. start, unit: is the unit minded?"""
    def run(denoiser, path, x_T, pairs):
        first = pairs[0][0]
        z = x_T * path(first)[0] / a[first].sqrt() if start else x_T
        for t, s in pairs:
            prediction = scaled(case, denoiser)(z * a[t].sqrt() / path(t)[0] if unit else z, t, None)
            z = rule(z, prediction, (*path(t), t), (*path(s), s))
        return z
    return run


def tangent_step(z, prediction, now, then):
    return z + (then[4] - now[4]) * (now[2] * prediction.x0 + now[3] * prediction.eps)


def point_step(z, prediction, now, then):
    return then[0] * prediction.x0 + then[1] * prediction.eps


def both(case, euler=tangent_step, mended=point_step, **minded):
    return {"euler_sampler": sampler(case, euler, **minded), "mended_sampler": sampler(case, mended, **minded)}


@paths.mistake("The walk starts at x_T as it is. The path measures states in a unit of its own.")
def start_unit(case):
    return both(case, start=False)


@paths.mistake("The denoiser is asked about z. It was made for x_t, in DDPM's unit.")
def denoiser_unit(case):
    return both(case, unit=False)


@paths.mistake("The step has the wrong sign: the clock runs from its value at t to that at s.")
def wrong_way(case):
    return both(case, euler=lambda z, p, now, then: 2 * z - tangent_step(z, p, now, then))


@paths.mistake("The length of the step is counted in integer times. The derivatives are with respect to the path's own clock.")
def integer_clock(case):
    return both(case, euler=lambda z, p, now, then: z + (then[5] - now[5]) * (now[2] * p.x0 + now[3] * p.eps))


@paths.mistake("Euler's rule takes the derivatives where the step begins. Here they are those of its end, which shows on curved paths only.")
def backward_derivatives(case):
    return both(case, euler=lambda z, p, now, then: z + (then[4] - now[4]) * (then[2] * p.x0 + then[3] * p.eps))


@paths.mistake("The mended rule is Euler's rule again: on a curved path it leaves along the tangent.")
def not_mended(case):
    return both(case, mended=tangent_step)


@paths.mistake("Of the path, Euler's rule knows coefficients and derivatives at t alone. This one has those at s: it is already mended.")
def already_mended(case):
    return both(case, euler=point_step)


@paths.mistake("The mended rule puts in the coefficients at t. That gives back the state it came from.")
def stands_still(case):
    return both(case, mended=lambda z, p, now, then: now[0] * p.x0 + now[1] * p.eps)


ESSAY = Essay(
    question="""\
A colleague stores noisy *paths* of her pictures on disk: for each picture she draws one $\\epsilon$, and writes down
$x_t = \\sqrt{\\bar\\alpha_t}\\,x_0 + \\sqrt{1 - \\bar\\alpha_t}\\,\\epsilon$ for **all** $t$ with this same $\\epsilon$.
She compares mean and variance of $x_t$ with the closed form at every $t$; all is in order. From the disk she trains two networks:

- **A** gets $x_t$ and $t$ and predicts $\\epsilon$, one random $t$ of one random path at a time;
- **B** gets $x_t$ and $t$ and predicts the state $x_{t-1}$ of the same path.

Both minimise a squared error, and both losses fall. She then samples with DDPM's step, $x_{t-1} = \\mu + \\sqrt{\\tilde\\beta_t}\\,z$: once with $\\mu$
from A, by way of $\\hat x_0$ and the posterior mean, once with $\\mu$ taken directly from B.

1. Which network does what she hopes, and why does it not matter for this one how the paths were made?
2. What does the other network learn in the limit of perfect training? Write it as a formula in $\\hat x_0$ and $\\hat\\epsilon$, and say which known
   sampler has this mean.
3. Predict what goes wrong in its samples, and say how she could repair the *sampler* without training again.
4. Name one measurement on the disk that would have shown the difference, and its right value.""",
    rubric="""\
- 1 point: A is right. Its loss sees a single time of a path, so only the marginals of x_t given x0, which are those of the process.
- 2 points: B learns E[x_{t-1} | x_t] of *these* paths, alpha_{t-1} x0_hat + sigma_{t-1} eps_hat (1), which is DDIM's step with eta = 0 (1).
- 1 point: DDPM's noise is added to a mean that already carries the whole noise level sigma_{t-1}. Every step adds beta-tilde too much, states are
  noisier than the network expects, and samples are noisy or too spread out.
- 1 point: leave the noise out (B alone is then DDIM's sampler), or compute x0_hat from B's output and x_t and use the posterior mean.
- 1 point: the correlation of the noises (x_t - alpha x0) / sigma at two times s < t, which is 1 on the disk and sqrt(snr(t) / snr(s)) in the chain.
  Or the correlation of x_t - k x_s with x_s given x0, which is 0 in the chain.

Typical wrong answers: "A is wrong as well, since the noise is not fresh" (confuses marginals with joint laws); "B learns the posterior mean of
section 5"; "compare histograms of x_t" (they agree).""",
    points=6,
    minutes=25,
)

SET = ProblemSet("process", "What a process is, and what it is not", "04_mathematics/01_process", SETUP, [convert, zoo, variance, paths], ESSAY)
