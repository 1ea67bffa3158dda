"""Graders of section 3.3, classifier-free guidance."""

import torch

from diffusion_core import GaussianMixture, Prediction, Schedule

from ..task import Essay, ProblemSet, Task, close, number, sequence, tensor

SETUP = """\
import torch

from diffusion_core import NULL, GaussianMixture, Schedule, guided

schedule = Schedule.cosine(1000)
T = len(schedule)
plane = GaussianMixture(                          # three classes in the plane; class 0 has two parts
    weights=torch.ones(4),
    means=torch.tensor([[-1.1, 0.9], [1.1, 0.9], [1.3, -0.6], [-0.5, -1.0]], dtype=torch.float64),
    covariances=torch.tensor([0.12, 0.12, 0.16, 0.16], dtype=torch.float64),
    labels=torch.tensor([0, 0, 1, 2]),
)
exact = plane.denoiser(schedule)                  # exact(x_t, t, cond) has .x0, .eps, .v and .score


def seed(number):
    "A fresh source of random numbers, so that every draw below can be repeated."
    return torch.Generator().manual_seed(number)
"""

schedule = Schedule.cosine(1000)
T, a = len(schedule), schedule.alpha_bar


def score(mixture, x, t, exponents):
    """The gradient of the sum of exponents[label] log p_t(x | label), by automatic differentiation; None is no label."""
    x = x.clone().requires_grad_()
    total = sum(power * mixture.log_prob(schedule, x, t, label).sum() for label, power in exponents.items())
    return torch.autograd.grad(total, x)[0]


def classes(case, dimensions=2, stream=0):
    """Two classes, the first of two parts, and a third beside them."""
    means = case.uniform(4, dimensions, low=-1.5, high=1.5, stream=stream)
    return GaussianMixture([0.3, 0.2, 0.25, 0.25], means, [0.2, 0.3, 0.25, 0.4], labels=[0, 0, 1, 2])


# The rule

rule = Task(
    "cfg-rule",
    ("combine",),
    minutes=10,
    difficulty=1,
    example="combine(torch.ones(2, 3, dtype=torch.float64), torch.zeros(2, 3, dtype=torch.float64), 2.0)",
    vary={"conditional": (0, 1, 2, 5), "unconditional": (-1, 0, -2, -3)},
    twist="Your version counts the strength in another way: the conditional model comes out at $w = {conditional}$ and "
          "the unconditional one at $w = {unconditional}$. The rule is affine in $w$ as before.",
)


def reach(case, w):
    """How far w goes on the way from the unconditional (0) to the conditional model (1): the book's 1 + w."""
    return (w - case.unconditional) / (case.conditional - case.unconditional)


def strength(case, weight):
    """The w of this version that gives the book's weight."""
    return case.unconditional + (1 + weight) * (case.conditional - case.unconditional)


def two(case, stream):
    return case.normal(2, 3, 4, 5, 5, stream=stream)


def differs(found, other):
    """Where two tensors (3, 4, 5, 5) differ, for a message."""
    off = (found - other).abs().amax((0, 2, 3))
    return f"they differ by up to {off.max():.3g}, in {int((off > 1e-9).sum())} of {len(off)} channels"


@rule.part(2, "the conditional and the unconditional model come out where they should")
def ends(answers, case):
    cond, null = two(case, 1)
    for name, wanted, w in (("conditional", cond, case.conditional), ("unconditional", null, case.unconditional)):
        found = tensor(answers.combine(cond, null, w), 3, 4, 5, 5)
        assert close(found, wanted), f"w = {w:g} does not give the {name} prediction: {differs(found, wanted)}"


@rule.part(1, "each unit of w adds the same multiple of the difference")
def affine(answers, case):
    cond, null = two(case, 2)
    unit = (cond - null) / (case.conditional - case.unconditional)
    w = [case.unconditional, *sorted(case.uniform(3, low=-1.0, high=8.0).tolist())]
    found = [tensor(answers.combine(cond, null, value), 3, 4, 5, 5) for value in w]
    for i in range(1, len(w)):
        change, wanted = found[i] - found[i - 1], (w[i] - w[i - 1]) * unit
        where = f"from w = {w[i - 1]:.2f} to {w[i]:.2f}"
        assert close(change, wanted, 1e-8), f"{where} the prediction does not change as it should: {differs(change, wanted)}"


