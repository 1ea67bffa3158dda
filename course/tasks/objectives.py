"""Graders of section 4.2, objectives and losses."""

import math

import torch
from torch.distributions import Normal, kl_divergence

from diffusion_core import GaussianMixture, Prediction, Schedule, q_posterior, q_sample

from ..task import Essay, ProblemSet, Task, close, number, sequence, tensor

SETUP = """\
import math

import torch

from diffusion_core import GaussianMixture, Prediction, Schedule, q_posterior, q_sample

cosine = Schedule.cosine(1000)
means = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
pair = GaussianMixture([0.5, 0.5], means, [0.25, 0.25], labels=torch.tensor([0, 1]))      # two classes, 0 and 1
"""

cosine = Schedule.cosine(1000)


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


# The bound, by hand

vlb = Task(
    "objectives-vlb",
    ("step_kl",),
    minutes=15,
    difficulty=1,
    example='step_kl(cosine, *torch.ones(3, 2, dtype=torch.float64), 500, "large")',
    vary={"fraction": (1, 0.25, 0.5, 0.75)},
    twist="In your version `\"large\"` stands for what a network with learned variance says when it gives the fraction {fraction}: "
          "the logarithm of the variance lies {fraction} of the way from $\\log\\tilde\\beta_t$ to $\\log\\beta_t$.",
)


def variances(case, schedule, t):
    """beta-tilde_t and the variance that "large" stands for."""
    a, beta = schedule.alpha_bar, schedule.betas[t]
    small = (1 - a[t - 1]) / (1 - a[t]) * beta
    return float(small), float(beta**case.fraction * small ** (1 - case.fraction))


