"""Graders of section 1.2, strengths."""

import math

import torch
import torch.nn.functional as F

from ..task import Essay, ProblemSet, Task, close, number, tensor

SETUP = """\
import math

import torch
import torch.nn.functional as F

from diffusion_core import Schedule
from diffusion_core.data import fashion_mnist, to_pictures

schedule = Schedule.linear(1000)
shuffled, test = (to_pictures(fashion_mnist(split)[0][:400]) for split in ("train", "test"))     # pictures (400, 1, 28, 28) in [-1, 1]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def root(C):
    '''The square root of a covariance matrix (D, D).'''
    values, vectors = torch.linalg.eigh(C)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def nearest(x, pictures):
    '''Index of the nearest of pictures (N, ..) to each x (M, ..), (M,), and the root-mean-square distances to the nearest two, (M, 2).'''
    distance = torch.cdist(x.flatten(1), pictures.flatten(1), compute_mode="donot_use_mm_for_euclid_dist") / x[0].numel() ** 0.5
    found = distance.topk(2, largest=False)
    return found.indices[:, 0], found.values
"""


# A Fréchet distance

frechet = Task(
    "strengths-frechet",
    ("my_frechet",),
    minutes=15,
    difficulty=1,
    example="my_frechet(torch.eye(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64) + 1)",
    vary={"share": (1.0, 0.25, 0.5, 0.75)},
    twist="In your version the heap does not go the whole way. In the best plan each point $a$ of the first Gaussian has a partner $b(a)$ in the "
          "second; it is moved to $(1 - \\lambda)\\, a + \\lambda\\, b(a)$ with $\\lambda = {share}$. Give the squared Fréchet distance between the "
          "first Gaussian and the moved one.",
)


def heap(case, n, D, stream, sd=None):
    """n rows with exactly the sample mean and, if sd (D,) is given, exactly the sample covariance diag(sd^2)."""
    x = case.normal(n, D, stream=stream)
    if sd is None:
        return x @ case.normal(D, D, stream=stream + 50)
    x = torch.linalg.qr(x - x.mean(0)).Q * (n - 1) ** 0.5
    return case.normal(D, stream=stream + 90) + x * sd


def distance(answers, a, b):
    return number(answers.my_frechet(a, b))


def spread(x):
    """The sum of the sample variances."""
    return float(x.var(0).sum())


@frechet.part(1, "it is zero on itself, and the squared shift for a heap that is only shifted")
def shift(answers, case):
    a, move = heap(case, 40, 4, 1), case.uniform(4, low=0.5, high=2, stream=2)
    same, moved = distance(answers, a, a), distance(answers, a, a + move)
    assert close(same, 0, 1e-6), f"{same:.4g} from a heap to itself"
    exact = float((case.share * move).square().sum())
    assert close(moved, exact, 1e-6), f"a heap that is shifted by {exact**0.5:.4g} in all is at {moved:.4g}"


@frechet.part(1, "for uncorrelated features it is what means and standard deviations say")
def uncorrelated(answers, case):
    for n, m, D in ((50, 80, 4), (30, 30, 2)):
        s, r = case.uniform(2, D, low=0.2, high=2, stream=3)
        a, b = heap(case, n, D, 4, s), heap(case, m, D, 5, r)
        exact = case.share**2 * float(((a.mean(0) - b.mean(0)) ** 2 + (s - r) ** 2).sum())
        found = distance(answers, a, b)
        assert close(found, exact, 1e-6), f"{found:.6g} for {n} and {m} rows of {D} uncorrelated features, and {exact:.6g} was expected"


@frechet.part(2, "for a heap and its stretched copy it is the mean square of the way")
def stretched(answers, case):
    for D in (2, 5):
        a = heap(case, 60, D, 6)
        M = case.normal(D, D, stream=7)
        b = a @ (M @ M.T / D + 0.1 * torch.eye(D, dtype=torch.float64))         # symmetric and positive: the best plan
        exact = case.share**2 * (spread(b - a) + float((b.mean(0) - a.mean(0)).square().sum()))
        found = distance(answers, a, b)
        assert close(found, exact, 1e-6 * exact), f"{found:.6g} for {D} correlated features, and {exact:.6g} was expected"