@rule.part(1, "with exact scores it is the score of p_t(x) p_t(y | x)^(1 + weight)")
def bayes(answers, case):
    mixture, x = classes(case), case.normal(6, 2, stream=3)
    for t in (100, 400, 800):
        cond, null = (score(mixture, x, t, {label: 1.0}) for label in (0, None))
        for w in (strength(case, 0.7), strength(case, 3.0)):
            power = reach(case, w)
            found, wanted = tensor(answers.combine(cond, null, w), 6, 2), score(mixture, x, t, {None: 1 - power, 0: power})
            assert close(found, wanted, 1e-8), f"t = {t}, w = {w:g}: the combined score is off by up to {(found - wanted).abs().max():.3g}"


@rule.part(1, "predictions of eps, x0 and v may be combined, with one result")
def readings(answers, case):
    cond, null = two(case, 4)
    x_t, w = case.normal(3, 4, 5, 5, stream=5), strength(case, 2.0)
    says = [Prediction(x_t, a[300], "eps", value) for value in (cond, null)]
    ask = lambda kind: tensor(answers.combine(*(getattr(prediction, kind) for prediction in says), w), 3, 4, 5, 5)
    combined = {kind: Prediction(x_t, a[300], kind, ask(kind)) for kind in ("eps", "x0", "v")}
    for kind in ("x0", "v"):
        off = differs(combined[kind].eps, combined["eps"].eps)
        assert close(combined[kind].eps, combined["eps"].eps, 1e-8), f"w = {w:g}: combined as {kind} and as eps, {off}"
    assert not (close(combined["eps"].eps, cond) or close(combined["eps"].eps, null)), f"w = {w:g}: one of the two predictions came back as it is"


@rule.mistake("The strength is off by one unit: where the conditional model should come out, the unconditional one does. "
              "The weight w and the scale 1 + w are mixed up.")
def weight_for_scale(case):
    return lambda cond, null, w: null + (reach(case, w) - 1) * (cond - null)


@rule.mistake("The two predictions have changed places: with growing w the result turns away from the label.")
def swapped(case):
    return lambda cond, null, w: cond + reach(case, w) * (null - cond)


@rule.mistake("One channel is not guided. A rule that is tested at w for the conditional model alone looks right all the same.")
def one_channel_left(case):
    def combine(cond, null, w):
        out = cond.clone()
        out[:, :-1] = (null + reach(case, w) * (cond - null))[:, :-1]
        return out
    return combine


@rule.mistake("The sign before the unconditional prediction is turned: it is added, where the rule moves away from it.")
def plus(case):
    return lambda cond, null, w: reach(case, w) * cond + (reach(case, w) - 1) * null


@rule.mistake("Only the difference is left, scaled. It has to be added to a prediction: the weights of the two must add up to 1.")
def difference_alone(case):
    return lambda cond, null, w: reach(case, w) * (cond - null)


@rule.mistake("The result stays between the two predictions. Guidance goes beyond the conditional one.")
def no_extrapolation(case):
    return lambda cond, null, w: null + min(max(reach(case, w), 0.0), 1.0) * (cond - null)


# The bug zoo

bugs = Task(
    "cfg-bugs",
    ("accepts",),
    minutes=20,
    difficulty=2,
    example="[accepts(bug) for bug in (bug_a, bug_b, bug_c)]",
    vary={"extra": (0, 2, 3, 4)},
    twist="The networks of your version also learn a variance: after the 4 channels of the prediction come {extra} more, so the two tensors "
          "have the shape (N, 4 + {extra}, H, W). Only the first 4 channels are guided. A right rule takes the last {extra} from the conditional "
          "prediction as they are, whatever $w$; one that guides them, too, is wrong. "
          "The three bugs were made for 4 channels, and are bugs here, too.",
)