@vlb.part(1, "with the small variance it is half the gain of the signal-to-noise ratio, times the squared error of x0")
def gain(answers, case):
    for schedule in (Schedule.linear(20), cosine):
        for t in (2, 3, len(schedule) // 2, len(schedule)):
            x0, x_t, x0_hat = case.normal(3, 50, stream=t)
            place = f"t = {t} of {len(schedule)}"
            x0_hat[:10] = x0[:10]                              # who knows x0 pays nothing
            found = tensor(answers.step_kl(schedule, x0, x_t, x0_hat, t, "small"), 50)
            wanted = 0.5 * (schedule.snr(t - 1) - schedule.snr(t)) * (x0 - x0_hat) ** 2
            worst = int((found - wanted).abs().argmax())
            assert close(found / wanted.max(), wanted / wanted.max(), 1e-6), f"{place}: {float(found[worst]):.4g}, where {float(wanted[worst]):.4g} is right"


@vlb.part(1, "with the large variance one pays at the true x0 what the two variances are apart")
def spread(answers, case):
    for schedule in (Schedule.linear(20), cosine):
        for t in (2, 3, 10, len(schedule) // 2):
            x0, x_t = case.normal(2, 50, stream=t)
            small, large = variances(case, schedule, t)
            found = tensor(answers.step_kl(schedule, x0, x_t, x0, t, "large"), 50)
            wanted = float(kl_divergence(Normal(double(0), double(math.sqrt(small))), Normal(double(0), double(math.sqrt(large)))))
            assert close(found / wanted, torch.ones(50), 1e-6), \
                f"t = {t} of {len(schedule)}, at the true x0: {float(found[0]):.5g}, where Gaussians of these variances are {wanted:.5g} nats apart"


@vlb.part(2, "with the large variance prior, steps and decoder add up to what they must for data N(0, 1)")
def adds_up(answers, case):
    x0, eps = double(1, 1, -1, -1), double(1, -1, 1, -1)       # the mean of a quadratic over these is its mean over N(0, 1)
    for schedule in (Schedule.linear(20), Schedule.cosine(30)):
        a, T = schedule.alpha_bar, len(schedule)
        total = float(kl_divergence(Normal(a[T].sqrt() * x0, (1 - a[T]).sqrt()), Normal(double(0), double(1))).mean())
        total -= float(Normal(a[1] * x0 + (a[1] * (1 - a[1])).sqrt() * eps, schedule.betas[1].sqrt()).log_prob(x0).mean())
        missed = 0.0
        for t in range(2, T + 1):
            x_t = q_sample(schedule, x0, t, eps)
            total += float(tensor(answers.step_kl(schedule, x0, x_t, a[t].sqrt() * x_t, t, "large"), 4).mean())
            ratio = float(schedule.betas[t]) / variances(case, schedule, t)[1]
            missed += 0.5 * (ratio - 1 - math.log(ratio))
        entropy = 0.5 * math.log(2 * math.pi * math.e)
        assert close(total, entropy + missed, 1e-8), f"T = {T}: the bound is {total:.5f} nats, where {entropy + missed:.5f} is right"


def priced(case, price=None, used_of=None):
    """step_kl with another price(gap of means, variance of q, variance of p), or other variances used_of(schedule, t, variance)."""
    price = price or (lambda gap, small, used: 0.5 * (math.log(used / small) + small / used - 1 + gap**2 / used))

    def step_kl(schedule, x0, x_t, x0_hat, t, variance):
        small, large = variances(case, schedule, t)
        used = used_of(schedule, t, variance) if used_of else {"small": small, "large": large}[variance]
        gap = q_posterior(schedule, x0, x_t, t, t - 1)[0] - q_posterior(schedule, x0_hat, x_t, t, t - 1)[0]
        return price(gap, small, used)
    return step_kl


@vlb.mistake("These are the means' distances alone. With another variance the two Gaussians differ even if their means agree.")
def means_only(case):
    return priced(case, lambda gap, small, used: 0.5 * gap**2 / used)


@vlb.mistake("The two distributions are exchanged: the average is over the posterior, and the model's step is the one that is judged.")
def exchanged(case):
    return priced(case, lambda gap, small, used: 0.5 * (math.log(small / used) + used / small - 1 + gap**2 / small))


@vlb.mistake("A factor one half is missing.")
def no_half(case):
    return priced(case, lambda gap, small, used: math.log(used / small) + small / used - 1 + gap**2 / used)


@vlb.mistake("A KL divergence of Gaussians contains the ratio of variances. Here stands that of standard deviations.")
def deviations(case):
    return priced(case, lambda gap, small, used: 0.5 * (math.log(used / small) + (small / used) ** 0.5 - 1 + gap**2 / used**0.5))


@vlb.mistake("The variances are those of the step before: the step from t to t - 1 replaces beta_t.")
def off_by_one(case):
    def used_of(schedule, t, variance):
        small, large = variances(case, schedule, max(t - 1, 2))
        return large if variance == "large" else small
    return priced(case, used_of=used_of)


@vlb.mistake("The two words are exchanged: \"small\" is the posterior's variance, beta-tilde.")
def names_exchanged(case):
    def used_of(schedule, t, variance):
        small, large = variances(case, schedule, t)
        return small if variance == "large" else large
    return priced(case, used_of=used_of)


@vlb.mistake("The sign of the logarithm: a step that is broader than the posterior pays for it.")
def log_sign(case):
    return priced(case, lambda gap, small, used: 0.5 * (math.log(small / used) + small / used - 1 + gap**2 / used))


# One loss, four targets

weights = Task(
    "objectives-weights",
    ("weight",),
    minutes=15,
    difficulty=2,
    example='weight("v", torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64), 5.0)',
    vary={"p": (math.inf, 1, 2, 4)},
    twist="Your version rounds the corner (*soft min-SNR*): the factor before the squared error of $x_0$ is "
          "$\\big(\\mathrm{{snr}}^{{-p}} + \\gamma^{{-p}}\\big)^{{-1/p}}$ with $p = {p}$, "
          "in place of the minimum, which is its limit $p \\to \\infty$. "
          "The loss is the same for every target, as before. A, B and C above have the corner.",
)


def limited(case, snr, gamma):
    """The factor before the squared error of x0."""
    return snr.clamp(max=gamma) if case.p == math.inf else (snr**-case.p + gamma**-case.p) ** (-1 / case.p)


def one_loss(answers, case, kind):
    """The loss, told by this target, is the one told by x0: for predictions that are off by random errors."""
    t = torch.arange(1, 1001, 9)
    ratio, alpha_bar = cosine.snr(t), cosine.alpha_bar[t]
    x0, eps, off = case.normal(3, len(t), 4)
    x_t = q_sample(cosine, x0, t, eps)
    truth, guess = (Prediction(x_t, alpha_bar, "x0", value) for value in (x0, x0 + 0.1 * off))
    told = (lambda prediction: prediction.eps - prediction.x0) if kind == "u" else (lambda prediction: getattr(prediction, kind))
    error = ((told(guess) - told(truth)) ** 2).sum(1)
    for gamma in (5.0, float(case.uniform(1, low=0.5, high=20))):
        wanted = limited(case, ratio, gamma) * ((0.1 * off) ** 2).sum(1)
        share = tensor(answers.weight(kind, ratio, gamma), len(t)) * error / wanted
        worst = int((share - 1).abs().argmax())
        assert close(share, torch.ones(len(t)), 1e-6), \
            f"gamma = {gamma:.3g}: the loss of {kind} is {float(share[worst]):.4g} times that of x0 at snr = {float(ratio[worst]):.2g}"


@weights.part(1, "the factor of x0 is the one that is stated")
def of_x0(answers, case):
    one_loss(answers, case, "x0")


@weights.part(1, "told by eps it is the same loss")
def of_eps(answers, case):
    one_loss(answers, case, "eps")


@weights.part(2, "told by v it is the same loss")
def of_v(answers, case):
    one_loss(answers, case, "v")


@weights.part(2, "told by u = eps - x0 it is the same loss")
def of_u(answers, case):
    one_loss(answers, case, "u")


def factors(snr):
    return {"x0": torch.ones_like(snr), "eps": snr, "v": 1 + snr, "u": (1 + snr.sqrt()) ** 2}


@weights.mistake("The factor of eps is used for the other targets too. An error of v or of u is worth another error of x0.")
def as_eps(case):
    return lambda kind, snr, gamma: limited(case, snr, gamma) / (snr if kind != "x0" else 1)


@weights.mistake("The limit is put on the target's own factor. It belongs on the signal-to-noise ratio, that is on the weight of x0's error.")
def limit_on_the_factor(case):
    return lambda kind, snr, gamma: limited(case, factors(snr)[kind] if kind != "x0" else snr, gamma) / factors(snr)[kind]


@weights.mistake("All targets agree, and the loss is another: no factor of x0 may be *above* gamma.")
def raised(case):
    return lambda kind, snr, gamma: 1 / limited(case, 1 / snr, 1 / gamma) / factors(snr)[kind]


@weights.mistake("The target's factor says how much larger its squared error is. The weight must make up for that, not repeat it.")
def multiplied(case):
    return lambda kind, snr, gamma: limited(case, snr, gamma) * factors(snr)[kind]


@weights.mistake("x0, eps and v are right. The errors of eps and x0 have opposite signs, so in u = eps - x0 they add up before the square is taken.")
def no_cross_term(case):
    return lambda kind, snr, gamma: limited(case, snr, gamma) / factors(snr)["v" if kind == "u" else kind]


@weights.mistake("There is no limit here: this is the plain loss of eps, told by four targets.")
def unlimited(case):
    return lambda kind, snr, gamma: snr / factors(snr)[kind]


@weights.mistake("These factors are for absolute errors. The signal-to-noise ratio is the square of alpha / sigma: it fits squared errors as it is.")
def absolute(case):
    return lambda kind, snr, gamma: limited(case, snr, gamma) / factors(snr)[kind].sqrt()


# Preconditioning on our path

edm = Task(
    "objectives-edm",
    ("our_precondition",),
    minutes=20,
    difficulty=2,
    example="our_precondition(0.6, 0.8, 0.5)",
    vary={"tau": (1, 0.25, 0.5, 4)},
    twist="The noise of your version has the variance {tau} in place of 1: "
          "$x_t = \\alpha x_0 + \\sigma\\epsilon$ with $\\epsilon \\sim \\mathcal N(0, {tau}\\, I)$. "
          "The last check takes data of this variance, $\\sigma_d^2 = {tau}$, where the target must be $-v/\\sqrt{{{tau}}}$; and $\\alpha = 0$.",
)


def coefficients(answers, alpha, sigma, sd):
    return map(number, sequence(answers.our_precondition(alpha, sigma, sd), 3))


def places(case):
    """(alpha, sigma, sd) with alpha above 0."""
    for sd in (0.3, 1.0, 2.0, float(case.uniform(1, low=0.2, high=3.0, stream=1))):
        for angle in (0.05, 0.7, 1.5, *case.uniform(2, low=0.2, high=1.4, stream=2).tolist()):
            yield math.cos(angle), math.sin(angle), sd


def where(alpha, sigma, sd):
    return f"alpha = {alpha:.3g}, sigma = {sigma:.3g}, sd = {sd:.3g}"


@edm.part(1, "the input has variance 1")
def input_scaled(answers, case):
    for alpha, sigma, sd in places(case):
        _, _, into = coefficients(answers, alpha, sigma, sd)
        found = into**2 * (alpha**2 * sd**2 + sigma**2 * case.tau)
        assert close(found, 1), f"{where(alpha, sigma, sd)}: its variance is {found:.4g}"


@edm.part(1, "the target has variance 1")
def target_scaled(answers, case):
    for alpha, sigma, sd in places(case):
        skip, out, _ = coefficients(answers, alpha, sigma, sd)
        assert out > 0, f"{where(alpha, sigma, sd)}: c_out is {out:.4g}, where a positive number is asked for"
        found = ((1 - skip * alpha) ** 2 * sd**2 + skip**2 * sigma**2 * case.tau) / out**2
        assert close(found, 1), f"{where(alpha, sigma, sd)}: its variance is {found:.4g}"


@edm.part(2, "no other c_skip magnifies errors less")
def smallest(answers, case):
    for alpha, sigma, sd in places(case):
        skip, _, _ = coefficients(answers, alpha, sigma, sd)
        needs = [math.sqrt((1 - c * alpha) ** 2 * sd**2 + c**2 * sigma**2 * case.tau) for c in (skip - 1e-3, skip, skip + 1e-3)]
        assert needs[1] < min(needs[0], needs[2]), \
            f"{where(alpha, sigma, sd)}: c_skip = {skip:.4f} needs c_out = {needs[1]:.6f}, and {min(needs):.6f} is enough for another"


@edm.part(1, "for data of the noise's variance the target is -v; at alpha = 0 it is x0 over its standard deviation")
def limits(answers, case):
    spread = math.sqrt(case.tau)
    x0, eps = case.normal(2, 50)
    for alpha, sigma, sd in ((0.6, 0.8, spread), (0.28, 0.96, spread), (0.0, 1.0, spread), (0.0, 1.0, 0.3)):
        skip, out, _ = coefficients(answers, alpha, sigma, sd)
        found = (sd * x0 - skip * (alpha * sd * x0 + sigma * spread * eps)) / out
        wanted = sigma * x0 - alpha * eps                      # -v, where data and noise are both counted in standard deviations
        assert close(found, wanted, 1e-8), f"{where(alpha, sigma, sd)}: the target is {float(found[0]):.4f}, where {float(wanted[0]):.4f} is right"


@edm.mistake("These are EDM's coefficients for y = x_t / alpha. The state here is x_t itself, and y does not exist at alpha = 0.")
def for_y(case):
    def our_precondition(alpha, sigma, sd):
        rho2 = case.tau * (sigma / alpha) ** 2
        return sd**2 / (sd**2 + rho2), math.sqrt(rho2) * sd / math.sqrt(sd**2 + rho2), 1 / math.sqrt(sd**2 + rho2)
    return our_precondition


@edm.mistake("The coefficients are right where alpha > 0. At alpha = 0 this divides by it on its way, and need not.")
def by_way_of_y(case):
    def our_precondition(alpha, sigma, sd):
        skip, out, into = for_y(case)(alpha, sigma, sd)
        return skip / alpha, out, into / alpha
    return our_precondition


@edm.mistake("Nothing of the input is passed on: the network has to say all of x0. Two wishes are met, and errors are magnified needlessly.")
def no_skip(case):
    return lambda alpha, sigma, sd: (0.0, sd, 1 / math.sqrt(alpha**2 * sd**2 + sigma**2 * case.tau))


@edm.mistake("The whole input is passed on, which is a good guess of x0 where there is little noise. A linear guess can be better.")
def whole_skip(case):
    def our_precondition(alpha, sigma, sd):
        noise = sigma**2 * case.tau
        return 1.0, math.sqrt((1 - alpha) ** 2 * sd**2 + noise), 1 / math.sqrt(alpha**2 * sd**2 + noise)
    return our_precondition


@edm.mistake("These are right for data of variance 1 and noise of variance 1 only, where the target is -v. The spread of the data has to enter.")
def unit_data(case):
    return lambda alpha, sigma, sd: (alpha, sigma, 1.0)


@edm.mistake("A root is missing: what scales a number to variance 1 is its standard deviation.")
def no_roots(case):
    def our_precondition(alpha, sigma, sd):
        V = alpha**2 * sd**2 + sigma**2 * case.tau
        return alpha * sd**2 / V, sigma**2 * case.tau * sd**2 / V, 1 / V
    return our_precondition


@edm.mistake("The best slope is the covariance of x0 and x_t over the variance of x_t. The data enter it with their variance.")
def slope(case):
    def our_precondition(alpha, sigma, sd):
        V = alpha**2 * sd**2 + sigma**2 * case.tau
        skip = alpha * sd / V
        return skip, math.sqrt((1 - skip * alpha) ** 2 * sd**2 + skip**2 * sigma**2 * case.tau), 1 / math.sqrt(V)
    return our_precondition


@edm.mistake("All is right but the sign of c_out, which is asked to be positive: with this sign the target is +v.")
def negative(case):
    def our_precondition(alpha, sigma, sd):
        V = alpha**2 * sd**2 + sigma**2 * case.tau
        return alpha * sd**2 / V, -sigma * math.sqrt(case.tau) * sd / math.sqrt(V), 1 / math.sqrt(V)
    return our_precondition


# A loss with a minus sign

signed = Task(
    "objectives-signed",
    ("signed_minimum",),
    minutes=30,
    difficulty=3,
    example="signed_minimum(pair, torch.tensor([[-1.0], [1.0]], dtype=torch.float64), 400, 1, 1.0)",
    vary={"share": (0, 0.2, 0.35, 0.5)},
    twist="In your version the repelling picture is drawn carelessly: with probability {share} it is one of the class $y$ itself, "
          "otherwise one of *any* class. "
          "So the pairs $x'_t, \\epsilon'$ arrive with another density, and the region without a minimum is another.",
    harness="""\
from diffusion_core import GaussianMixture


def signed_of(weights, means, variances, labels, *args):
    return signed_minimum(GaussianMixture(weights, means, variances, labels=labels), *args)
""",
)
WORLDS = {
    "two classes": (double(0.5, 0.5), double([-1.0], [1.0]), double(0.25, 0.25), torch.tensor([0, 1])),
    "three classes": (double(0.2, 0.5, 0.1, 0.2), double([-1.5], [0.2], [1.0], [2.0]), double(0.1, 0.3, 0.2, 0.05), torch.tensor([0, 2, 1, 1])),
}
PLACES = ((0.5, 300), (1.0, 400), (3.0, 700))


def repelling(case, p_y, p):
    """The density of the repelling picture."""
    return case.share * p_y + (1 - case.share) * p


def world(case, name, w, t, y):
    """Positions, m and its score there, and how far m is from 0, relative to its two parts."""
    mixture = GaussianMixture(*WORLDS[name][:3], labels=WORLDS[name][3])
    x = torch.linspace(-3, 4, 141, dtype=torch.float64)[:, None].requires_grad_()
    p_y, p = mixture.log_prob(cosine, x, t, y).exp(), mixture.log_prob(cosine, x, t).exp()
    plus, minus = (1 + w) * p_y, w * repelling(case, p_y, p)
    (gradient,) = torch.autograd.grad((plus - minus).sum(), x)
    m = (plus - minus).detach()
    return x.detach(), m, gradient[:, 0] / m, m.abs() / (plus + minus).detach()


def asked(answers, name, x, t, y, w):
    f, there = sequence(answers.signed_of(*WORLDS[name], x, t, y, w), 2)
    return tensor(f, len(x)), tensor(there, len(x)) > 0.5


@signed.part(2, "the mask is where the loss has a minimum")
def mask(answers, case):
    for name in WORLDS:
        for w, t in PLACES:
            x, m, _, certain = world(case, name, w, t, 1)
            _, there = asked(answers, name, x, t, 1, w)
            wrong = (there != (m > 0)) & (certain > 1e-9)
            assert not wrong.any(), (f"{name}, w = {w:g}, t = {t}, x = {float(x[wrong][0]):.2f}: "
                                     f"the parabola opens {'up' if m[wrong][0] > 0 else 'down'}wards")


@signed.part(2, "where there is a minimum, it is -sigma times the gradient of the logarithm of the difference of the densities")
def minimum(answers, case):
    for name in WORLDS:
        for w, t in PLACES:
            x, m, score, certain = world(case, name, w, t, 1)
            f, _ = asked(answers, name, x, t, 1, w)
            look = (m > 0) & (certain > 1e-4)
            found, wanted = f[look], -(1 - cosine.alpha_bar[t]).sqrt() * score[look]
            bad = ~((found - wanted).abs() <= 1e-6 * (1 + wanted.abs()))
            assert not bad.any(), (f"{name}, w = {w:g}, t = {t}, x = {float(x[look][bad][0]):.2f}: "
                                   f"{float(found[bad][0]):.4g}, where the slope is 0 at {float(wanted[bad][0]):.4g}")


@signed.part(1, "at w = 0 it is the denoiser of the class, everywhere")
def no_weight(answers, case):
    for name in WORLDS:
        for y in (0, 1):
            x = torch.linspace(-3, 4, 36, dtype=torch.float64)[:, None]
            f, there = asked(answers, name, x, 500, y, 0.0)
            mixture = GaussianMixture(*WORLDS[name][:3], labels=WORLDS[name][3])
            wanted = -(1 - cosine.alpha_bar[500]).sqrt() * mixture.score(cosine, x, 500, y)[:, 0]
            assert there.all(), f"{name}, y = {y}: the mask leaves out x = {float(x[~there][0]):.2f}"
            assert close(f, wanted, 1e-8), f"{name}, y = {y}: off the denoiser of the class by up to {float((f - wanted).abs().max()):.3g}"


def mixing(case, rule):
    """signed_minimum with rule(w, p_y, r, eps of the class, eps of the repelling pictures) for the pair (f, mask)."""
    def signed_minimum(mixture, x, t, y, w):
        p_y, p = mixture.log_prob(cosine, x, t, y).exp(), mixture.log_prob(cosine, x, t).exp()
        denoiser, r = mixture.denoiser(cosine), repelling(case, p_y, p)
        told, free = denoiser(x, t, y).eps[:, 0], denoiser(x, t, None).eps[:, 0]
        return rule(w, p_y, r, told, (case.share * p_y * told + (1 - case.share) * p * free) / r)
    return signed_minimum


def exact_rule(w, p_y, r, told, away):
    m = (1 + w) * p_y - w * r
    return ((1 + w) * p_y * told - w * r * away) / m, m > 0


@signed.mistake("This is the guidance rule: it mixes the scores with weights that are the same everywhere. The pairs arrive with densities.")
def guidance(case):
    return mixing(case, lambda w, p_y, r, told, away: ((1 + w) * told - w * away, p_y > 0))


@signed.mistake("The stationary point is right, and it is not always a minimum. Look at the sign of the leading coefficient of the parabola.")
def everywhere(case):
    return mixing(case, lambda *args: (exact_rule(*args)[0], torch.ones_like(args[1], dtype=torch.bool)))


@signed.mistake("The mask is where the parabola opens downwards: there the stationary point is a maximum.")
def maxima(case):
    return mixing(case, lambda w, *args: (exact_rule(w, *args)[0], ~exact_rule(w, *args)[1]))


@signed.mistake("The mask is where the class is denser than the repelling pictures. The factors 1 + w and w decide as well, and allow more.")
def denser(case):
    return mixing(case, lambda w, p_y, r, told, away: (exact_rule(w, p_y, r, told, away)[0], p_y > r))


@signed.mistake("The repelling term attracts here: its sign is lost, and what remains is the denoiser of a mixture.")
def plus(case):
    return mixing(case, lambda w, p_y, r, told, away: (((1 + w) * p_y * told + w * r * away) / ((1 + w) * p_y + w * r), p_y > 0))


@signed.mistake("This is the score. The noise that a denoiser predicts is minus sigma times it.")
def as_score(case):
    def signed_minimum(mixture, x, t, y, w):
        f, there = mixing(case, exact_rule)(mixture, x, t, y, w)
        return -f / (1 - cosine.alpha_bar[t]).sqrt(), there
    return signed_minimum


@signed.mistake("The pairs of the class arrive with the density of x given y. Here stands the joint density of both.")
def joint(case):
    def signed_minimum(mixture, x, t, y, w):
        frequency = mixture.log_weights.exp()[mixture.labels == y].sum()
        return mixing(case, lambda w, p_y, r, told, away: exact_rule(w, frequency * p_y, r, told, away))(mixture, x, t, y, w)
    return signed_minimum


ESSAY = Essay(
    question="""\
You review a report on two denoisers for the same pictures, of the same size, on the same cosine schedule. It says:

> *Network P predicts $v$ with the plain loss; network Q predicts $\\epsilon$ with the weights of the bound. (i) After training, P's loss is 0.21 and
> Q's is 34, so P is the better denoiser. (ii) Since every positive weighting has the same minimum, we did not look further into the weights.
> (iii) Q's bound is 0.15 bits per dimension lower than P's, hence Q's pictures will look better. (iv) On test pictures the loss of the guided
> denoiser with $w = 2$ is higher than with $w = 0$, for both networks. Guidance therefore harms, and we switched it off.*

1. For each of (i) to (iv): what in it is true, and why does the conclusion not follow?
2. Which of the two networks do you expect to draw better pictures, and where, in $t$, will each be the more accurate denoiser? Give the reason.
3. Describe one measurement that compares the two *as denoisers* fairly.""",
    rubric="""\
- (i) 1 point: the two numbers are in other units, with other weights, and each contains its own floor (what cannot be known from x_t). They cannot
  be compared.
- (ii) 1 point: true for a network that can do anything at each t separately. One network of limited capacity errs where the weights let it.
- (iii) 1 point: nearly all bits are paid at small noise, on details of the size of a grey level. What a picture shows is decided at noise levels that
  cost about a per cent of the bits.
- (iv) 1 point: the loss must rise, by w^2 times the mean square of the difference of the two exact denoisers. Guidance is not there to lower it:
  judge the samples, not the squared error.
- 2. 1 point: P is expected to draw better pictures. Q is more accurate at small t (the bound is even in lambda), P at middle and large t (plain v
  weighs the error of x0 by 1 + snr).
- 3. 1 point: the same test pictures and the same noise for both, both outputs turned into one target (x0, say), squared errors compared separately
  at each t, or in ranges of lambda.

Typical wrong answers: "Q diverged, its loss is large"; "convert Q's loss with one factor" (the factor depends on t); "guidance lowers the loss if w
is tuned" (its slope at w = 0 is 0, and the parabola opens upwards).""",
    points=6,
    minutes=25,
)

SET = ProblemSet("objectives", "What a loss cares about", "04_mathematics/02_objectives", SETUP, [vlb, weights, edm, signed], ESSAY)