@frechet.part(1, "turning both heaps changes nothing, exchanging them neither, and twice as large is four times as far")
def symmetric(answers, case):
    a, b = heap(case, 30, 3, 8), heap(case, 50, 3, 9) + 1
    turn = torch.linalg.qr(case.normal(3, 3, stream=10)).Q
    d = distance(answers, a, b)
    for what, factor, other in (("both turned", 1, distance(answers, a @ turn, b @ turn)), ("exchanged", 1, distance(answers, b, a)),
                                ("both doubled", 4, distance(answers, 2 * a, 2 * b))):
        assert d > 0 and close(other, factor * d, 1e-6 * d), f"{what}: {other:.6g}, and before it was {d:.6g}"


def root(C):
    values, vectors = torch.linalg.eigh(C)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def cross(A, B):
    return float(torch.linalg.svdvals(root(B) @ root(A)).sum())


def gap(a, b):
    return float((a.mean(0) - b.mean(0)).square().sum())


def parts(case, formula, correction=1):
    """The share's square times formula(squared gap of the means, A, B)."""
    return lambda a, b: case.share**2 * float(formula(gap(a, b), *(torch.cov(x.T, correction=correction) for x in (a, b))))


@frechet.mistake("The means are missing: two heaps of one shape in different places are not at distance zero.")
def no_means(case):
    return parts(case, lambda gap, A, B: A.trace() + B.trace() - 2 * cross(A, B))


@frechet.mistake("This is the distance, and its square is asked for.")
def not_squared(case):
    return lambda a, b: max(parts(case, lambda gap, A, B: gap + A.trace() + B.trace() - 2 * cross(A, B))(a, b), 0) ** 0.5


@frechet.mistake("The cross term stands twice, for it comes from both heaps: without the factor two a heap is not at distance zero from itself.")
def cross_once(case):
    return parts(case, lambda gap, A, B: gap + A.trace() + B.trace() - cross(A, B))


@frechet.mistake("The roots of the two covariances are multiplied as if they commuted. For correlated features they do not.")
def commuting(case):
    return parts(case, lambda gap, A, B: gap + A.trace() + B.trace() - 2 * (root(A) @ root(B)).trace())


@frechet.mistake("The outer root is taken of each entry of the matrix. The root of a matrix is another thing: its square is the matrix.")
def root_of_entries(case):
    return parts(case, lambda gap, A, B: gap + A.trace() + B.trace() - 2 * (root(A) @ B @ root(A)).diagonal().clamp(min=0).sqrt().sum())


@frechet.mistake("The squared difference of the covariance matrices compares variances. The formula compares standard deviations.")
def covariances_compared(case):
    return parts(case, lambda gap, A, B: gap + (A - B).square().sum())


@frechet.mistake("The covariances are divided by the number of rows; the sample covariance divides by one less.")
def divided_by_n(case):
    return parts(case, lambda gap, A, B: gap + A.trace() + B.trace() - 2 * cross(A, B), correction=0)


# The great circle

circle = Task(
    "strengths-slerp",
    ("slerp",),
    minutes=20,
    difficulty=2,
    example="slerp(torch.eye(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64).flip(0), 0.5)",
    vary={"power": (None, 1, 2, -1)},
    twist="In your version $|x|$ and $|y|$ may differ, as those of two inverted pictures do. The direction goes along the great circle as before. "
          "The length $r$ goes from $|x|$ to $|y|$ by $r^{{{power}}} = (1 - \\lambda)\\, |x|^{{{power}}} + \\lambda\\, |y|^{{{power}}}$, where "
          "$\\lambda$ is `share`.",
)


def length(x):
    return x.flatten(1).norm(dim=1)


def wide(values, x):
    """A number for each row, shaped to multiply x."""
    return values.view(-1, *[1] * (x.dim() - 1))


def goes(case, x, y, share):
    """The length that a point at `share` of the way has."""
    p = case.power or 1
    return ((1 - share) * length(x) ** p + share * length(y) ** p) ** (1 / p)


def pairs(case):
    """Two batches of each of three shapes. The lengths of the pairs are equal, but for versions that say how they go."""
    found = []
    for k, shape in enumerate(((6, 1, 5, 5), (4, 10), (1, 3, 2, 4))):
        x, y = case.normal(*shape, stream=k), case.normal(*shape, stream=k + 10)
        factor = 1 if case.power is None else case.uniform(shape[0], low=0.5, high=2, stream=k + 20)
        found.append((x, y * wide(length(x) * factor / length(y), y)))
    return found


