"""Graders of section 1.1, origins and development."""

import math

import torch

from ..task import Essay, ProblemSet, Task, close, number, sequence, tensor

SETUP = """\
import math

import torch

from diffusion_core import Schedule

schedule = Schedule.linear(1000)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)
"""


# An exact step of the Ornstein-Uhlenbeck process

step = Task(
    "origins-step",
    ("ou_step",),
    minutes=10,
    difficulty=1,
    example="ou_step(torch.ones(3, dtype=torch.float64), 0.1, 1.0, torch.zeros(3, dtype=torch.float64))",
    vary={"tau": (1.0, 0.5, 2.0, 3.0)},
    twist="The water of your version is at another temperature: the kicks are $\\sqrt{{{tau}}}$ times as strong, "
          "$\\mathrm d x = -\\kappa x\\, \\mathrm d h + \\sqrt{{2 \\cdot {tau}}}\\, \\mathrm d W$. Equilibrium is $\\mathcal N(0, {tau} / \\kappa)$.",
)
ONE, ZERO = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)


def law(answers, dh, kappa):
    """What one step does: the factor of x, and the variance of the kick."""
    return number(answers.ou_step(ONE, dh, kappa, ZERO)), number(answers.ou_step(ZERO, dh, kappa, ONE)) ** 2


def stiffness(case):
    return [0.5, 1.0, 3.0, *case.uniform(2, low=0.3, high=3.0).tolist()]


@step.part(1, "small steps follow the rule")
def small(answers, case):
    for kappa in stiffness(case):
        factor, variance = law(answers, 1e-4, kappa)
        assert close(factor, 1 - kappa * 1e-4, 1e-6), f"kappa = {kappa:.2g}, dh = 1e-4: x is multiplied by {factor:.6f}"
        assert close(variance / (2e-4 * case.tau), 1, 1e-3), f"kappa = {kappa:.2g}, dh = 1e-4: the variance of the kick is {variance:.2g}"


@step.part(1, "two steps of dh / 2 are one of dh, in mean and in variance")
def halves(answers, case):
    for kappa in stiffness(case):
        for dh in (0.1, 1.0, 7.0):
            factor, variance = law(answers, dh, kappa)
            half, half_variance = law(answers, dh / 2, kappa)
            assert close(half**2, factor, 1e-7), f"mean: two halves are not one whole at dh = {dh}, kappa = {kappa:.2g}"
            twice = half**2 * half_variance + half_variance
            assert close(twice, variance, 1e-7), f"variance: two halves are not one whole at dh = {dh}, kappa = {kappa:.2g}"
            assert abs(factor) < 1, f"x is multiplied by {factor:.3g} at dh = {dh}: the trap does not pull"


@step.part(1, "equilibrium is kept")
def kept(answers, case):
    for kappa in stiffness(case):
        for dh in (0.1, 1.0, 7.0):
            factor, variance = law(answers, dh, kappa)
            before, after = case.tau / kappa, factor**2 * case.tau / kappa + variance
            assert close(after, before, 1e-7), f"dh = {dh}, kappa = {kappa:.2g}: the variance goes from {before:.3g} to {after:.3g}"


@step.mistake("This is the Euler step. It is right for small dh only: solve the equation instead, as section 1 does.")
def euler(case):
    return lambda x, dh, kappa, z: x - kappa * x * dh + math.sqrt(2 * case.tau * dh) * z


@step.mistake("The kick has the right variance, and is scaled by it. Noise z has variance 1: scale it by the square root.")
def no_root(case):
    return lambda x, dh, kappa, z: math.exp(-kappa * dh) * x + case.tau * (1 - math.exp(-2 * kappa * dh)) / kappa * z


@step.mistake("The kick's variance settles at rate 2 kappa, twice the rate at which the mean is forgotten.")
def slow_variance(case):
    return lambda x, dh, kappa, z: math.exp(-kappa * dh) * x + math.sqrt(case.tau * (1 - math.exp(-kappa * dh)) / kappa) * z


@step.mistake("At equilibrium the variance is 1 / kappa times the temperature, not 1: a stiff trap holds tight.")
def unit_equilibrium(case):
    return lambda x, dh, kappa, z: math.exp(-kappa * dh) * x + math.sqrt(case.tau * (1 - math.exp(-2 * kappa * dh))) * z


