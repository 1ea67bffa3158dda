"""Graders of section 5.3, classifier-free guidance in PyTorch."""

import math

import torch

from diffusion_core import NULL, GaussianMixture, Prediction, Schedule, ddim, final, guided, timesteps
from diffusion_core.denoisers import FunctionDenoiser

from ..task import Essay, ProblemSet, Task, close, number, tensor

SETUP = """\
import math

import torch

from diffusion_core import NULL, GaussianMixture, Prediction, Schedule, autoguided, ddim, final, guided, timesteps
from diffusion_core.denoisers import FunctionDenoiser

schedule = Schedule.cosine(1000)
T = len(schedule)

# Three classes in the plane and their exact denoiser, to try things on: exact(x_t, t, labels).x0, and NULL = -1 is "no label".
plane = GaussianMixture(torch.ones(4), torch.tensor([[-1.1, 0.9], [1.1, 0.9], [1.3, -0.6], [-0.5, -1.0]], dtype=torch.float64),
                        torch.tensor([0.12, 0.12, 0.16, 0.16], dtype=torch.float64), labels=torch.tensor([0, 0, 1, 2]))
exact = plane.denoiser(schedule)
zero = torch.tensor(0)                                        # label 0 for every row


def run(denoiser, steps=20, x=torch.ones(1, 2, dtype=torch.float64), cond=zero):
    "Samples by DDIM from the noise x."
    return final(ddim(denoiser, x, denoiser.schedule, steps=steps, cond=cond))
"""
schedule = Schedule.cosine(1000)
T = len(schedule)


# The bill of a guided sampler

rows = Task(
    "practice-cfg-rows",
    ("rows_needed",),
    minutes=8,
    difficulty=1,
    example="rows_needed(8, 1000, 25, 200, 600)",
    vary={"away": (1, 2, 3, 4)},
    twist="Inside the interval your version moves away from {away} things at once, the null condition and negative labels, and the network is "
          "asked for each of them beside the label that is wanted. Outside, it is asked for that label alone.",
)


def paid(case, N, length, steps, low, high):
    """Rows of a real run: a sampler over `length` times with a denoiser that counts what it is asked for."""
    asked = []

    def predict(x_t, t, cond):
        asked.extend([len(x_t)] * (1 + case.away if low <= t <= high else 1))
        return Prediction(x_t, table.at(t), "x0", 0 * x_t)

    table = Schedule.cosine(length)
    final(ddim(FunctionDenoiser(table, predict), torch.ones(N, 1, dtype=torch.float64), table, steps=steps))
    return sum(asked)


def bill(answers, case, *request):
    found, right = number(answers.rows_needed(*request)), paid(case, *request)
    assert found == right, "N = {}, T = {}, steps = {}, low = {}, high = {}: ".format(*request) + f"{found:g} rows, and a run takes {right}"


def about(case, stream, steps):
    """An interval of 1 .. 1000 whose ends are no times of the grid with that many steps."""
    low, high = sorted(case.uniform(2, low=50, high=950, stream=stream).int().tolist())
    on = {t for t, _ in timesteps(T, steps)}
    return next(n for n in range(low, T) if n not in on), next(n for n in range(high, T) if n not in on)


@rows.part(1, "an interval between times of an even grid: as many rows as a run")
def inside(answers, case):
    bill(answers, case, 3, 1000, 20, *about(case, 0, 20))
    bill(answers, case, 5, 1000, 10, *about(case, 1, 10))
    bill(answers, case, 1, 200, 40, 31, 148)


@rows.part(1, "a time at either end is guided, and an empty interval guides nothing")
def ends(answers, case):
    for N, steps, low, high in ((2, 10, 300, 300), (4, 10, 1000, 1000), (2, 10, 300, 600), (3, 20, 250, 299), (3, 20, 601, 650), (2, 10, 600, 599)):
        bill(answers, case, N, 1000, steps, low, high)