def angle(x, y):
    u, v = x / wide(length(x), x), y / wide(length(y), y)
    return 2 * torch.atan2(length(u - v), length(u + v))


def point(answers, x, y, share):
    return tensor(answers.slerp(x, y, share), *x.shape)


@circle.part(1, "it starts at x and ends at y")
def ends(answers, case):
    for x, y in pairs(case):
        for share, end, name in ((0.0, x, "x"), (1.0, y, "y")):
            away = (point(answers, x, y, share) - end).abs().max()
            assert away < 1e-9, f"shape {tuple(x.shape)}, share {share:g}: {float(away):.3g} away from {name}"


@circle.part(1, "the length is right on all of the way")
def lengths(answers, case):
    for x, y in pairs(case):
        for share in (0.2, 0.5, 0.7):
            ratio = length(point(answers, x, y, share)) / goes(case, x, y, share)
            assert close(ratio, torch.ones(len(x)), 1e-9), (
                f"shape {tuple(x.shape)}, share {share:g}: row 0 has {float(ratio[0]):.4g} times the length that it should have")


@circle.part(2, "equal shares are equal angles, each row on its own circle")
def angles(answers, case):
    for x, y in pairs(case):
        whole = angle(x, y)
        for share in (0.25, 0.5, 0.9):
            p = point(answers, x, y, share)
            for name, one, part in (("x", x, share), ("y", y, 1 - share)):
                found = angle(one, p) / whole
                assert close(found, torch.full((len(x),), part), 1e-7), (
                    f"shape {tuple(x.shape)}, share {share:g}: {float(found[0]):.3f} of the angle lies between {name} and the point of row 0")


@circle.part(1, "rows that are nearly parallel are no division by zero, among others that are not")
def parallel(answers, case):
    x, y = pairs(case)[1]
    y = torch.cat([x[:1], x[1:2] + 1e-12, y[2:]])
    middle, early = point(answers, x, y, 0.5), point(answers, x, y, 0.3)
    assert bool(middle.isfinite().all() and early.isfinite().all()), "not all numbers are finite"
    assert close(early[:2], x[:2], 1e-9), f"between x and x, row 0 is {float((early[0] - x[0]).abs().max()):.2g} away from x"
    direction = x[2:] / wide(length(x[2:]), x[2:]) + y[2:] / wide(length(y[2:]), y[2:])
    away = angle(middle[2:], direction)
    assert bool((away < 1e-6).all()), "a row that is not parallel does not go through the middle between x and y"
    assert close(length(middle), goes(case, x, y, 0.5), 1e-9), "the length of a row is wrong"


def along(case, weights, resize=True):
    """weights(theta, share) give the share of the two directions; the length is then set, or left as it comes."""
    def slerp(x, y, share):
        theta, u, v = angle(x, y), x / wide(length(x), x), y / wide(length(y), y)
        first, second = weights(theta, share)
        mixed = wide(first, x) * u + wide(second, x) * v
        return wide(goes(case, x, y, share) / (length(mixed) if resize else 1), x) * mixed
    return slerp


def sines(theta, share):
    safe = theta.clamp(min=1e-9)
    flat = theta < 1e-9
    return (torch.where(flat, 1 - share, ((1 - share) * safe).sin() / safe.sin()), torch.where(flat, share, (share * safe).sin() / safe.sin()))


@circle.mistake("This is the straight line: in its middle the points are too short.")
def straight(case):
    return lambda x, y, share: (1 - share) * x + share * y


@circle.mistake("The straight line, stretched to the right length, lies on the circle, and runs over it at an uneven speed.")
def stretched_line(case):
    return along(case, lambda theta, share: (torch.full_like(theta, 1 - share), torch.full_like(theta, share)))


@circle.mistake("Cosine and sine of a quarter turn are right for directions at a right angle only. Which angle do x and y have?")
def quarter_turn(case):
    right = math.pi / 2
    return along(case, lambda theta, share: tuple(torch.full_like(theta, f(share * right)) for f in (math.cos, math.sin)), resize=False)