@step.mistake("Two halves make a whole and equilibrium stays, and the clock runs at double speed: x is forgotten at the rate kappa, not 2 kappa.")
def double_speed(case):
    return lambda x, dh, kappa, z: math.exp(-2 * kappa * dh) * x + math.sqrt(case.tau * (1 - math.exp(-4 * kappa * dh)) / kappa) * z


@step.mistake("The kick fits the factor of x, so equilibrium stays. The factor itself is right for small dh only: two halves do not make a whole.")
def implicit(case):
    def ou_step(x, dh, kappa, z):
        keep = 1 / (1 + kappa * dh)
        return keep * x + math.sqrt(case.tau * (1 - keep**2) / kappa) * z
    return ou_step


@step.mistake("The sign in the exponent makes the trap push outwards: x must shrink.")
def outwards(case):
    return lambda x, dh, kappa, z: math.exp(kappa * dh) * x + math.sqrt(case.tau * abs(1 - math.exp(2 * kappa * dh)) / kappa) * z


# Free energy of any cloud in any trap

free = Task(
    "origins-free",
    ("relax",),
    minutes=25,
    difficulty=2,
    example="relax(torch.full((61,), 1 / (61 * DX), dtype=torch.float64), coarse**2 / 2, 100)[-1]",
    vary={"tau": (1.0, 0.7, 1.5, 2.0)},
    twist="The water of your version is at another temperature, and energies are still measured in the old $kT$: a force $-U'$ moves the cloud "
          "at the speed $-U'$, and kicks widen it by $2 \\cdot {tau}\\, \\mathrm d h$ in variance. Equilibrium is now proportional to "
          "$e^{{-U / {tau}}}$, and the free energy that must fall is $\\mathbb E_p[U] - {tau}\\, S[p]$.",
)
GRID = torch.linspace(-3, 3, 61, dtype=torch.float64)
DX = float(GRID[1] - GRID[0])


def cloud(centre, width):
    p = (-((GRID - centre) ** 2) / (2 * width**2)).exp()
    return p / (p.sum() * DX)


def equilibrium(U, tau):
    return (-U / tau).softmax(0) / DX


def traps(case):
    """A trap with two wells, and a rougher one that nobody has seen."""
    bumps = case.normal(4, stream=1)
    waves = sum(0.3 * b * torch.sin((k + 1) * math.pi * GRID / 3) for k, b in enumerate(bumps))
    return [(GRID**2 - 1) ** 2 / 4 + 0.3 * float(bumps[0].tanh()) * GRID, GRID**2 / 3 + waves]


def path_of(answers, p, U, steps):
    return [tensor(item, len(GRID)) for item in sequence(answers.relax(p, U, steps), steps + 1)]


def moves(path):
    assert float((path[-1] - path[0]).abs().max()) > 1e-3, f"after {len(path) - 1} steps the cloud is where it was"


@free.part(1, "the list starts at p, no probability is lost, and none is negative")
def kept_whole(answers, case):
    for U, width in zip(traps(case), (0.3, 1.5)):
        p = cloud(0.5, width)
        path = path_of(answers, p, U, 100)
        assert close(path[0], p), "the first density of the list is not p"
        for step, density in enumerate(path):
            assert close(density.sum() * DX, 1), f"after {step} steps the whole probability is {float(density.sum()) * DX:.6g}"
            assert float(density.min()) > -1e-12, f"after {step} steps a density is {float(density.min()):.2g}"
        moves(path)


@free.part(1, "equilibrium stays as it is, and nothing else does")
def stays(answers, case):
    for U in traps(case):
        pi = equilibrium(U, case.tau)
        change = (path_of(answers, pi, U, 50)[-1] - pi).abs().max()
        assert change < 1e-9, f"from equilibrium, 50 steps change a density by {float(change):.2g}"
        moves(path_of(answers, cloud(-1.0, 0.4), U, 50))