@rows.part(1, "a number of steps that does not divide T")
def uneven(answers, case):
    for steps in (7, 13, 61):
        bill(answers, case, 2, 1000, steps, *about(case, steps, steps))


@rows.mistake("The interval is a share of the times 1 .. T, but the sampler visits only the times of its grid: count those.")
def by_share(case):
    return lambda N, T, steps, low, high: N * (steps + case.away * round(steps * max(0, high - low + 1) / T))


@rows.mistake("This is the price of guidance at all times. Outside the interval the network is asked for the wanted label alone.")
def everywhere(case):
    return lambda N, T, steps, low, high: (1 + case.away) * N * steps


@rows.mistake("The ends belong to the interval: low <= t <= high.")
def open_ends(case):
    return lambda N, T, steps, low, high: N * sum(1 + case.away * (low < t < high) for t, _ in timesteps(T, steps))


@rows.mistake("A step goes from t to s, and the network is asked at the one where it begins, where the picture is noisier.")
def where_steps_end(case):
    return lambda N, T, steps, low, high: N * sum(1 + case.away * (low <= s <= high) for _, s in timesteps(T, steps))


@rows.mistake("These are the calls on top of another. Every call has a row for each picture.")
def no_pictures(case):
    return lambda N, T, steps, low, high: sum(1 + case.away * (low <= t <= high) for t, _ in timesteps(T, steps))