def guiding(change, channels=4):
    """A rule combine(cond, null, w) that changes the first channels to change(cond, null, w) and leaves the rest as they are."""
    def combine(cond, null, w):
        out = cond.clone()
        out[:, :channels] = change(cond[:, :channels], null[:, :channels], w)
        return out
    return combine


def leaving(place):
    """The rule, but with cond untouched at a place out[place]."""
    def change(cond, null, w):
        out = cond + w * (cond - null)
        out[place] = cond[place]
        return out
    return guiding(change)


def rescaled(cond, null, w):
    out = cond + w * (cond - null)
    return out * cond.std((1, 2, 3), correction=0, keepdim=True) / out.std((1, 2, 3), correction=0, keepdim=True).clamp(min=1e-9)


RIGHT = {
    "cond + w (cond - null)": guiding(lambda cond, null, w: cond + w * (cond - null)),
    "(1 + w) cond - w null": guiding(lambda cond, null, w: (1 + w) * cond - w * null),
    "null + (1 + w) (cond - null)": guiding(lambda cond, null, w: null + (1 + w) * (cond - null)),
}
SHOWN = {
    "bug A": guiding(lambda cond, null, w: null + w * (cond - null)),
    "bug B": guiding(lambda cond, null, w: (1 + w) * null - w * cond),
    "bug C": guiding(lambda cond, null, w: cond + w * (cond - null), channels=3),
}
BENT = {
    "one that gives the conditional model for all w below 0": guiding(lambda cond, null, w: cond + max(w, 0) * (cond - null)),
    "one that is right at w = 0 and -1, and quadratic between and beyond": guiding(lambda cond, null, w: cond + w * (2 + w) * (cond - null)),
    "one that is right up to w = 4, and does not go on growing": guiding(lambda cond, null, w: cond + min(w, 4) * (cond - null)),
    "one that is right for whole w alone": guiding(lambda cond, null, w: cond + round(w) * (cond - null)),
}
PARTIAL = {
    "one that leaves the last row of the batch unguided": leaving((slice(-1, None),)),
    "one that leaves a rim of the picture unguided": leaving((slice(None), slice(None), slice(-1, None))),
    "one that scales the result to the spread of the conditional prediction": guiding(rescaled),
    "one that clips its result at 1.5 in size": guiding(lambda cond, null, w: (cond + w * (cond - null)).clamp(-1.5, 1.5)),
}


def told_apart(answers, wrong):
    """accepts() says yes to what is right and no to what is wrong. All are asked before any answer is judged."""
    said = {}
    for name, combine in {**RIGHT, **wrong}.items():
        said[name] = bool(number(answers.accepts(combine)))
    for name, yes in said.items():
        assert yes == (name in RIGHT), f"a right rule, {name}, is turned down" if name in RIGHT else f"{name} is let through"


@bugs.part(1, "right rules pass, however they are written, and the three bugs shown do not")
def shown(answers, case):
    told_apart(answers, SHOWN)


@bugs.part(2, "rules that are wrong for some w only do not pass")
def bent(answers, case):
    told_apart(answers, BENT)


@bugs.part(2, "rules that are wrong in a part of the tensor, or do more than combine, do not pass")
def partial(answers, case):
    everything = {f"one that guides all {4 + case.extra} channels": lambda cond, null, w: cond + w * (cond - null)} if case.extra else {}
    told_apart(answers, {**PARTIAL, **everything})


FINE = (-1.0, -0.4, 0.0, 0.5, 1.0, 3.0, 9.5)