@free.part(1, "free energy falls at every step, and 600 steps take a cloud more than half of the way to equilibrium")
def falls(answers, case):
    wells = (GRID**2 - 1) ** 2 / 4
    for U, p, steps in ((wells, cloud(0.0, 0.3), 600), (traps(case)[1], cloud(-1.5, 0.5), 50)):
        densities = torch.stack(path_of(answers, p, U, steps))
        assert float(densities.min()) > -1e-12, "a density is negative, and has no entropy"
        densities = densities.clamp(min=0)                       # what rounding leaves below zero
        F = (densities * U + case.tau * torch.xlogy(densities, densities)).sum(1) * DX
        pi = equilibrium(U, case.tau)
        least = float((pi * U + case.tau * torch.xlogy(pi, pi)).sum() * DX)
        assert bool((F.diff() < 1e-9).all()), f"the free energy rises by {float(F.diff().max()):.2g} in one step"
        assert float(F.min()) > least - 1e-9, f"the free energy falls to {float(F.min()):.4g}, and {least:.4g} is the least there is"
        if steps == 600:
            left = float((F[-1] - least) / (F[0] - least))
            assert left < 0.5, f"{left:.0%} of the excess of free energy are left after {steps} steps"


@free.part(2, "on an even slope the force moves the cloud and kicks widen it, in the right ratio")
def einstein(answers, case):
    for slope, centre in ((0.5, 0.0), (-1.0, 0.8), (float(case.uniform(1, low=0.6, high=0.9, stream=2)), -0.7)):
        p = path_of(answers, cloud(centre, 0.3), slope * GRID, 3)
        mean, second = ([float((q * GRID**k).sum() * DX) for q in (p[0], p[-1])] for k in (1, 2))
        shift, growth = mean[1] - mean[0], second[1] - mean[1] ** 2 - second[0] + mean[0] ** 2
        assert growth > 1e-7, f"the variance of the cloud changes by {growth:.2g}"
        expected = -slope / (2 * case.tau)
        assert close(shift / growth, expected, 0.03 * abs(expected)), (
            f"slope {slope:.2g}: for each 1 of variance the mean moves by {shift / growth:.3g}, where {expected:.3g} was expected")


def hop(case, rate, share=0.4, inflow=None):
    """A relaxation by hops; rate(dU) belongs to a hop that costs dU, `inflow` turns (p, up, down) into what enters each point."""
    def relax(p, U, steps):
        up, down = rate(U.diff()), rate(-U.diff())
        out = torch.cat([up, up.new_zeros(1)]) + torch.cat([down.new_zeros(1), down])
        path = [p]
        for _ in range(steps):
            gain = inflow(p, up, down) if inflow else torch.cat([down * p[1:], p.new_zeros(1)]) + torch.cat([p.new_zeros(1), up * p[:-1]])
            path.append(path[-1] + share / out.max() * (gain - out * p))
            p = path[-1]
        return path
    return relax


def half(case):
    return lambda cost: (-cost / (2 * case.tau)).exp()


@free.mistake("The potential never enters: this cloud only spreads, and the trap does not pull.")
def no_trap(case):
    return hop(case, torch.ones_like)


@free.mistake("Particles climb: a hop that costs energy has to be the rarer one.")
def uphill(case):
    return hop(case, lambda cost: half(case)(-cost))


@free.mistake("The hop up and the hop down each carry the whole difference of energy, so their ratio counts it twice.")
def twice_the_energy(case):
    return hop(case, lambda cost: (-cost / case.tau).exp())


@free.mistake("The rates are linear in the difference of energy, which is right for small differences only: detailed balance has to hold exactly.")
def linear_rates(case):
    return hop(case, lambda cost: (1 - cost / (2 * case.tau)).clamp(min=0.01))


@free.mistake("The time step is too short: 600 of them take the cloud almost nowhere.")
def too_short(case):
    return hop(case, half(case), share=0.01)


@free.mistake("What enters a point comes from its neighbours: it goes with their density and their rates, not with the rates of the point.")
def own_rates(case):
    def inflow(p, up, down):
        return torch.cat([up * p[1:], p.new_zeros(1)]) + torch.cat([p.new_zeros(1), down * p[:-1]])
    return hop(case, half(case), inflow=inflow)


@free.mistake("The time step is too long: a point gives away more than it has, and densities become negative.")
def too_long(case):
    return hop(case, half(case), share=1.6)


@free.mistake("The list begins after the first step; p itself has to be its first entry.")
def first_is_missing(case):
    return lambda p, U, steps: hop(case, half(case))(p, U, steps + 1)[1:]


@free.mistake("Mixing p with equilibrium gets there, and is no motion: on a slope the force moves the whole cloud, and kicks widen it.")
def mixing(case):
    def relax(p, U, steps):
        pi = equilibrium(U, case.tau)
        return [pi + 0.99**k * (p - pi) for k in range(steps + 1)]
    return relax


