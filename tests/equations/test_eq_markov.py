"""The numbered equations of section 2.1 (Markov chains), each computed by a second route."""

import math

import pytest
import torch
from bindings import checks
from torch.distributions import Normal

from diffusion_core import GaussianMixture, Schedule

SCHEDULE = Schedule.linear(1000)
A = SCHEDULE.alpha_bar
WEIGHTS, CENTRES = torch.tensor([[0.3, 0.7], [-1.0, 1.0]], dtype=torch.float64)
SPREAD = 0.2
MIXTURE = GaussianMixture(WEIGHTS, CENTRES[:, None], torch.full_like(WEIGHTS, SPREAD**2))
PLANAR = GaussianMixture([0.3, 0.7], [[-1.0, 0.5], [1.0, 0.0]], [[[0.3, 0.1], [0.1, 0.2]], [[0.1, 0.0], [0.0, 0.4]]])
X = torch.linspace(-7, 7, 1401, dtype=torch.float64)
DX = float(X[1] - X[0])
STEPS = [(0, 300), (150, 220), (300, 301), (200, 900)]


def normal(mean, variance) -> Normal:
    mean, variance = torch.broadcast_tensors(*(torch.as_tensor(value, dtype=torch.float64) for value in (mean, variance)))
    return Normal(mean, variance.sqrt())


def share(s: int, t: int) -> float:
    return float(A[t] / A[s])


def forward(keep: float) -> torch.Tensor:
    """q(x_t | x_s) for x_s = X[i] (row) and x_t = X[j] (column)."""
    return normal(math.sqrt(keep) * X[:, None], 1 - keep).log_prob(X).exp()


def p(t: int) -> torch.Tensor:
    """p_t on the grid, from the parts of the mixture."""
    variance = A[t] * SPREAD**2 + 1 - A[t]
    return (WEIGHTS * normal(A[t].sqrt() * CENTRES, variance).log_prob(X[:, None]).exp()).sum(1)


def derivatives(log_density, point: float, order: int) -> list[float]:
    """log_density and its derivatives at a number, by automatic differentiation."""
    x = torch.tensor([[point]], dtype=torch.float64, requires_grad=True)
    values = [log_density(x).sum()]
    for _ in range(order):
        values.append(torch.autograd.grad(values[-1], x, create_graph=True)[0].sum())
    return [float(value.detach()) for value in values]


@checks("eq-markov-compose")
@pytest.mark.parametrize(("r", "s", "t"), [(0, 200, 500), (300, 400, 600), (500, 510, 1000)])
def test_two_steps_are_one_by_quadrature(r, s, t):
    for start in (-1.5, 0.4):
        middle = normal(math.sqrt(share(r, s)) * start, 1 - share(r, s)).log_prob(X).exp()
        merged = normal((A[t] / A[r]).sqrt() * start, 1 - A[t] / A[r]).log_prob(X).exp()
        torch.testing.assert_close(middle @ forward(share(s, t)) * DX, merged, rtol=0, atol=1e-9)


@checks("eq-markov-corr")
@pytest.mark.parametrize(("r", "s", "t"), [(0, 150, 400), (300, 320, 350)])
def test_correlations_multiply_whatever_the_data(r, s, t):
    """Joint moments by quadrature over the chain, for a skewed two-peaked start; and a process with memory must fail."""
    first, second = forward(share(r, s)), forward(share(s, t))
    joint_rs, joint_st = p(r)[:, None] * first * DX**2, p(s)[:, None] * second * DX**2
    joint_rt = p(r)[:, None] * (first @ second * DX) * DX**2

    def correlation(joint):
        one, other = joint.sum(1), joint.sum(0)
        a, b = X - one @ X, X - other @ X
        return float(a @ joint @ b / ((one @ a**2) * (other @ b**2)).sqrt())

    assert correlation(joint_rt) == pytest.approx(correlation(joint_rs) * correlation(joint_st), abs=1e-9)
    # One noise for all times, data N(0, 1): corr = cos of the angle between, and cosines do not multiply.
    angle = [math.acos(math.sqrt(float(A[i]))) for i in (r, s, t)]
    gap = math.cos(angle[2] - angle[0]) - math.cos(angle[1] - angle[0]) * math.cos(angle[2] - angle[1])
    assert abs(gap) > 1e-4