@circle.mistake("Where x and y are parallel, the sine of their angle is zero and you divide by it.")
def divides_by_zero(case):
    return along(case, lambda theta, share: (((1 - share) * theta).sin() / theta.sin(), (share * theta).sin() / theta.sin()), resize=False)


@circle.mistake("One angle is taken for the whole batch. Each row has its own.")
def one_angle(case):
    def slerp(x, y, share):
        theta = angle(x.reshape(1, -1), y.reshape(1, -1)).expand(len(x))
        return along(case, lambda _, share: sines(theta, share), resize=False)(x, y, share)
    return slerp


@circle.mistake("The points lie on the unit sphere: the length of x and y is lost.")
def unit_length(case):
    return lambda x, y, share: (lambda p: p / wide(length(p), p))(along(case, sines)(x, y, share))


@circle.mistake("The two weights are exchanged: the way leads from y to x.")
def other_way(case):
    return lambda x, y, share: along(case, sines)(y, x, share)


# The detector that misses copies

copies = Task(
    "strengths-detector",
    ("detector",),
    minutes=25,
    difficulty=2,
    example="detector(shuffled[:2] + 0.01, torch.cat([shuffled[:100], shuffled[:1]]))",
    vary={"disguise": ("as it is", "mirrored left to right", "upside down", "with its grey levels negated")},
    twist="Your training set was augmented while the network learned, so a sample may also copy a picture **{disguise}**. Your `detector` has to "
          "find copies of both kinds, of pictures as they are and of pictures {disguise}, and accuse nothing else.",
)
DISGUISES = {"as it is": lambda x: x, "mirrored left to right": lambda x: x.flip(-1), "upside down": lambda x: x.flip(-2),
             "with its grey levels negated": lambda x: -x}


def made_up(case, n, stream):
    """n unrelated pictures (n, 1, 15, 15): patches of 3 x 3 pixels with grey levels between -1 and 1."""
    return F.interpolate(case.uniform(n, 1, 5, 5, low=-1, high=1, stream=stream), scale_factor=3).float()


def noise(case, n, stream):
    return case.normal(n, 1, 15, 15, stream=stream).float()


def disguised(case, x):
    """Every second picture in the version's disguise."""
    x = x.clone()
    x[::2] = DISGUISES[case.disguise](x[::2])
    return x


def accused(answers, x, pictures):
    """How many of x the detector calls copies."""
    return int(tensor(answers.detector(x, pictures), len(x)).ne(0).sum())


def sorts(answers, x, unseen, pictures, what):
    """All of x are found, and none of the unseen is accused."""
    found, wrongly = accused(answers, x, pictures), accused(answers, unseen, pictures)
    assert found == len(x), f"{found} of {len(x)} copies of {what} are found"
    assert wrongly == 0, f"{wrongly} of {len(unseen)} pictures that nobody copied are accused"


@copies.part(1, "noisy copies of pictures that occur once are found, and unseen pictures are not accused")
def once(answers, case):
    base = made_up(case, 120, 1)
    sorts(answers, disguised(case, base[:20]) + 0.02 * noise(case, 20, 2), made_up(case, 40, 3), base, "pictures that occur once")


@copies.part(1, "so they are where the original occurs twice or five times")
def several(answers, case):
    base = made_up(case, 80, 4)
    for times in (2, 5):
        collected = torch.cat([base] + [base[:20]] * (times - 1))
        collected = collected[torch.randperm(len(collected), generator=case.generator(5))]
        sorts(answers, disguised(case, base[:20]) + 0.02 * noise(case, 20, 6), made_up(case, 40, 7), collected, f"pictures that occur {times} times")


@copies.part(1, "so they are where the doubles of the original differ from it by a little noise")
def near_doubles(answers, case):
    base = made_up(case, 80, 8)
    collected = torch.cat([base] + [base[:20] + 0.03 * noise(case, 20, k) for k in (9, 10)])
    sorts(answers, disguised(case, base[:20]) + 0.02 * noise(case, 20, 11), made_up(case, 40, 12), collected, "pictures with near doubles")