# Three wrong kicks

bugs = Task(
    "origins-bugs",
    ("diagnose",),
    minutes=25,
    difficulty=2,
    example="{name: diagnose(step) for name, step in kicks.items()}",
    vary={"law": ("Gaussian", "uniform", "Laplace", "two-point")},
    twist="Some models use other noise. In your version a right kick $\\epsilon$ is **{law}**, with mean 0 and variance 1. (A uniform one lies "
          "between $-\\sqrt 3$ and $\\sqrt 3$, a Laplace one has the density $e^{{-\\sqrt 2 |\\epsilon|}} / \\sqrt 2$, a two-point one is $+1$ "
          "or $-1$ with probability one half each.) Every other shape is a bug, Gaussian noise too: the function `right` is wrong in your version.",
)


def random(x, generator):
    return torch.rand(x.shape, dtype=x.dtype, generator=generator)


def gaussian(x, generator):
    return torch.randn(x.shape, dtype=x.dtype, generator=generator)


def uniform(x, generator):
    return math.sqrt(3) * (2 * random(x, generator) - 1)


def laplace(x, generator):
    u = random(x, generator) - 0.5
    return -u.sign() * (1 - 2 * u.abs()).clamp(min=1e-12).log() / math.sqrt(2)


def two_point(x, generator):
    return torch.where(random(x, generator) < 0.5, -1.0, 1.0).to(x.dtype)


def one_sided(x, generator):
    return -(1 - random(x, generator)).log() - 1                 # mean 0, variance 1, and no symmetry


LAWS = {"Gaussian": gaussian, "uniform": uniform, "Laplace": laplace, "two-point": two_point}
KURTOSIS = {"Gaussian": 3.0, "uniform": 1.8, "Laplace": 6.0, "two-point": 1.0}


def forward(noise, scale=math.sqrt, keep=lambda beta: math.sqrt(1 - beta)):
    """A forward step with that noise."""
    return lambda x, beta, generator: keep(beta) * x + scale(beta) * noise(x, generator)


def verdict(answers, step):
    """What `diagnose` says about the step, which it may call once."""
    calls = []

    def counted(x, beta, generator):
        calls.append(beta)
        return step(x, beta, generator)

    value = number(answers.diagnose(counted))
    assert len(calls) == 1, f"step was called {len(calls)} times, and one call is allowed"
    assert value in (0, 1), f"True or False is asked for, and {value:g} came back"
    return bool(value)


def told_apart(answers, case, wrong):
    right, verdicts = verdict(answers, forward(LAWS[case.law])), {what: verdict(answers, step) for what, step in wrong.items()}
    assert right, "a right step is called wrong"
    for what, passed in verdicts.items():
        assert not passed, f"a step {what} is called right"


@bugs.part(1, "a kick that is scaled by beta is told from a right one")
def scaled(answers, case):
    told_apart(answers, case, {"that scales its kick by beta": forward(LAWS[case.law], scale=float)})


@bugs.part(1, "kicks that push to one side are found")
def one_side(answers, case):
    shifted = lambda x, generator: LAWS[case.law](x, generator) + 0.3
    told_apart(answers, case, {"with uniform kicks in [0, 1]": forward(random), "whose kicks have the mean 0.3": forward(shifted)})


@bugs.part(1, "steps that shrink x by a wrong factor are found")
def wrong_factor(answers, case):
    wrong = {"that does not shrink x": lambda beta: 1.0, "that shrinks x by 1 - beta": lambda beta: 1 - beta}
    told_apart(answers, case, {what: forward(LAWS[case.law], keep=keep) for what, keep in wrong.items()})


@bugs.part(2, "kicks with the right mean and variance and another shape are found")
def shape(answers, case):
    wrong = {f"with {law} kicks": forward(noise) for law, noise in LAWS.items() if law != case.law}
    told_apart(answers, case, {**wrong, "with one-sided kicks of mean 0 and variance 1": forward(one_sided)})


def kick(step, start=10.0, n=50_000, divide=math.sqrt):
    """The noise that a step uses, read off one call."""
    x = torch.full((n,), start, dtype=torch.float64)
    return (step(x, 0.01, torch.Generator().manual_seed(5)) - math.sqrt(0.99) * x) / divide(0.01)