@checks("eq-markov-reverse")
@pytest.mark.parametrize(("r", "s", "t"), [(50, 120, 300), (400, 500, 700)])
def test_the_past_given_present_and_future(r, s, t):
    """Left: the joint of three states, normalised. Right: the conditional of one Gaussian hump after the other, by the product rule."""
    i, keep = slice(500, 901, 40), share(r, s)
    joint = p(r)[:, None, None] * forward(keep)[:, i, None] * forward(share(s, t))[i, i][None]
    given_both = joint / (joint.sum(0) * DX)
    prior = float(A[r] * SPREAD**2 + 1 - A[r])
    variance = 1 / (1 / prior + keep / (1 - keep))
    centres = float(A[r].sqrt()) * CENTRES
    weight = WEIGHTS * normal(math.sqrt(keep) * centres, 1 - keep + keep * prior).log_prob(X[i][:, None]).exp()
    mean = variance * (centres / prior + math.sqrt(keep) * X[i][:, None] / (1 - keep))
    exact = (weight / weight.sum(1, keepdim=True) * normal(mean, variance).log_prob(X[:, None, None]).exp()).sum(-1)
    torch.testing.assert_close(given_both, exact[..., None].expand_as(given_both), rtol=0, atol=1e-9)
    bayes = p(r)[:, None] * forward(keep)[:, i] / p(s)[i]
    torch.testing.assert_close(bayes, exact, rtol=0, atol=1e-9)


@checks("eq-markov-split")
@pytest.mark.parametrize(("m", "v"), [(math.sqrt(0.8), 0.2), (1.0, 0.5), (1.0, 0.05), (0.5, 0.2)])
def test_where_the_kernel_splits(m, v):
    """Just below the border one peak, just above it two, counted on a fine grid; for v >= m^2 never two."""

    def count(beta, v):
        x = torch.linspace(-2, 2, 40001, dtype=torch.float64)
        prior = torch.logsumexp(torch.stack([normal(c, v).log_prob(x) for c in (-m, m)]), 0)
        density = prior - (1 - beta) * x**2 / (2 * beta)
        return int(((density[1:-1] > density[:-2]) & (density[1:-1] > density[2:])).sum())

    border = v**2 / (v**2 + m**2 - v)
    assert (count(border * 0.99, v), count(border * 1.01, v)) == (1, 2)
    assert [count(beta, 1.02 * m**2) for beta in (0.1, 0.9, 0.999)] == [1, 1, 1]


def backward_moments(x_t: float, keep: float, log_prior: torch.Tensor, x: torch.Tensor) -> list[float]:
    """Mean, variance and skewness of p(x_s | x_t) by Bayes' rule on an even grid x (N,)."""
    weight = torch.softmax(log_prior - (x_t - math.sqrt(keep) * x) ** 2 / (2 * (1 - keep)), 0)
    mean = weight @ x
    variance = weight @ (x - mean) ** 2
    return [float(mean), float(variance), float(weight @ (x - mean) ** 3 / variance**1.5)]


@checks("eq-markov-tweedie", "eq-markov-spread", "eq-markov-skew")
@pytest.mark.parametrize(("s", "t"), STEPS)
@pytest.mark.parametrize("x_t", [-0.9, 0.1, 0.6])
def test_moments_of_a_backward_step_by_bayes(s, t, x_t):
    """Left: sums over a grid. Right: derivatives of log p_t by automatic differentiation."""
    x, keep = torch.linspace(-8, 8, 160_001, dtype=torch.float64), share(s, t)
    mean, variance, skew = backward_moments(x_t, keep, MIXTURE.log_prob(SCHEDULE, x[:, None], s), x)
    beta = 1 - keep
    _, first, second, third = derivatives(lambda y: MIXTURE.log_prob(SCHEDULE, y, t), x_t, 3)
    assert mean == pytest.approx((x_t + beta * first) / math.sqrt(keep), abs=1e-8)
    assert variance == pytest.approx(beta / keep * (1 + beta * second), rel=1e-7)
    assert skew == pytest.approx(beta**1.5 * third / (1 + beta * second) ** 1.5, rel=1e-6, abs=1e-8)


@checks("eq-markov-tweedie", "eq-markov-spread")
@pytest.mark.parametrize(("s", "t"), [(0, 300), (100, 250)])
def test_mean_and_covariance_in_two_dimensions(s, t):
    line = torch.linspace(-5, 5, 401, dtype=torch.float64)
    x, x_t, keep = torch.cartesian_prod(line, line), torch.tensor([[0.2, -0.3]], dtype=torch.float64), share(s, t)
    weight = torch.softmax(PLANAR.log_prob(SCHEDULE, x, s) - ((x_t - math.sqrt(keep) * x) ** 2).sum(1) / (2 * (1 - keep)), 0)
    mean = weight @ x
    covariance = (x - mean).T @ (weight[:, None] * (x - mean))
    gradient = torch.autograd.functional.jacobian(lambda y: PLANAR.log_prob(SCHEDULE, y[None], t)[0], x_t[0])
    hessian = torch.autograd.functional.hessian(lambda y: PLANAR.log_prob(SCHEDULE, y[None], t)[0], x_t[0])
    torch.testing.assert_close(mean, (x_t[0] + (1 - keep) * gradient) / math.sqrt(keep), rtol=0, atol=1e-8)
    expected = (1 - keep) / keep * (torch.eye(2, dtype=torch.float64) + (1 - keep) * hessian)
    torch.testing.assert_close(covariance, expected, rtol=0, atol=1e-8)