@copies.part(2, "nearness is judged by what else is near: rough copies are found, one more variant of a motif is not accused")
def relative(answers, case):
    base, motif = made_up(case, 60, 13), made_up(case, 1, 14)
    variants = motif + 0.15 * noise(case, 50, 15)
    rough = disguised(case, base[:20]) + 0.11 * noise(case, 20, 16)
    sorts(answers, rough, variants[40:], torch.cat([base, base[:20], variants[:40]]), "pictures that occur twice, with noise of size 0.11,")


def distances(x, pictures):
    return torch.cdist(x.flatten(1), pictures.flatten(1), compute_mode="donot_use_mm_for_euclid_dist") / x[0].numel() ** 0.5


def either(case, detect):
    """What `detect` says of the pictures as they are and in the version's disguise."""
    if case.disguise == "as it is":
        return detect
    return lambda x, pictures: detect(x, pictures) | detect(DISGUISES[case.disguise](x), pictures)


def by_rest(x, pictures, double=0.1, share=1 / 3):
    """The nearest beside the nearest that is no double of it."""
    apart = distances(x, pictures)
    near, index = apart.min(1)
    rest = apart.masked_fill(distances(pictures[index], pictures) < double, torch.inf)
    return near < rest.min(1).values * share


@copies.mistake("This is the criterion of the text: where the original occurs twice, the nearest two are equally far.")
def first_two(case):
    return either(case, lambda x, pictures: distances(x, pictures).topk(2, largest=False).values @ torch.tensor([3.0, -1.0]) < 0)


@copies.mistake("The third nearest in place of the second helps where an original occurs twice, and not where it occurs more often.")
def third(case):
    return either(case, lambda x, pictures: distances(x, pictures).topk(3, largest=False).values[:, [0, 2]] @ torch.tensor([3.0, -1.0]) < 0)


@copies.mistake("A fixed bound on the distance knows nothing of what else is near. It misses rough copies, or accuses variants of a motif.")
def fixed_bound(case):
    return either(case, lambda x, pictures: distances(x, pictures).min(1).values < 0.08)


@copies.mistake("A wide fixed bound finds rough copies, and accuses variants of a motif. What else is near?")
def wide_bound(case):
    return either(case, lambda x, pictures: distances(x, pictures).min(1).values < 0.3)


@copies.mistake("Only exact doubles are left out of the comparison. Doubles that differ by a little noise hide a copy just as well.")
def exact_doubles(case):
    return either(case, lambda x, pictures: by_rest(x, pictures, double=1e-3))


@copies.mistake("What is left out is near the sample. It should be near the original: a rough copy is as far from the doubles as from the original.")
def near_the_sample(case):
    def detect(x, pictures):
        apart = distances(x, pictures)
        near = apart.min(1).values
        return near < apart.masked_fill(apart < 0.1, torch.inf).min(1).values / 3
    return either(case, detect)


@copies.mistake("The comparison is the wrong way round: pictures with nothing near are called copies.")
def reversed_ratio(case):
    return either(case, lambda x, pictures: ~by_rest(x, pictures))


# A denoiser that looks through a window

local = Task(
    "strengths-local",
    ("local_x0",),
    minutes=30,
    difficulty=3,
    example="local_x0(torch.zeros(1, 1, 28, 28), 0.5, shuffled[:5], 3)",
    vary={"window": ("square", "row", "column", "cross")},
    twist="The window of your version is no square but a **{window}** centred at the pixel. (A row is horizontal and holds $k$ pixels, a column is "
          "vertical and holds $k$ pixels, a cross is both together, $2k - 1$ pixels.)",
)