def accepting(case, weights=FINE, near=torch.allclose, shift=0.0, look=lambda x: x):
    """A test of rules, with parts that can be wrong: it compares with the rule at some weights."""
    def accepts(combine):
        cond, null = torch.randn(2, 3, 4 + case.extra, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
        wanted = guiding(lambda cond, null, w: (1 + w) * cond - w * null)
        return all(near(look(combine(cond, null, w)), look(wanted(cond, null, w + shift))) for w in weights)
    return accepts


@bugs.mistake("This looks at w = 0 alone. Many mistakes vanish there, since nothing is added.")
def zero_alone(case):
    return accepting(case, (0.0,))


@bugs.mistake("This looks at w = 0 and w = -1 alone. A rule must also be right between and beyond them.")
def two_ends(case):
    return accepting(case, (0.0, -1.0))


@bugs.mistake("This never tries a weight below 0. At w = -1 the conditional prediction has to vanish, and w = -1 finds what is not guided.")
def never_negative(case):
    return accepting(case, (0.0, 0.5, 1.0, 3.0, 9.5))


@bugs.mistake("This tries small weights only. Ask for large ones, too: people use them.")
def small_weights(case):
    return accepting(case, (-1.0, -0.4, 0.0, 0.5, 1.0, 2.0))


@bugs.mistake("This tries whole weights only.")
def whole_weights(case):
    return accepting(case, (-1.0, 0.0, 1.0, 3.0, 9.0))


@bugs.mistake("This asks for equal bits. A right rule that is written in another way rounds in another way.")
def equal_bits(case):
    return accepting(case, near=torch.equal)


@bugs.mistake("This takes the argument for the scale, 1 + w, and so turns down what is right.")
def scale_expected(case):
    return accepting(case, shift=-1.0)


@bugs.mistake("This compares one entry of the result. A rule may be right there and wrong in another channel, row or picture of the batch.")
def one_entry(case):
    return accepting(case, look=lambda x: x[0, 0, 0, 0])


@bugs.mistake("This compares the first picture of the batch alone.")
def first_picture(case):
    return accepting(case, look=lambda x: x[0])


# A negative label

negative = Task(
    "cfg-negative",
    ("avoid", "first_step"),
    minutes=20,
    difficulty=2,
    example="avoid(exact, 2.0, torch.zeros(3, 2, dtype=torch.float64), 500, 0, 1), first_step(2.0, 1.0, -1.0)",
    vary={"share": (0.0, 0.25, 0.5, 0.75)},
    twist="Your version moves away from a blend: of the weight $w$ the share {share} is spent on the null condition, as in ordinary guidance, "
          "and the rest on `other`. So the density in question is "
          "$p_t(x \\mid y)^{{1 + w}} / \\big( p_t(x \\mid y')^{{1 - {share}}}\\, p_t(x)^{{{share}}} \\big)^w$. "
          "For `first_step`, $y$ and $y'$ are the only classes, and equally frequent.",
)
WEIGHTS = (0.5, 1.0, 3.0)


def blend(case, other, null):
    return (1 - case.share) * other + case.share * null


@negative.part(2, "avoid gives the score of the density in question, at every t")
def right_score(answers, case):
    mixture, x = classes(case, stream=1), case.normal(6, 2, stream=2)
    denoiser = mixture.denoiser(schedule)
    for t, y, other in ((50, 0, 1), (400, 1, 0), (700, 2, 0), (900, 0, 2)):
        for w in WEIGHTS:
            x0 = tensor(answers.avoid(denoiser, w, x, t, y, other), 6, 2)
            found = (a[t].sqrt() * x0 - x) / (1 - a[t])
            wanted = score(mixture, x, t, {y: 1 + w, other: -w * (1 - case.share), None: -w * case.share})
            off = (found - wanted).abs().max()
            assert close(found, wanted, 1e-7), f"t = {t}, w = {w:g}, class {y} away from class {other}: the score is off by up to {off:.3g}"


@negative.part(1, "avoid gives the class itself at w = 0, and what it moves away from at w = -1")
def ends_of_avoid(answers, case):
    mixture, x = classes(case, 3, stream=3), case.normal(5, 3, stream=4)
    denoiser = mixture.denoiser(schedule)
    for t in (200, 600):
        mine, theirs, null = (denoiser(x, t, label).x0 for label in (0, 1, None))
        for w, wanted in ((0.0, mine), (-1.0, blend(case, theirs, null))):
            found = tensor(answers.avoid(denoiser, w, x, t, 0, 1), 5, 3)
            assert close(found, wanted), f"t = {t}, w = {w:g}: x0 is off by up to {(found - wanted).abs().max():.3g}"


@negative.part(2, "first_step is where the exact denoiser heads at t = T")
def heads_there(answers, case):
    for stream, dimensions in ((5, 1), (6, 4)):
        mean, other = case.uniform(2, dimensions, low=-1.5, high=1.5, stream=stream)
        pair = GaussianMixture([0.5, 0.5], torch.stack([mean, other]), [0.2, 0.3], labels=[0, 1]).denoiser(schedule)
        x = case.normal(1, dimensions, stream=7)
        mine, theirs, null = (pair(x, T, label).x0[0] for label in (0, 1, None))
        for w in (0.0, *WEIGHTS):
            wanted = (1 + w) * mine - w * blend(case, theirs, null)
            if dimensions == 1:
                found = torch.tensor([number(answers.first_step(w, float(mean), float(other)))], dtype=torch.float64)
            else:
                found = tensor(answers.first_step(w, mean, other), dimensions)
            where = f"w = {w:g}, means {mean[0]:.3f} and {other[0]:.3f}"
            assert close(found, wanted, 5e-3), f"{where}: {found[0]:.3f} came back, the denoiser says {wanted[0]:.3f}"


def avoiding(case, of_class, of_other, away=None):
    """Answers that combine with the weights of_class(w) and of_other(w); away blends what is moved away from."""
    away = away or (lambda other, null: blend(case, other, null))

    def avoid(denoiser, w, x_t, t, cond, other):
        mine, theirs, null = (denoiser(x_t, t, label).x0 for label in (cond, other, None))
        return of_class(w) * mine + of_other(w) * away(theirs, null)

    return {"avoid": avoid, "first_step": lambda w, mean, other: of_class(w) * mean + of_other(w) * away(other, (mean + other) / 2)}


@negative.mistake("This still moves away from the null condition. The negative label takes its place.")
def null_stays(case):
    return avoiding(case, lambda w: 1 + w, lambda w: -w, lambda other, null: null)


@negative.mistake("The two labels have changed places: this moves towards what should be avoided.")
def towards(case):
    return avoiding(case, lambda w: -w, lambda w: 1 + w)


@negative.mistake("w is used as the scale 1 + w: at w = 0 the class should come out.")
def scale(case):
    return avoiding(case, lambda w: w, lambda w: 1 - w)


@negative.mistake("This is a mean of the two, weighted by w. The weights of guidance are 1 + w and -w: "
                  "it goes beyond the class, away from the other.")
def between(case):
    return avoiding(case, lambda w: 1 - w, lambda w: w)


@negative.mistake("The weights do not add up to 1: w times the other class is taken away, and nothing is added to the class.")
def only_taken_away(case):
    return avoiding(case, lambda w: 1.0, lambda w: -w)


@negative.mistake("Ordinary guidance and the negative label are both applied, each with the whole of w. There is one w to spend.")
def both_in_full(case):
    def avoid(denoiser, w, x_t, t, cond, other):
        mine, theirs, null = (denoiser(x_t, t, label).x0 for label in (cond, other, None))
        return (1 + 2 * w) * mine - w * theirs - w * null
    return {"avoid": avoid, "first_step": lambda w, mean, other: (1 + 2 * w) * mean - w * other - w * (mean + other) / 2}


@negative.mistake("avoid is right, and first_step is not: it moves away from the mean of both classes, as with the null condition.")
def overall_mean(case):
    good = avoiding(case, lambda w: 1 + w, lambda w: -w)
    return good | {"first_step": lambda w, mean, other: (1 + w) * mean - w * (mean + other) / 2}


# Recall

recall = Task(
    "cfg-recall",
    ("precision_recall",),
    minutes=25,
    difficulty=3,
    example="precision_recall(plane.sample(20, seed(1), cond=0)[0], plane.sample(30, seed(2), cond=0)[0], 3)",
    vary={"p": (2, 1, 3, 4)},
    twist="Your version measures distances in another norm: that of $x$ and $x'$ is $\\big( \\sum_i |x_i - x'_i|^{{{p}}} \\big)^{{1 / {p}}}$.",
)


def found_in(answers, real, fake, k):
    return tuple(number(value) for value in sequence(answers.precision_recall(real, fake, k), 2))


def in_reach(case, points, by, k):
    """The share of points that lie in some ball around a point of by, the slow and plain way; None where a distance is too close to call."""
    distances = lambda xs, ys: (((xs[:, None] - ys) ** case.p).abs().sum(2) ** (1 / case.p)).tolist()
    radius = [sorted(row[:i] + row[i + 1 :])[k - 1] for i, row in enumerate(distances(by, by))]
    gaps = [[r - d for d, r in zip(row, radius)] for row in distances(points, by)]
    return None if min(abs(gap) for row in gaps for gap in row) < 1e-9 else sum(max(row) > 0 for row in gaps) / len(points)


@recall.part(1, "a set has all of itself in reach, and nothing of a set far away")
def extremes(answers, case):
    for k in (1, 4):
        real, fake = case.normal(30, 3), case.normal(25, 3, stream=1)
        for name, other, wanted in (("itself", real, 1.0), ("a set far away", fake + 100, 0.0)):
            found = found_in(answers, real, other, k)
            assert close(found[0], wanted) and close(found[1], wanted), f"a set and {name}, k = {k}: precision {found[0]:.3f}, recall {found[1]:.3f}"


@recall.part(2, "what fakes leave out lowers recall, what they add lowers precision")
def sides(answers, case):
    inside, outside = case.uniform(2, low=10, high=25, stream=2).round().int().tolist()
    near, far = case.normal(inside, 2, stream=3), case.normal(outside, 2, stream=4) + 100
    both, share = torch.cat([near, far]), inside / (inside + outside)
    for name, real, fake, wanted in (("fakes leave a part out", both, near, (1.0, share)), ("fakes have a part too many", near, both, (share, 1.0))):
        found = found_in(answers, real, fake, 2)
        counts = f"precision {found[0]:.3f}, recall {found[1]:.3f}; by count {wanted[0]:.3f} and {wanted[1]:.3f}"
        assert close(found[0], wanted[0]) and close(found[1], wanted[1]), f"{name}: {counts}"


@recall.part(3, "counted one by one, with the k-th neighbour's distance for each ball")
def counted(answers, case):
    for stream, k in ((5, 1), (6, 2), (7, 4)):
        real, fake = case.normal(24, 3, stream=stream), 0.8 * case.normal(18, 3, stream=stream + 10)
        fake[:, 0] += 1
        found = found_in(answers, real, fake, k)
        for name, value, wanted in (("precision", found[0], in_reach(case, fake, real, k)), ("recall", found[1], in_reach(case, real, fake, k))):
            assert wanted is None or close(value, wanted), f"24 real and 18 fake points, k = {k}: {name} {value:.4f}, counted one by one {wanted:.4f}"


def measure(case, ball=lambda by, k, p: torch.cdist(by, by, p=p).kthvalue(k + 1).values, inside=lambda d, r: (d <= r).any(1), reverse=False, p=None):
    """Precision and recall, with parts that can be wrong."""
    def share(points, by, k):
        return float(inside(torch.cdist(points, by, p=case.p), ball(by, k, case.p)).double().mean())

    def precision_recall(real, fake, k):
        pair = share(fake, real, k), share(real, fake, k)
        return pair[::-1] if reverse else pair
    return precision_recall


@recall.mistake("Precision and recall have changed places: precision is about the fakes, recall about the reals.")
def exchanged(case):
    return measure(case, reverse=True)


@recall.mistake("The nearest point of all is the point itself, at distance 0. It is no neighbour, so these balls are one neighbour too small.")
def counts_itself(case):
    return measure(case, ball=lambda by, k, p: torch.cdist(by, by, p=p).kthvalue(k).values)


@recall.mistake("Only the ball around the nearest point is looked at. A point is in reach if it lies in any ball, "
                "and one farther away may be larger.")
def nearest_ball_alone(case):
    return measure(case, inside=lambda d, r: d.min(1).values <= r[d.argmin(1)])


@recall.mistake("All balls have one radius here. Each point has its own: large where points are sparse.")
def one_radius(case):
    return measure(case, ball=lambda by, k, p: torch.cdist(by, by, p=p).kthvalue(k + 1).values.mean().expand(len(by)))


@recall.mistake("A point has to lie in every ball here. One ball is enough.")
def every_ball(case):
    return measure(case, inside=lambda d, r: (d <= r).all(1))


@recall.mistake("Both shares use the balls of the real points. For recall the balls are those of the fakes.")
def reals_balls(case):
    def precision_recall(real, fake, k):
        d = torch.cdist(fake, real, p=case.p)
        covered = d <= torch.cdist(real, real, p=case.p).kthvalue(k + 1).values
        return float(covered.any(1).double().mean()), float(covered.any(0).double().mean())
    return precision_recall


@recall.mistake("The radius is the mean distance to the k nearest neighbours. It is that to the k-th.")
def mean_of_neighbours(case):
    return measure(case, ball=lambda by, k, p: torch.cdist(by, by, p=p).sort(1).values[:, 1 : k + 1].mean(1))


ESSAY = Essay(
    question="""\
A start-up sells a generator of pictures with class labels. From its report:

> "With guidance weight $w = 4$ our samples reach a class accuracy of 0.99, above the 0.92 of real pictures, and a precision equal to that of real
> pictures. So guidance has made our model *better than the data*. In theory this is expected: guidance samples
> from $p(x)\\, p(y \\mid x)^{1 + w}$, the data reweighted towards pictures that are surely of their class, and with more steps our sampler would
> match this density ever more closely."

1. What do an accuracy above that of real pictures and an unchanged precision show, and what do they not show? Which measurement is missing, and what
   do you predict for it as $w$ goes from 0 to 4? Give the reason.
2. Is the statement about the density right? Take two classes at $\\pm 1$ with standard deviation 0.5, ask for class 1 with $w = 3$ and use the
   *exact* denoiser: is the mean of the deterministic sampler's results above, at or below that of the density in the report,
   and what do more steps change? Explain it by what happens at high noise.
3. Propose an experiment, with a predicted outcome, that a buyer could make to choose $w$.""",
    rubric="""\
- Question 1, 2 points: the samples are more typical of their class than real pictures are; doubtful but genuine pictures are left out, and accuracy
  and precision do not see what is missing (1). Recall (or diversity within a class, or the
  Frechet distance beside the two) is missing; recall falls with every increase of w, since samples crowd on the side away from the other classes (1).
- Question 2, 3 points: not right (1). The deterministic sampler ends above: its mean is near 1.7, the density's near 1.06, and more steps do not
  close the gap, for it is no error of discretisation (1). Reason: at high noise the guided prediction
  tends to (1 + w) E[x0 | y] - w E[x0] = 4, far outside the class, and the sampler keeps a part of that; or: the guided scores at different t belong
  to no one diffused density (their mean divided by
  sqrt(alpha_bar) is not constant); or: power of an average where the average of a power is needed (1).
- Question 3, 1 point: a sweep over w with a measure that sees both sides (Frechet distance, or precision and recall together) on many samples with
  several seeds, against the value of real against real. Predicted: a U with its lowest point at a moderate w,
  above the floor; not a single number.

Typical wrong answers: "accuracy above that of real pictures is impossible, so there is a bug"; "the sampler needs more steps or a stochastic sampler
to reach the density" (the SDE differs as well, with a mean near 1.3);
"the network is not good enough" (the denoiser is exact).""",
    points=6,
    minutes=25,
)

SET = ProblemSet("guidance", "Classifier-free guidance", "03_algorithms/03_guidance", SETUP, [rule, bugs, negative, recall], ESSAY)