@checks("eq-markov-dsm")
@pytest.mark.parametrize("t", [150, 500])
def test_both_losses_differ_by_the_floor(t):
    """Left: quadrature over (x_0, x_t), the target being -eps / sd. Right: quadrature over x_t with the exact score."""
    sd = (1 - A[t]).sqrt()
    x0 = torch.linspace(-2.6, 2.6, 521, dtype=torch.float64)
    prior = (WEIGHTS * normal(CENTRES, SPREAD**2).log_prob(x0[:, None]).exp()).sum(1)
    joint = prior[:, None] * normal(A[t].sqrt() * x0[:, None], sd**2).log_prob(X).exp()
    joint = joint / joint.sum()
    eps = (X - A[t].sqrt() * x0[:, None]) / sd
    score = MIXTURE.score(SCHEDULE, X[:, None], t)[:, 0]
    p_t = p(t) * DX
    floor = 1 / sd**2 - (p_t * score**2).sum()
    for f in (0 * X, -X, torch.sin(3 * X), score):
        left, right = (joint * (f + eps / sd) ** 2).sum(), (p_t * (f - score) ** 2).sum() + floor
        torch.testing.assert_close(left, right, rtol=1e-6, atol=0)


@checks("eq-markov-dsm", "eq-markov-stein")
def test_floor_and_stein_in_two_dimensions():
    """D = 2, by 200,000 draws: within 4.5 standard errors."""
    n, t, generator = 200_000, 300, torch.Generator().manual_seed(0)
    x0, _ = PLANAR.sample(n, generator)
    eps = torch.randn(n, 2, dtype=torch.float64, generator=generator)
    x_t = A[t].sqrt() * x0 + (1 - A[t]).sqrt() * eps
    score = PLANAR.score(SCHEDULE, x_t, t)
    f = torch.stack([x_t[:, 1], x_t[:, 0].sin()], 1)
    gap = (f + eps / (1 - A[t]).sqrt()).square().sum(1) - (f - score).square().sum(1) + score.square().sum(1)
    assert abs(float(gap.mean() - 2 / (1 - A[t]))) < 4.5 * float(gap.std()) / n**0.5 < 0.05
    product = (x_t * score).sum(1)
    assert abs(float(product.mean() + 2)) < 4.5 * float(product.std()) / n**0.5 < 0.05


@checks("eq-markov-stein")
@pytest.mark.parametrize("t", [1, 200, 800])
def test_stein_by_quadrature(t):
    x = torch.linspace(-7, 7, 14001, dtype=torch.float64)[:, None].requires_grad_()
    log_p = MIXTURE.log_prob(SCHEDULE, x, t)
    (score,) = torch.autograd.grad(log_p.sum(), x)
    assert float((log_p.exp() * x[:, 0] * score[:, 0]).sum().detach()) * 14 / 14000 == pytest.approx(-1, abs=1e-7)


@checks("eq-markov-hermite")
@pytest.mark.parametrize(("s", "t"), [(0, 200), (300, 600)])
def test_hermite_polynomials_shrink_by_powers(s, t):
    """He_n by its recursion; the mean over q(x_t | x_s) by quadrature."""
    start = torch.tensor([-1.3, 0.2, 1.0], dtype=torch.float64)
    x = torch.linspace(-10, 10, 4001, dtype=torch.float64)
    weight = normal(math.sqrt(share(s, t)) * start[:, None], 1 - share(s, t)).log_prob(x).exp() * 20 / 4000
    before, after = [torch.ones_like(start), start], [torch.ones_like(x), x]
    for n in range(1, 7):
        torch.testing.assert_close(weight @ after[n], share(s, t) ** (n / 2) * before[n], rtol=0, atol=1e-8)
        before.append(start * before[n] - n * before[n - 1])
        after.append(x * after[n] - n * after[n - 1])