def moments(case, eps):
    """Whether mean, variance, third and fourth moment are those of the law."""
    gap = eps - eps.mean()
    fourth = (gap**4).mean() / eps.var() ** 2
    return (bool(abs(eps.mean()) < 0.03), bool(abs(eps.var() - 1) < 0.05), bool(abs((gap**3).mean()) < 0.4),
            bool(abs(fourth - KURTOSIS[case.law]) < 0.15 * KURTOSIS[case.law]))


@bugs.mistake("Mean and variance are right for many kicks of a wrong shape. Which number of a distribution tells two shapes apart?")
def two_moments(case):
    return lambda step: all(moments(case, kick(step))[:2])


@bugs.mistake("The third moment sees that a kick has a side. A kick of a wrong shape that is symmetric goes through.")
def three_moments(case):
    return lambda step: all(moments(case, kick(step))[:3])


@bugs.mistake("Only the mean is looked at: a kick of a wrong size goes through.")
def mean_alone(case):
    return lambda step: moments(case, kick(step))[0]


@bugs.mistake("The shape is looked at, without mean and size: divided by its own variance, a kick that is too small has the right shape.")
def shape_alone(case):
    return lambda step: moments(case, kick(step))[3]


@bugs.mistake("From x = 0 nobody sees what the step does to x. Start where the factor of x shows.")
def from_zero(case):
    return lambda step: all(moments(case, kick(step, start=0.0)))


@bugs.mistake("The kick is divided by beta, as in the bug itself: a right step looks too strong, and the one that scales by beta looks right.")
def divided_by_beta(case):
    return lambda step: all(moments(case, kick(step, divide=float)))


@bugs.mistake("The verdicts are the wrong way round: True is for a right step.")
def turned_round(case):
    return lambda step: not all(moments(case, kick(step)))


# Dragging the trap

drag = Task(
    "origins-drag",
    ("mean_work",),
    minutes=30,
    difficulty=3,
    example="mean_work(2.0, 10, 0.1)",
    vary={"kappa": (1.0, 0.5, 2.0, 3.0)},
    twist="The trap of your version has the stiffness $\\kappa = {kappa}$ in place of 1: its energy is $\\tfrac12 \\kappa\\, (x - c)^2$ around $c$. "
          "Mobility and temperature are as before, and the particle starts in equilibrium.",
)


def work(answers, L, n, dh):
    return number(answers.mean_work(L, n, dh))


@drag.part(1, "a sudden move costs all the energy of the displaced trap")
def sudden(answers, case):
    for L, n in ((2.0, 10), (-1.0, 1), (float(case.uniform(1, low=0.5, high=3)), 7)):
        exact = case.kappa * L**2 / 2
        found = work(answers, L, n, 0.0)
        assert close(found, exact), f"L = {L:.3g}, n = {n}, dh = 0: {found:.6g}, and the energy is {exact:.6g}"


@drag.part(1, "two jumps cost what the lag of the particle between them says")
def two_jumps(answers, case):
    for L, dh in zip(case.uniform(3, low=0.5, high=3, stream=1).tolist(), (0.05, 0.5, 2.0)):
        exact = case.kappa * L**2 / 4 * (1 + math.exp(-case.kappa * dh))
        found = work(answers, L, 2, dh)
        assert close(found, exact), f"L = {L:.3g}, n = 2, dh = {dh}: {found:.6g} in place of {exact:.6g}"


@drag.part(2, "the mean work is half the variance of the work")
def half_the_variance(answers, case):
    for L, n, dh in ((2.0, 20, 0.05), (1.0, 5, 0.5), (-3.0, 30, 0.3), (float(case.uniform(1, low=1, high=3, stream=2)), 11, 0.2)):
        lags = (torch.arange(n)[:, None] - torch.arange(n)).abs().double()
        variance = case.kappa * (L / n) ** 2 * float((-case.kappa * dh * lags).exp().sum())
        mean = work(answers, L, n, dh)
        assert close(mean, variance / 2), f"L = {L:.3g}, n = {n}, dh = {dh}: the mean is {mean:.6g}, half the variance {variance / 2:.6g}"


@drag.part(1, "many small jumps cost what friction costs, and less and less the slower they are")
def friction(answers, case):
    for duration in (1.0, 5.0, 40.0):
        n, k = 800, case.kappa
        exact = (duration - (1 - math.exp(-k * duration)) / k) / duration**2           # for L = 1: speed^2 times time, less the start
        found = work(answers, 1.0, n, duration / n)
        assert close(found, exact, 0.02 * exact + 1 / n), f"L = 1 in {n} jumps that take {duration:g}: {found:.4g}, and friction takes {exact:.4g}"