@rows.mistake("These are times with a whole stride T // steps. The trailing grid rounds each time by itself, so any number of steps fits.")
def whole_stride(case):
    return lambda N, T, steps, low, high: N * sum(1 + case.away * (low <= t <= high) for t in range(T, 0, -(T // steps)))


@rows.mistake("The wanted label is counted twice inside the interval: once with all times, and once more with the guided ones.")
def counted_twice(case):
    return lambda N, T, steps, low, high: N * (steps + (1 + case.away) * sum(low <= t <= high for t, _ in timesteps(T, steps)))


@rows.mistake("The grid is made for 1000 times, whatever T is.")
def a_thousand(case):
    return lambda N, T, steps, low, high: N * sum(1 + case.away * (low <= t <= high) for t, _ in timesteps(1000, steps))


# Guidance in an interval of times

interval = Task(
    "practice-cfg-interval",
    ("my_interval",),
    minutes=15,
    difficulty=2,
    example="my_interval(exact, 2.0, 300, 600)(torch.ones(1, 2, dtype=torch.float64), 500, zero).x0",
    vary={"power": (0, 0.5, 1, 2)},
    twist="Inside the interval the weight of your version fades towards the noise: at time $t$ it is $w\\, \\bar\\alpha_t^{{{power}}}$, "
          "where $\\bar\\alpha_t$ is `denoiser.schedule.alpha_bar[t]`.",
    harness='''
def x0_of(denoiser, w, low, high, x_t, t, labels):
    "x0 of the student's denoiser, as data."
    from diffusion_core import Prediction

    found = my_interval(denoiser, w, low, high)(x_t, t, labels)
    if not isinstance(found, Prediction):
        raise TypeError(f"what my_interval gives back gives a {type(found).__name__}, and no Prediction")
    return found.x0
''',
)
LABELS = torch.tensor([0, 2, 1, 0, 2])


class Asked:
    """A denoiser of no data at all, and how many rows without a label it was asked for."""

    def __init__(self):
        self.nulls = 0
        self.denoiser = FunctionDenoiser(schedule, self.predict)

    def predict(self, x_t, t, cond):
        labels = torch.full((len(x_t),), NULL) if cond is None else torch.as_tensor(cond).expand(len(x_t))
        self.nulls += int((labels == NULL).sum())
        return Prediction(x_t, schedule.at(t), "x0", (2 * x_t + labels[:, None]).sin() + int(torch.as_tensor(t).max()) / T)


def asked_at(answers, x, t, w, low, high):
    """What `my_interval` says at t: its x0, and the rows without a label that it took."""
    asked = Asked()
    return tensor(answers.x0_of(asked.denoiser, w, low, high, x, t, LABELS), *x.shape), asked.nulls


def models(case, x, t, w):
    """x0 of the guided model and of the conditional one."""
    plain, null = (Asked().denoiser(x, t, labels).x0 for labels in (LABELS, None))
    weight = w * float(schedule.alpha_bar[t]) ** case.power
    return (1 + weight) * plain - weight * null, plain


@interval.part(2, "inside, x0 is that of the guided model")
def leans(answers, case):
    x = case.normal(5, 2)
    for t, w, low, high in ((500, 2.0, 300, 600), (420, 0.5, 400, 450), (310, 5.0, 1, 1000), (200, -1.0, 100, 300)):
        found, _ = asked_at(answers, x, t, w, low, high)
        far = float((found - models(case, x, t, w)[0]).abs().max())
        assert far < 1e-9, f"t = {t}, w = {w}, from {low} to {high}: x0 is {far:.2g} away from the guided one"


@interval.part(1, "outside it is the conditional model, and inside it is another")
def rests(answers, case):
    x = case.normal(5, 2, stream=1)
    for t, low, high in ((800, 300, 600), (150, 300, 600), (500, 600, 400), (999, 1, 500)):
        found, _ = asked_at(answers, x, t, 2.0, low, high)
        far = float((found - models(case, x, t, 2.0)[1]).abs().max())
        assert far < 1e-9, f"t = {t}, from {low} to {high}: x0 is {far:.2g} away from the conditional one"
    assert not close(asked_at(answers, x, 450, 2.0, 300, 600)[0], models(case, x, 450, 2.0)[1], 1e-6), "t = 450, from 300 to 600: nothing is guided"


@interval.part(2, "the null condition is asked for inside, and only there")
def pays(answers, case):
    x = case.normal(5, 2, stream=2)
    for t, low, high in ((400, 300, 600), (700, 300, 600), (100, 300, 600), (500, 1, 1000)):
        _, nulls = asked_at(answers, x, t, 2.0, low, high)
        right = 5 if low <= t <= high else 0
        assert nulls == right, f"t = {t}, from {low} to {high}, 5 pictures: {nulls} rows without a label were asked for, and {right} are needed"


@interval.part(1, "the ends are inside, and their neighbours are not")
def closed_ends(answers, case):
    x = case.normal(5, 2, stream=3)
    for t, low, high in ((600, 300, 600), (300, 300, 600), (299, 300, 600), (601, 300, 600), (400, 400, 400), (401, 400, 400)):
        within = low <= t <= high
        found, right = asked_at(answers, x, t, 2.0, low, high)[0], models(case, x, t, 2.0)[0 if within else 1]
        assert close(found, right), f"t = {t}, from {low} to {high}: this time is {'inside' if within else 'outside'}"


def by_rule(case, rule, inside=lambda t, low, high: low <= t <= high):
    """my_interval with another rule for x0 inside: rule(plain, null, weight)."""

    def my_interval(denoiser, w, low, high):
        def predict(x_t, t, cond):
            plain = denoiser(x_t, t, cond)
            if not inside(t, low, high):
                return plain
            weight = w * float(denoiser.schedule.alpha_bar[t]) ** case.power
            return plain.with_x0(rule(plain.x0, denoiser(x_t, t, None).x0, weight))
        return FunctionDenoiser(denoiser.schedule, predict)

    return my_interval


def lean(plain, null, weight):
    return (1 + weight) * plain - weight * null


@interval.mistake("The interval is one time off: t runs from 1 to T here, and only a network's own input counts from 0.")
def one_late(case):
    return by_rule(case, lean, lambda t, low, high: low + 1 <= t <= high + 1)


@interval.mistake("The guided prediction is made at all times and thrown away outside. The pictures are right and cost more than with full guidance.")
def thrown_away(case):
    def my_interval(denoiser, w, low, high):
        def predict(x_t, t, cond):
            plain, null = denoiser(x_t, t, cond), denoiser(x_t, t, None).x0
            return plain.with_x0(lean(plain.x0, null, w * float(denoiser.schedule.alpha_bar[t]) ** case.power)) if low <= t <= high else plain
        return FunctionDenoiser(denoiser.schedule, predict)
    return my_interval


@interval.mistake("This guides at all times, whatever the interval is.")
def always(case):
    return by_rule(case, lean, lambda t, low, high: True)


@interval.mistake("Inside and outside are exchanged.")
def outside(case):
    return by_rule(case, lean, lambda t, low, high: not low <= t <= high)


@interval.mistake("The ends belong to the interval: low <= t <= high.")
def without_ends(case):
    return by_rule(case, lean, lambda t, low, high: low < t < high)


@interval.mistake("The weight is taken for the scale s = 1 + w, which most software uses: here w = 0 is the conditional model.")
def scale(case):
    return by_rule(case, lambda plain, null, weight: weight * plain + (1 - weight) * null)


@interval.mistake("This moves towards the null prediction. Guidance moves away from it, past the conditional one.")
def towards(case):
    return by_rule(case, lambda plain, null, weight: (1 - weight) * plain + weight * null)


@interval.mistake("An interval that begins after it ends is empty: its ends are not to be exchanged.")
def turned_round(case):
    return by_rule(case, lean, lambda t, low, high: min(low, high) <= t <= max(low, high))


@interval.mistake("Negative weights count as none. They are as good as others: w = -1 is the unconditional model.")
def no_negative(case):
    return by_rule(case, lambda plain, null, weight: lean(plain, null, max(weight, 0)))


@interval.mistake("Outside the interval the label is dropped. What is left out there is the null condition, and the label stays.")
def unlabelled(case):
    def my_interval(denoiser, w, low, high):
        right = by_rule(case, lean)(denoiser, w, low, high)
        return FunctionDenoiser(denoiser.schedule, lambda x_t, t, cond: right(x_t, t, cond) if low <= t <= high else denoiser(x_t, t, None))
    return my_interval


# Rescaling that keeps the mean

rescale = Task(
    "practice-cfg-rescale",
    ("rescale",),
    minutes=15,
    difficulty=2,
    example="rescale(torch.tensor([[-1.0, 0.5, 3.0]]), torch.tensor([[-1.0, 0.0, 1.0]]), 0.7)",
    vary={"kappa": (0, 0.25, 0.75, 1)},
    twist="The mean of your version has a dial of its own: the mean of each row of the result is $(1 - {kappa})$ times that of `x0_w` plus "
          "${kappa}$ times that of `x0_cond`. The spread obeys the same rule as before.",
)
DIALS = (0.0, 0.3, 0.7, 1.0)


def predictions(case, stream=0, rows=4, pixels=25):
    """A guided and a conditional prediction: rows of different spread and mean, and alike but not the same."""
    spread, level, shift = case.uniform(3, rows, 1, low=0.2, high=0.9, stream=stream + 100)
    plain = spread * case.normal(rows, pixels, stream=stream) - level
    return plain + 3 * plain.abs() * case.normal(rows, pixels, stream=stream + 200).sign() + shift, plain


def mended(answers, leaning, plain, phi):
    out = tensor(answers.rescale(leaning, plain, phi), *leaning.shape)
    unchanged = close(out, leaning, 1e-6) or close(out, plain, 1e-6)
    assert phi == 0 or not unchanged, f"phi = {phi}: this is one of the two predictions as it was"
    return out


@rescale.part(2, "the spread of each row is phi times the conditional one and 1 - phi times the guided one")
def spread(answers, case):
    for stream, phi in enumerate(DIALS):
        leaning, plain = predictions(case, stream)
        found, right = mended(answers, leaning, plain, phi).std(1), phi * plain.std(1) + (1 - phi) * leaning.std(1)
        assert close(found, right), f"phi = {phi}: a row's spread is off by {float((found - right).abs().max()):.3g}"


@rescale.part(2, "the mean of each row is as asked for, whatever phi is")
def level(answers, case):
    for stream, phi in enumerate(DIALS[1:], 5):
        leaning, plain = predictions(case, stream)
        found, right = mended(answers, leaning, plain, phi).mean(1), (1 - case.kappa) * leaning.mean(1) + case.kappa * plain.mean(1)
        assert close(found, right), f"phi = {phi}: a row's mean is off by {float((found - right).abs().max()):.3g}"


@rescale.part(1, "with mean and spread taken out, each row is the guided one")
def pattern(answers, case):
    standard = lambda x: (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)
    for stream, phi in enumerate(DIALS[1:], 10):
        leaning, plain = predictions(case, stream)
        far = float((standard(mended(answers, leaning, plain, phi)) - standard(leaning)).abs().max())
        assert far < 1e-8, f"phi = {phi}: a pixel is {far:.2g} spreads away from where the guided prediction has it"


def around(case, phi, leaning, plain, factor, mean=None):
    """The right rescaling with another factor, or another mean."""
    own = leaning.mean(1, keepdim=True)
    mean = (1 - case.kappa) * own + case.kappa * plain.mean(1, keepdim=True) if mean is None else mean
    return mean + factor * (leaning - own)


def ratio(leaning, plain):
    return plain.std(1, keepdim=True) / leaning.std(1, keepdim=True)


@rescale.mistake("This is the paper's rule. It multiplies the pixels themselves, and so their mean as well, which turns black into grey.")
def paper(case):
    return lambda leaning, plain, phi: (phi * ratio(leaning, plain) + 1 - phi) * leaning


@rescale.mistake("The spread is taken over the whole batch. Each picture has its own: what is drawn beside it must not matter.")
def over_the_batch(case):
    return lambda leaning, plain, phi: around(case, phi, leaning, plain, phi * plain.std() / leaning.std() + 1 - phi)


@rescale.mistake("The factor is made of variances. A factor multiplies the standard deviation, whose square is the variance.")
def variances(case):
    return lambda leaning, plain, phi: around(case, phi, leaning, plain, phi * ratio(leaning, plain) ** 2 + 1 - phi)


@rescale.mistake("The dial is turned the wrong way round: phi = 0 leaves the spread of guidance as it is.")
def dial_reversed(case):
    return lambda leaning, plain, phi: around(case, phi, leaning, plain, (1 - phi) * ratio(leaning, plain) + phi)


@rescale.mistake("The two spreads are exchanged in the ratio: pixels that are spread too far come out spread further.")
def upside_down(case):
    return lambda leaning, plain, phi: around(case, phi, leaning, plain, phi / ratio(leaning, plain) + 1 - phi)


@rescale.mistake("Mean and spread are right, and the pixels are those of the conditional prediction: what guidance had done to the picture is gone.")
def other_pattern(case):
    def rescale(leaning, plain, phi):
        centre = (1 - case.kappa) * leaning.mean(1, keepdim=True) + case.kappa * plain.mean(1, keepdim=True)
        return centre + (phi + (1 - phi) / ratio(leaning, plain)) * (plain - plain.mean(1, keepdim=True))
    return rescale


@rescale.mistake("The share 1 - phi of the guided spread is missing.")
def no_rest(case):
    return lambda leaning, plain, phi: around(case, phi, leaning, plain, phi * ratio(leaning, plain))


@rescale.mistake("The mean was taken out before scaling, and it is still missing in the result.")
def centred(case):
    return lambda leaning, plain, phi: around(case, phi, leaning, plain, phi * ratio(leaning, plain) + 1 - phi, mean=0)


@rescale.mistake("The spread is right, and the mean is drawn to the wrong one of the two predictions.")
def other_mean(case):
    def rescale(leaning, plain, phi):
        mean = case.kappa * leaning.mean(1, keepdim=True) + (1 - case.kappa) * plain.mean(1, keepdim=True)
        return around(case, phi, leaning, plain, phi * ratio(leaning, plain) + 1 - phi, mean)
    return rescale


# The weight of autoguidance that repairs a blurred network

repair = Task(
    "practice-cfg-repair",
    ("repair",),
    minutes=25,
    difficulty=3,
    example="repair(0.10, 0.13, 0.20)",
    vary={"stop": (math.inf, 0.25, 1.0, 4.0)},
    twist="Your version guides late only: while the noise-to-signal ratio $\\varsigma^2 = (1 - \\bar\\alpha_t) / \\bar\\alpha_t$ is at most {stop}. "
          "At larger noise the better network is followed as it is. "
          "(\"Exactly, for a Gaussian\" in section 5.3 has guidance between two levels of noise.)",
)
NOISE = torch.linspace(math.log(1e-7), math.log(1e7), 4001, dtype=torch.float64).exp()         # values of the noise-to-signal ratio


def flowed(case, w, c, C):
    """The variance that samples have at the end: the guided flow of x / sqrt(alpha_bar), followed step by step through the noise."""
    border = torch.tensor([case.stop] if case.stop < math.inf else [], dtype=torch.float64)
    noise = torch.cat([NOISE[NOISE < case.stop], border, NOISE[NOISE > case.stop]])
    middle, steps = (noise[1:] * noise[:-1]).sqrt(), noise.log().diff()
    pull = 1 / (c + middle) + w * (middle < case.stop) * (1 / (c + middle) - 1 / (C + middle))
    return float((noise[-1] + c) * (-(pull * middle * steps).sum()).exp())


def weight(answers, *variances):
    return number(answers.repair(*variances))


def blurred(case, stream):
    """c0 < c < C, by factors that differ from draw to draw."""
    c0, first, second = (float(v) for v in case.uniform(3, low=0.1, high=1, stream=stream))
    return c0, c0 * (1 + first), c0 * (1 + first) * (1 + 2 * second)


@repair.part(2, "two blurred networks: samples have the spread of the data")
def spread_is_right(answers, case):
    for c0, c, C in ((0.10, 0.13, 0.20), (0.5, 0.6, 0.9), *(blurred(case, stream) for stream in range(4))):
        w = weight(answers, c0, c, C)
        found = flowed(case, w, c, C)
        assert abs(found / c0 - 1) < 1e-3, f"c0 = {c0:.3g}, c = {c:.3g}, C = {C:.3g}: with w = {w:.3g} samples have variance {found:.3g}"


@repair.part(2, "a better network that is too sharp is moved towards the weaker one")
def too_sharp(answers, case):
    for c0, c, C in ((0.3, 0.2, 0.4), (1.0, 0.7, 0.8), (0.5, 0.4, 0.6)):
        w = weight(answers, c0, c, C)
        found = flowed(case, w, c, C)
        assert abs(found / c0 - 1) < 1e-3, f"c0 = {c0}, c = {c}, C = {C}: with w = {w:.3g} samples have variance {found:.3g}"


@repair.part(1, "a network that is right needs nothing, and more blur needs more")
def more(answers, case):
    for _, c, C in (blurred(case, stream) for stream in (5, 6)):
        found = [weight(answers, c0, c, C) for c0 in (c, 0.9 * c, 0.7 * c)]
        listed = ", ".join(f"{w:.3g}" for w in found)
        assert close(found[0], 0) and found[0] < found[1] < found[2], f"c = {c:.3g}, C = {C:.3g}: w is {listed} for c0 = c, 0.9 c and 0.7 c"


def strength(case, c, C):
    """Minus the logarithm of the variance per unit of w."""
    return math.log(C / c) + (math.log((c + case.stop) / (C + case.stop)) if case.stop < math.inf else 0)


@repair.mistake("The variance is multiplied by (c / C) to the power w, and the standard deviation by its root: here one was taken for the other.")
def root_missed(case):
    return lambda c0, c, C: math.log(c / c0) / (2 * strength(case, c, C))


@repair.mistake("The sign is that of a move towards the weaker network. Two blurred networks need a move away from it.")
def wrong_way(case):
    return lambda c0, c, C: math.log(c0 / c) / strength(case, c, C)


@repair.mistake("This is the scale s = 1 + w. With w = 0 the better network is left as it is.")
def scale_for_weight(case):
    return lambda c0, c, C: 1 + math.log(c / c0) / strength(case, c, C)


@repair.mistake("This extrapolates the two variances along a line. With scores extrapolated at every time, variances change by factors.")
def straight_line(case):
    return lambda c0, c, C: (c - c0) / (C - c)


@repair.mistake("This extrapolates the two standard deviations along a line. With scores extrapolated at every time, spreads change by factors.")
def straight_line_of_roots(case):
    return lambda c0, c, C: (math.sqrt(c) - math.sqrt(c0)) / (math.sqrt(C) - math.sqrt(c))


@repair.mistake("The weight is never negative here. A better network that is too sharp already has to be moved towards the weaker one.")
def never_negative(case):
    return lambda c0, c, C: abs(math.log(c / c0) / strength(case, c, C))


@repair.mistake("The fraction is upside down: much blur needs much guidance, and a small difference between the networks needs more of it.")
def upside_down_weight(case):
    return lambda c0, c, C: strength(case, c, C) / (math.log(c / c0) or 1e-9)


ESSAY = Essay(
    question="""\
A colleague compares guidance at $300 \\le t \\le 700$ with guidance at all times, both with $w = 1$ and 25 steps, on one trained network. He
reports: "The Fréchet distance falls from 1.0 to 0.2 at the same number of evaluations. So guidance at high noise is harmful in every diffusion
model, and $w = 1$ in the middle should replace $w = 1$ everywhere."

1. Is "the same number of evaluations" a fair comparison of cost? Say what you would count, and which way the comparison then goes.
2. What does an *exact* denoiser lose by guidance at high noise, and what by guidance in the middle? Give the reason in terms of the noise and the
   size of what it acts on.
3. Which part of "harmful in every diffusion model" follows from the measurement, and which part does not? Name one measurement that would be
   evidence for it or against it.
4. "Should replace": name a user who would rightly keep guidance at all times.
""",
    rubric="""\
6 points.

1. (1 point) Evaluations hide that a guided step takes two rows for each picture and an unguided one takes one. Counted in rows, full guidance
   costs 2 * 25 = 50 a picture and the interval 25 + 10 = 35 (320, 360, .., 680). So the interval wins at *lower* cost: the comparison is unfair
   to the interval, not in its favour. Typical wrong answer: that the interval is cheaper in calls (it is not: calls are equal where guidance is
   batched).
2. (2 points) An exact model has no errors to repair, so guidance in any interval moves samples away from the class's distribution (1 point for
   saying so). Early guidance decides which part of the class a sample falls into, so parts near other classes are lost; guidance in the middle
   moves and narrows within a part (1 point). The reason: guidance acts on a feature while the noise is of that feature's size; above it the two
   scores agree, below it little of the way is left. Typical wrong answer: that guidance at high noise does nothing since all is noise. It acts on
   the coarsest features, which is what decides the part.
3. (2 points) The measurement says: on this network, this data, this w, distance prefers the middle. It does not speak of other networks, data
   with other sizes of features (a class without parts loses nothing early), other w, or other schedules, for which the same t is another level of
   noise (1 point for the limits, with one good reason). Evidence: the same sweep of intervals with another network or data set and noise levels
   in place of t; the oracle with one part a class; recall or share of each part beside distance (1 point for one that could come out either way).
   "More seeds" alone earns nothing: that is about this network again.
4. (1 point) Whoever wants each picture to be recognisably of its class and accepts little variety: class accuracy is highest with guidance at all
   times. Distance and accuracy rank the variants differently.
""",
    points=6,
    minutes=25,
)

SET = ProblemSet("guidance_pytorch", "Guidance that is counted, timed and tamed", "05_practice/03_guidance_pytorch", SETUP,
                 [rows, interval, rescale, repair], ESSAY)