def offsets(window, k):
    """The (row, column) offsets that belong to a window."""
    r = range(-(k // 2), k // 2 + 1)
    return [(i, j) for i in r for j in r if {"square": True, "row": i == 0, "column": j == 0, "cross": i * j == 0}[window]]


def masks(window, k, H, W):
    """(H W, H, W): for each pixel, the pixels of its window."""
    found = torch.zeros(H * W, H, W, dtype=torch.float64)
    for pixel in range(H * W):
        for i, j in offsets(window, k):
            row, column = pixel // W + i, pixel % W + j
            if 0 <= row < H and 0 <= column < W:
                found[pixel, row, column] = 1
    return found


def by_masks(window, x, alpha_bar, pictures, k):
    """The answer pixel by pixel, from the definition."""
    (H, W), N = x.shape[2:], len(pictures)
    gap = (x - alpha_bar**0.5 * pictures[:, 0]) ** 2                                       # (M, N, H, W)
    energy = gap.flatten(2) @ masks(window, k, H, W).flatten(1).T
    weights = (-energy / (2 * (1 - alpha_bar))).softmax(1)
    return (weights * pictures.reshape(1, N, H * W)).sum(1).view(x.shape)


def noisy(case, alpha_bar, H, W, stream, N=6, M=3):
    """Pictures (N, 1, H, W), and x_t (M, 1, H, W) made of the first M of them."""
    pictures = case.normal(N, 1, H, W, stream=stream)
    return pictures, alpha_bar**0.5 * pictures[:M] + (1 - alpha_bar) ** 0.5 * case.normal(M, 1, H, W, stream=stream + 30)


def agrees(answers, case, x, alpha_bar, pictures, k):
    found, exact = tensor(answers.local_x0(x, alpha_bar, pictures, k), *x.shape), by_masks(case.window, x, alpha_bar, pictures, k)
    away = (found - exact).abs()
    right = int((away < 1e-7).sum())
    assert right == away.numel(), (
        f"{x.shape[2]} x {x.shape[3]} pixels, k = {k}, alpha_bar = {alpha_bar}: {away.numel() - right} of {away.numel()} values are wrong, "
        f"by {float(away.max()):.2g} at most")


@local.part(1, "with k = 1 each pixel is denoised on its own")
def single(answers, case):
    for k, alpha_bar in enumerate((0.1, 0.5, 0.9)):
        pictures, x = noisy(case, alpha_bar, 5, 7, k)
        agrees(answers, case, x, alpha_bar, pictures, 1)


@local.part(1, "a window that reaches over the whole picture uses all that it covers")
def whole(answers, case):
    for k, (H, W) in enumerate(((6, 6), (4, 7))):
        pictures, x = noisy(case, 0.2, H, W, k + 4)
        agrees(answers, case, x, 0.2, pictures, 2 * max(H, W) - 1)


@local.part(2, "with windows between, every pixel is right, those at the border too")
def between(answers, case):
    for k, (size, alpha_bar) in enumerate(((3, 0.5), (5, 0.3), (7, 0.1))):
        pictures, x = noisy(case, alpha_bar, 9, 8, k + 8)
        agrees(answers, case, x, alpha_bar, pictures, size)


@local.part(1, "without noise a training picture comes back, and from noise alone the mean picture")
def limits(answers, case):
    pictures, x = noisy(case, 0.5, 6, 7, 12)
    agrees(answers, case, pictures[1:4] + 0.005 * case.normal(3, 1, 6, 7, stream=13), 1 - 1e-8, pictures, 3)
    mean = tensor(answers.local_x0(x, 1e-12, pictures, 3), *x.shape)
    away = float((mean - pictures.mean(0)).abs().max())
    assert away < 1e-4, f"alpha_bar = 1e-12: {away:.2g} away from the mean picture"


def windowed(case, scale=math.sqrt, variance=lambda a: 2 * (1 - a), reach=lambda k: k, wrap=False, mean=None, axis=1, safe=True):
    """A denoiser by shifted maps of squared differences; mean None adds them up, "window" and "inside" divide by a count."""
    def local_x0(x_t, alpha_bar, pictures, k):
        H, W = x_t.shape[2:]
        gap, steps = (x_t - scale(alpha_bar) * pictures[:, 0]) ** 2, offsets(case.window, reach(k))

        def moved(field, i, j):
            if wrap:
                return field.roll((-i, -j), (-2, -1))
            r = reach(k)
            return F.pad(field, (r, r, r, r))[..., r + i : r + i + H, r + j : r + j + W]

        energy = sum(moved(gap, i, j) for i, j in steps)
        if mean:
            inside = sum(moved(torch.ones_like(gap), i, j) for i, j in steps)
            energy = energy / (len(steps) if mean == "window" else inside / len(steps))
        weights = (-energy / variance(alpha_bar)).softmax(axis)
        if not safe:
            likely = (-energy / variance(alpha_bar)).exp()
            weights = likely / likely.sum(1, keepdim=True)
        return (weights * pictures[:, 0]).sum(1, keepdim=True)
    return local_x0


@local.mistake("The training pictures are compared with x_t at full size. In x_t they are scaled by the root of alpha_bar.")
def unscaled(case):
    return windowed(case, scale=lambda a: 1.0)


@local.mistake("The pictures are scaled by alpha_bar in place of its root.")
def no_root(case):
    return windowed(case, scale=lambda a: a)


@local.mistake("The two in the exponent is missing: these weights are too sharp.")
def no_two(case):
    return windowed(case, variance=lambda a: 1 - a)


@local.mistake("The squared differences are averaged over the window. The exponent has their sum: more pixels say more.")
def averaged(case):
    return windowed(case, mean="window")


@local.mistake("At the border, where a window is cut off, its sum is blown up to the full window's. Fewer pixels say less.")
def refilled(case):
    return windowed(case, mean="inside")


@local.mistake("At the border the window continues on the other side of the picture. There is nothing to compare outside.")
def wrapped(case):
    return windowed(case, wrap=True)


@local.mistake("k is the whole width of the window, and here it is its radius.")
def radius(case):
    return windowed(case, reach=lambda k: 2 * k + 1)


@local.mistake("The weights have to add up to 1 over the training pictures, at each pixel. The softmax runs over another axis.")
def other_axis(case):
    return windowed(case, axis=0)


@local.mistake("With almost no noise every exponential is rounded to zero, and the weights are zero by zero. Only differences of exponents count.")
def underflow(case):
    return windowed(case, safe=False)


@local.mistake("One weight for the whole picture: this is the perfect denoiser, which copies.")
def perfect(case):
    def local_x0(x_t, alpha_bar, pictures, k):
        energy = ((x_t - alpha_bar**0.5 * pictures[:, 0]) ** 2).sum((2, 3))
        return ((-energy / (2 * (1 - alpha_bar))).softmax(1) @ pictures.flatten(1)).view_as(x_t)
    return local_x0


ESSAY = Essay(
    question="""\
A company presents an image model and claims:

> (1) From 2,000 samples our Fréchet distance to the test set is 0.12. Two sets of 2,000 real pictures are at 0.14. Our samples are
> therefore better than real ones. (2) Our network is larger than last year's, and its training loss has reached a new low, close to the
> least possible; so it generalises better than ever. (3) Inverting a test picture to x_T and sampling again returns it almost exactly.
> This proves that the model has understood the picture.

Judge each claim. For each, say what the number shows and what it does not, and name one measurement of the section that would tell more,
with the result that you would expect from a model that only repeats its training pictures. Half a page to a page.""",
    rubric="""\
One point each, six in all.

1. *The floor.* The distance of real to real at the same n is the least to be expected, and it is there by chance: means and covariances
   of finite heaps differ. A value a little below it is chance, or a sign of copying; nothing is better than real.
2. *What the distance cannot see.* It compares two moments of some features. A model that repeats its training pictures reaches the floor.
   A test that tells more: distance to the nearest training picture against the second nearest (or the nearest that is no double).
3. *The least possible loss.* The minimum over a finite training set is reached by the perfect denoiser, which answers with training
   pictures. A training loss near it is a warning.
4. *What to measure instead.* The loss on held-out pictures beside that on seen ones, or two networks from disjoint sets at the same x_T.
   A copying model has a wide gap, and its twin draws other pictures from the same noise.
5. *Inversion.* x_T has as many numbers as the picture, and the deterministic map can be walked both ways: a small error shows that the
   steps are small enough, and nothing about understanding. (It does speak against a pure copier, whose sampler ends at training pictures
   from any x_T, so that an unseen picture does not come back.)
6. *What to measure instead.* A linear probe on x_T, on the pixels and on the bottleneck: in the section x_T lays open less than the pixels,
   the bottleneck more. Or steering: sampling from the x_T of a coat as a dress, which keeps its shade; a copier gives some training dress.

Typical wrong answers: 0.12 is better because smaller; larger networks copy less; a low training loss is a sign of generalising. Claims
without a measurement earn half of the points at most.""",
    points=6,
    minutes=25,
)

SET = ProblemSet("strengths", "Strengths and their limits", "01_background/02_strengths", SETUP, [frechet, circle, copies, local], ESSAY)