@checks("eq-markov-balance")
@pytest.mark.parametrize("beta", [0.01, 0.3, 0.95])
def test_flow_is_the_same_both_ways_in_three_dimensions(beta):
    """Both sides by torch's densities; and the wrong weight 1 - beta on the state must break it."""
    x, y = torch.randn(2, 50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def flow(a, b, weight):
        return normal(0 * a, 1).log_prob(a).sum(1) + normal(weight * a, beta).log_prob(b).sum(1)

    root = math.sqrt(1 - beta)
    torch.testing.assert_close(flow(x, y, root), flow(y, x, root), rtol=0, atol=1e-9)
    assert float((flow(x, y, 1 - beta) - flow(y, x, 1 - beta)).abs().max()) > 1e-3


@checks("eq-markov-arrow")
@pytest.mark.parametrize(("s", "t"), [(20, 100), (100, 300), (200, 900)])
def test_evidence_is_the_drop_of_the_distance(s, t):
    """Left: double sum over the grid. Right: two entropies and second moments, with E[x^2] known in closed form."""
    keep = share(s, t)
    log_q = normal(math.sqrt(keep) * X[:, None], 1 - keep).log_prob(X)
    log_s, log_t = p(s).clamp(min=1e-300).log(), p(t).clamp(min=1e-300).log()
    joint = (log_s[:, None] + log_q).exp() * DX**2
    left = float((joint * (log_s[:, None] + log_q - log_t - log_q.T)).sum())

    def distance(time):
        second_moment = float(A[time]) * (1 + SPREAD**2) + 1 - float(A[time])  # both humps lie at distance 1 from 0
        return float(torch.xlogy(p(time), p(time)).sum()) * DX + 0.5 * second_moment + 0.5 * math.log(2 * math.pi)

    assert left == pytest.approx(distance(s) - distance(t), abs=1e-7) and left > 1e-3


@checks("eq-markov-wedge")
@pytest.mark.parametrize(("beta", "theta"), [(0.1, 0.5), (0.4, -0.3), (0.2, 2.0)])
def test_area_swept_in_the_stationary_state(beta, theta):
    """The joint covariance of (x_t, x_{t+1}) by iterating the chain from another start; the wedge is read from it."""
    c, s = math.cos(theta), math.sin(theta)
    step = math.sqrt(1 - beta) * torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    covariance = torch.tensor([[4.0, 1.0], [1.0, 0.2]], dtype=torch.float64)
    for _ in range(1000):
        covariance = step @ covariance @ step.T + beta * torch.eye(2, dtype=torch.float64)
    torch.testing.assert_close(covariance, torch.eye(2, dtype=torch.float64), rtol=0, atol=1e-12)
    cross = covariance @ step.T  # E[x_t x_{t+1}^T]
    assert float(cross[0, 1] - cross[1, 0]) == pytest.approx(2 * math.sqrt(1 - beta) * s, abs=1e-12)
    n, generator = 200_000, torch.Generator().manual_seed(2)
    x, z = torch.randn(2, n, 2, dtype=torch.float64, generator=generator)
    y = x @ step.T + math.sqrt(beta) * z
    wedge = x[:, 0] * y[:, 1] - x[:, 1] * y[:, 0]
    assert abs(float(wedge.mean()) - 2 * math.sqrt(1 - beta) * s) < 4.5 * float(wedge.std()) / n**0.5


@checks("eq-markov-metropolis")
def test_metropolis_flow_and_its_stationary_state():
    """The rule, played with dice: how often a pair occurs; and the wanted state as the eigenvector of the rule's matrix."""
    generator = torch.Generator().manual_seed(3)
    pi = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    Q = torch.rand(4, 4, dtype=torch.float64, generator=generator).softmax(1)
    flow = torch.minimum(pi[:, None] * Q, pi * Q.T).fill_diagonal_(0)
    n = 400_000
    start = torch.multinomial(pi, n, replacement=True, generator=generator)
    proposal = torch.multinomial(Q[start], 1, generator=generator)[:, 0]
    accept = torch.rand(n, dtype=torch.float64, generator=generator) < pi[proposal] * Q[proposal, start] / (pi[start] * Q[start, proposal])
    end = torch.where(accept, proposal, start)
    counts = torch.bincount(4 * start + end, minlength=16).reshape(4, 4).double().fill_diagonal_(0)
    assert float((counts / n - flow).abs().max()) < 4.5 * math.sqrt(float(flow.max()) / n)
    P = flow / pi[:, None]
    P = P + torch.diag(1 - P.sum(1))
    torch.testing.assert_close(torch.linalg.matrix_power(P, 2000), pi.expand(4, 4), rtol=0, atol=1e-10)


@checks("eq-markov-langevin")
@pytest.mark.parametrize("h", [0.05, 0.5, 1.5])
def test_variance_of_unadjusted_langevin(h):
    """By the sum over all past noises, and by simulation."""
    series = sum(2 * h * (1 - h) ** (2 * n) for n in range(2000))
    assert series == pytest.approx(1 / (1 - h / 2), rel=1e-10)
    n, generator = 100_000, torch.Generator().manual_seed(4)
    x = torch.randn(n, dtype=torch.float64, generator=generator)
    for _ in range(60):
        x = x - h * x + math.sqrt(2 * h) * torch.randn(n, dtype=torch.float64, generator=generator)
    assert float(x.var()) == pytest.approx(1 / (1 - h / 2), rel=4.5 * math.sqrt(2 / n) + (1 - h) ** 120)