def follow(case, pay=lambda jump, lag: jump * lag + jump**2 / 2, relax=lambda jump, lag, keep: (lag + jump) * keep,
           keep=lambda k, dh: math.exp(-k * dh)):
    """The work, from the lag of the particle behind the centre."""
    def mean_work(L, n, dh):
        jump, lag, total = L / n, 0.0, 0.0
        for _ in range(n):
            total += case.kappa * pay(jump, lag)
            lag = relax(jump, lag, keep(case.kappa, dh))
        return total
    return mean_work


@drag.mistake("The free energy does not change, so the least work is zero. That is for infinite patience: a move in finite time costs more.")
def no_cost(case):
    return lambda L, n, dh: 0.0


@drag.mistake("This is the variance of the work, twice its mean.")
def whole_variance(case):
    return lambda L, n, dh: 2 * follow(case)(L, n, dh)


@drag.mistake("The particle stands still while the trap moves, so every move costs what a sudden one costs.")
def never_follows(case):
    return follow(case, keep=lambda k, dh: 1.0)


@drag.mistake("The work of a jump is paid with the lag before it alone; the jump's own length is missing.")
def own_jump_missing(case):
    return follow(case, pay=lambda jump, lag: jump * lag)


@drag.mistake("The work of a jump is paid with the lag after it: that counts the jump's own part twice.")
def own_jump_twice(case):
    return follow(case, pay=lambda jump, lag: jump * (lag + jump))


@drag.mistake("The particle has the time dh after each jump, so the newest part of the lag shrinks too.")
def newest_kept(case):
    return follow(case, relax=lambda jump, lag, keep: lag * keep + jump)


@drag.mistake("Means relax at the rate kappa; 2 kappa is the rate of the variance.")
def too_fast(case):
    return follow(case, keep=lambda k, dh: math.exp(-2 * k * dh))


@drag.mistake("The lag shrinks by a factor that is right for small dh only. Solve its equation over the whole time between two jumps.")
def small_steps(case):
    return follow(case, keep=lambda k, dh: 1 - k * dh)


ESSAY = Essay(
    question="""\
A magazine explains diffusion models like this:

> (1) A picture is destroyed until its entropy is at its highest. By the second law nothing can bring it back, so the network must have
> stored the training pictures, and it pastes them together. (2) Halfway through, the network's guesses look soft, because diffusion is
> blurring. (3) All the network needs to learn is how to take a little noise away from nearly clean pictures.

Take the three claims one by one. Say what is wrong in each and what, if anything, is right. Back each judgement with a formula or an
experiment of the section. Half a page is enough.""",
    rubric="""\
One point each, six in all.

1. *What falls.* While particles relax, the free energy falls, or what is the same up to a constant, the KL divergence to equilibrium.
   Entropy may fall too: a cloud that starts too wide loses it to the water.
2. *The second law forbids no reversal here.* No particle remembers where it was. The cloud can still be run backwards if its score is
   known at every time, with the drift -f + 2 score. Without a score the film stays round.
3. *The second law says nothing about storing.* Whether a network stores pictures depends on the score that it learned. In the experiment
   with the clumps no position was stored; the exact score of a finite set of pictures would bring back that set.
4. *Softness.* The guess is the mean E[x0 | x_t] over all pictures that fit, and means are soft. Samples are not.
5. *No blur of pictures.* Noise damps all frequencies alike and adds a floor, so high frequencies gain power. What is blurred is the
   density: p_sigma obeys the heat equation.
6. *One level is not enough.* A denoiser's residual is the score at its own noise level. Elsewhere it fails: the autoencoder trained at
   0.5 when asked at 2, or the film with a score that forgets time, which finds the clumps with wrong shares and widths. Right in (3):
   the sampler does take small steps, one level at a time.

Typical wrong answers: entropy falls because the network adds information; guesses are soft because the network is small; (3) is accepted
because each step is small. Words of the section without a formula or an experiment earn half of the points at most.""",
    points=6,
    minutes=25,
)

SET = ProblemSet("origins", "Particles in a trap", "01_background/01_origins", SETUP, [step, free, bugs, drag], ESSAY)
