"""The explorers' JavaScript library, in Chromium, against the Python that it repeats."""

import functools
import http.server
import json
import math
import random
import struct
import threading
from pathlib import Path

import diffusion_core.explorers
import numpy as np
import pytest
import torch
from diffusion_core.denoisers import NetworkDenoiser
from diffusion_core.editing import invert, sdedit
from diffusion_core.gaussian import Prediction, posterior_variance, q_sample
from diffusion_core.guidance import guided, interval_guided
from diffusion_core.mixture import GaussianMixture
from diffusion_core.samplers import ddim
from diffusion_core.schedules import Schedule, timesteps
from playwright.sync_api import Error

WEB = Path(diffusion_core.explorers.__file__).with_name("web")
SEEDS = [0, 1, 42, 2**32 + 5, 2**53 - 1]
ROWS, SIZE = 5, 7

PRELUDE = """async (text) => {
  const given = JSON.parse(text), names = ["random", "schedules", "samplers", "mixture", "format"];
  const [random, schedules, samplers, mixture, format] = await Promise.all(names.map((name) => import(`/lib/${name}.js`)));
  const plain = (_, value) => (ArrayBuffer.isView(value) ? Array.from(value) : value);
  const drawn = (generator, name, n) => (name === "multinomial" ? generator.multinomial([.2, .3, 1.5, .7], n) : generator[name](n));
  const answer = async () => { %s };
  return JSON.stringify(await answer(), plain);
}"""

# A made-up network, not linear in x: the same lines in both languages. It notes what it was asked.
NETWORK = """
  const { alphaBar, kind, clip } = given, schedule = new schedules.Schedule(Float64Array.from(alphaBar)), asked = [];
  const denoiser = async (x, t, cond) => {
    asked.push([x.length, t, cond && Array.from(cond)]);
    const label = (i) => (cond ? cond[Math.floor(i / given.size)] : -1);
    const value = x.map((v, i) => (v / (1 + v * v) * (t / schedule.T) + (label(i) + 2) / 8 - 0.3 * v));
    return samplers.prediction(kind, value, x, alphaBar[t], clip);
  };
  const x = Float32Array.from(given.x), cond = given.cond && Int32Array.from(given.cond), { seed, eta } = given;
  const generator = new random.Generator(seed ?? 0), states = [];
  for await (const step of %s) states.push(step);
  return { asked, states, next: generator.rand(1) };
"""


class Handler(http.server.SimpleHTTPRequestHandler):
    """The files of a folder and, at its root, an empty page."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path != "/":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>empty</title><link rel=icon href=data:,>")


@pytest.fixture(scope="module")
def js(browser):
    """Function (lines of JavaScript with a return, **given) -> what they returned, through JSON, arrays as lists."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=WEB)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        yield lambda lines, **given: json.loads(page.evaluate(PRELUDE % lines, json.dumps(given)))
        page.close()
        server.shutdown()


def near(found, expected, rtol: float, atol: float = 0.0) -> None:
    np.testing.assert_allclose(np.array(found, float), torch.as_tensor(expected, dtype=torch.float64).flatten().numpy(), rtol, atol)


# Name in JavaScript -> the draw in torch, and how far apart the values may be. torch's own float32 normals of different processors differ by
# 2e-6: their logarithms and cosines are approximations.
DRAWS = {
    "rand": (lambda n, g: torch.rand(n, generator=g), 0),
    "randDouble": (lambda n, g: torch.rand(n, dtype=torch.float64, generator=g), 0),
    "randn": (lambda n, g: torch.randn(n, generator=g), 3e-6),
    "randnDouble": (lambda n, g: torch.randn(n, dtype=torch.float64, generator=g), 1e-14),
    "randperm": (lambda n, g: torch.randperm(n, generator=g), 0),
    "multinomial": (lambda n, g: torch.multinomial(torch.tensor([0.2, 0.3, 1.5, 0.7], dtype=torch.float64), n, True, generator=g), 0),
}


@pytest.mark.parametrize("name", DRAWS)
def test_a_first_draw_of_every_size_is_torchs(js, name):
    draw, tolerance = DRAWS[name]
    sizes = [*range(1, 41), 784 * 9]
    found = js("return given.sizes.map((n) => drawn(new random.Generator(n), given.name, n));", sizes=sizes, name=name)
    for n, values in zip(sizes, found, strict=True):
        near(values, draw(n, torch.Generator().manual_seed(n)), 0, tolerance)


@pytest.mark.parametrize("seed", SEEDS)
def test_successive_draws_of_one_generator_are_torchs(js, seed):
    """Odd numbers of single normals leave one over, which the next single draw takes, whatever was drawn between."""
    chance = random.Random(seed)
    order = [(chance.choice(list(DRAWS)), chance.choice([1, 2, 3, 5, 15, 16, 17, 31, 33, 100, 700])) for _ in range(120)]
    found = js("const g = new random.Generator(given.seed); return given.order.map(([name, n]) => drawn(g, name, n));", seed=seed, order=order)
    generator = torch.Generator().manual_seed(seed)
    for (name, n), values in zip(order, found, strict=True):
        near(values, DRAWS[name][0](n, generator), 0, DRAWS[name][1])


def test_a_draw_of_several_dimensions_is_the_flat_one(js):
    found = js("const g = new random.Generator(8); return [g.randn(3 * 35), g.randn(2 * 3)];")
    generator = torch.Generator().manual_seed(8)
    near(found[0], torch.randn(3, 1, 5, 7, generator=generator), 0, 3e-6)
    near(found[1], torch.randn(2, 3, generator=generator), 0, 3e-6)


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_schedules(js, name):
    """alpha_bar to 1e-12; relative to its size 1e-10, since the cosine falls to 1e-9."""
    lengths = [1, 2, 3, 4, 10, *range(19, 1000, 70), 1000]
    found = js("""return given.lengths.map((T) => {
        const s = schedules.named({ name: given.name, T });
        const snr = Array.from({ length: T }, (_, i) => s.snr(i + 1));
        return [s.T, s.alphaBar, s.betas, snr, s.snr(0) === Infinity, schedules[given.name](T).alphaBar];
      });""", lengths=lengths, name=name)
    for T, (length, alpha_bar, betas, snr, infinite, same) in zip(lengths, found, strict=True):
        schedule = getattr(Schedule, name)(T)
        assert length == T and infinite and same == alpha_bar
        near(alpha_bar, schedule.alpha_bar, 0, 1e-12)
        near(alpha_bar, schedule.alpha_bar, 1e-10)
        near(betas, schedule.betas, 0, 1e-12)
        near(snr, schedule.snr(torch.arange(1, T + 1)), 1e-10)


def test_schedules_of_given_tables(js):
    betas = torch.rand(30, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.3 + 0.01
    schedule = Schedule.from_betas(betas)
    found = js("""const s = schedules.fromBetas(given.betas), own = new schedules.Schedule(s.alphaBar), steps = given.steps;
        return [s.alphaBar, own.snr(30), own.at(0), steps.map(([t, s]) => samplers.posteriorVariance(own, t, s))];""",
               betas=betas.tolist(), steps=[(1, 0), (30, 29), (30, 3)])
    near(found[0], schedule.alpha_bar, 1e-12)
    assert found[1:3] == [pytest.approx(float(schedule.snr(30)), rel=1e-12), 1]
    near(found[3], [float(posterior_variance(schedule, *step)) for step in [(1, 0), (30, 29), (30, 3)]], 1e-12, 1e-15)


def test_timesteps(js):
    """Every n of T = 1 .. 40 and some of longer ones: 1000 in 16, 400 or 80 steps falls on halves, to be rounded to the even time."""
    grids = [(T, n) for T in range(1, 41) for n in range(1, T + 1)]
    grids += [(T, n) for T in (250, 999, 1000, 4000) for n in (1, 4, 7, 16, 20, 50, 61, 80, 100, 160, 249, 250)] + [(1000, 400), (1000, 1000)]
    found = js("return given.grids.map(([T, n]) => schedules.timesteps(T, n));", grids=grids)
    assert [[tuple(pair) for pair in pairs] for pairs in found] == [timesteps(T, n) for T, n in grids]


def test_predictions(js):
    """Every kind and clip, to 1e-6: both languages round each product and sum of float32 alike."""
    generator = torch.Generator().manual_seed(3)
    x, value = (3 * torch.randn(6, 4, generator=generator) for _ in range(2))
    cases = [(kind, a, clip) for kind in ("x0", "eps", "v") for a in (1e-9, 0.2, 0.5, 0.9999) for clip in (None, 0.5, 1.0)]
    cases += [(kind, 0.0, 1.0) for kind in ("x0", "v")]
    found = js("""const [x, value] = [given.x, given.value].map((list) => Float32Array.from(list));
        return given.cases.map(([kind, a, clip]) => samplers.prediction(kind, value, x, a, clip));""",
               x=x.flatten().tolist(), value=value.flatten().tolist(), cases=cases)
    for (kind, a, clip), said in zip(cases, found, strict=True):
        expected = Prediction(x, torch.tensor(a, dtype=torch.float64), kind, value)
        expected = expected if clip is None else expected.clamp(clip)
        near(said["x0"], expected.x0, 1e-6)
        near(said["eps"], expected.eps, 1e-6)


class Asked:
    """The network of NETWORK as a denoiser that notes what it was asked."""

    def __init__(self, schedule: Schedule, kind: str, clip: float | None):
        self.schedule, self.asked, self.denoiser = schedule, [], NetworkDenoiser(self.net, schedule, kind, clip)

    def __call__(self, x, t, cond=None):
        self.asked.append([x.numel(), t, None if cond is None else cond.tolist()])
        return self.denoiser(x, t, cond)

    def net(self, x, index, cond):
        label = torch.full_like(index, -1) if cond is None else cond
        return x / (1 + x * x) * ((index + 1) / len(self.schedule)).float()[:, None] + ((label + 2) / 8).float()[:, None] - 0.3 * x


def compared(js, call: str, expected, *, kind="v", clip=None, schedule=None, x=None, cond=True, tolerance=2e-6, **given) -> None:
    """`call` in JavaScript and expected(denoiser, x, cond, generator) in Python take the same steps and ask the same of the network."""
    schedule = schedule or Schedule.cosine(50)
    x = torch.randn(ROWS, SIZE, generator=torch.Generator().manual_seed(5)) if x is None else x
    labels = torch.tensor([0, 1, 2, 3, -1]) if cond else None
    found = js(NETWORK % call, alphaBar=schedule.alpha_bar.tolist(), x=x.flatten().tolist(), cond=labels if labels is None else labels.tolist(),
               size=SIZE, kind=kind, clip=clip, **given)
    denoiser, generator = Asked(schedule, kind, clip), torch.Generator().manual_seed(given.get("seed", 0))
    steps = list(expected(denoiser, x, schedule, labels, generator))
    assert found["asked"] == denoiser.asked
    assert [(step["t"], step["s"]) for step in found["states"]] == [(step.t, step.s) for step in steps]
    for state, step in zip(found["states"], steps, strict=True):
        near(state["x"], step.x, tolerance, tolerance)
        near(state["x0"], step.x0, tolerance, tolerance)
    near(found["next"], torch.rand(1, generator=generator), 0)  # so many draws, no more


@pytest.mark.parametrize("schedule", [Schedule.cosine(50), Schedule.linear(1000)], ids=["cosine", "linear"])
@pytest.mark.parametrize("clip", [None, 0.8])
@pytest.mark.parametrize("kind", ["v", "eps", "x0"])
def test_ddim(js, kind, clip, schedule):
    grid = timesteps(len(schedule), 6)
    # The first step divides by sqrt(alpha_bar_T), so an eps network without clip starts from values near 2e4 (cosine).
    compared(js, "samplers.ddim(denoiser, x, schedule, given.grid, { cond })", lambda d, x, s, y, g: ddim(d, x, s, steps=grid, cond=y),
             kind=kind, clip=clip, schedule=schedule, grid=grid, tolerance=2e-5 if kind == "eps" else 2e-6)


@pytest.mark.parametrize("seed", [0, 4])
@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_ddim_with_noise(js, eta, seed):
    grid = timesteps(50, 8)
    compared(js, "samplers.ddim(denoiser, x, schedule, given.grid, { eta, generator })",
             lambda d, x, s, y, g: ddim(d, x, s, steps=grid, eta=eta, generator=g), cond=False, grid=grid, eta=eta, seed=seed, tolerance=1e-5)


@pytest.mark.parametrize("clip", [None, 0.8])
@pytest.mark.parametrize("w", [0, -1, 0.5, 8])
def test_guided(js, w, clip):
    grid = timesteps(50, 5)
    compared(js, "samplers.ddim(samplers.guided(denoiser, given.w), x, schedule, given.grid, { cond })",
             lambda d, x, s, y, g: ddim(guided(d, w), x, s, steps=grid, cond=y), clip=clip, w=w, grid=grid, tolerance=1e-5)


@pytest.mark.parametrize("low, high", [(1, 50), (20, 30), (30, 40), (31, 39), (40, 20)])
def test_interval_guided(js, low, high):
    """The times are 50, 40, .., 10: both ends of the interval belong to it."""
    grid = timesteps(50, 5)
    compared(js, "samplers.ddim(samplers.intervalGuided(denoiser, 2, given.low, given.high), x, schedule, given.grid, { cond })",
             lambda d, x, s, y, g: ddim(interval_guided(d, 2, low, high), x, s, steps=grid, cond=y), low=low, high=high, grid=grid, tolerance=1e-5)


def test_invert(js):
    grid = timesteps(35, 6)
    compared(js, "samplers.invert(denoiser, x, schedule, given.grid, { cond })",
             lambda d, x, s, y, g: invert(d, x, s, steps=grid, cond=y), grid=grid)


@pytest.mark.parametrize("eta", [0, 0.5, 1])
def test_sdedit(js, eta):
    grid = timesteps(30, 4)
    compared(js, "samplers.sdedit(denoiser, x, schedule, given.grid, { eta, cond, generator })",
             lambda d, x, s, y, g: sdedit(d, x, s, steps=grid, eta=eta, cond=y, generator=g), grid=grid, eta=eta, seed=2, tolerance=1e-5)


def test_q_sample(js):
    schedule, x0, eps, times = Schedule.cosine(50), torch.tensor([0.5, -1.0]), torch.tensor([2.0, 0.3]), [0, 1, 25, 50]
    found = js("""const x0 = Float32Array.of(.5, -1), eps = Float32Array.of(2, .3);
        return given.times.map((t) => samplers.qSample(schedules.cosine(50), x0, t, eps));""", times=times)
    for t, x in zip(times, found, strict=True):
        near(x, q_sample(schedule, x0, t, eps), 1e-6, 1e-6)


@pytest.mark.parametrize("D", [1, 2, 3])
def test_mixture(js, D):
    generator = torch.Generator().manual_seed(D)
    K, double = 4, torch.float64
    weights, variances = (torch.rand(K, dtype=double, generator=generator) + 0.1 for _ in range(2))
    means, x = torch.randn(K, D, dtype=double, generator=generator), 3 * torch.randn(40, D, dtype=double, generator=generator)
    x[0] = 50.0  # far from every part: probabilities there must not underflow to 0 / 0
    mixture, schedule, times = GaussianMixture(weights, means, variances), Schedule.cosine(20), [0, 1, 10, 20]
    found = js("""const m = new mixture.GaussianMixture(given.weights, given.means, given.variances), schedule = schedules.cosine(20);
        const generator = new random.Generator(3), x = Float64Array.from(given.x);
        return { known: given.times.map((t) => [m.logProb(schedule, x, t), m.score(schedule, x, t), m.x0(schedule, x, t)]),
                 draws: [40, 1, 2, 7].map((n) => m.sample(n, generator)) };""",
               weights=weights.tolist(), means=means.tolist(), variances=variances.tolist(), x=x.flatten().tolist(), times=times)
    for t, (log_prob, score, x0) in zip(times, found["known"], strict=True):
        near(log_prob, mixture.log_prob(schedule, x, t), 1e-10, 1e-10)
        near(score, mixture.score(schedule, x, t), 1e-10, 1e-10)
        near(x0, mixture.posterior_mean(schedule, x, t), 1e-10, 1e-10)
    generator = torch.Generator().manual_seed(3)
    for n, draw in zip([40, 1, 2, 7], found["draws"], strict=True):
        x0, part = mixture.sample(n, generator)
        assert draw["part"] == part.tolist()
        near(draw["x"], x0, 1e-12, 1e-12)


def numbers() -> list[float]:
    """Doubles of every size, halves, powers of ten with both neighbours, and those that are no numbers."""
    chance = random.Random(0)
    powers = [10.0**k for k in range(-12, 24)]
    special = [0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324, 1.7976931348623157e308, 999999.5, 9999.5, 0.00099995, 1e21, 1e22, 123456789.0]
    return [*special, *powers, *(math.nextafter(p, 0) for p in powers), *(math.nextafter(p, math.inf) for p in powers),
            *(k / 8 for k in range(-300, 300)), *(k / 2000 for k in range(500)), *(-(10 ** chance.uniform(-6, 7)) for _ in range(500)),
            *(chance.gauss(0, 10) for _ in range(1000)), *(struct.unpack("d", struct.pack("Q", chance.getrandbits(64)))[0] for _ in range(500))]


def test_formats(js):
    """To the letter: f"{x:.2f}", f"{x:g}", f"{x:.3g}", f"{n:,}"."""
    values, digits = numbers(), [0, 1, 2, 3, 4, 8, 17]
    integers = [0, 7, -12, 999, 1000, -1000, 123456, -1234567, 2**53 - 1]
    found = js("""const values = given.values.map(Number);
        return { fixed: given.digits.map((d) => values.map((x) => format.fixed(x, d))), g: values.map((x) => format.general(x)),
                 general: given.digits.map((d) => values.map((x) => format.general(x, d))), grouped: given.integers.map(format.grouped) };""",
               values=[repr(x).replace("inf", "Infinity") for x in values], digits=digits, integers=integers)
    for name, code in (("fixed", "f"), ("general", "g")):
        for d, texts in zip(digits, found[name], strict=True):
            assert texts == [f"{x:.{d}{code}}" for x in values]
    assert found["g"] == [f"{x:g}" for x in values]
    assert found["grouped"] == [f"{n:,}" for n in integers]


WRONG = {
    "new random.Generator(-1)": "seed must be an integer",
    "new random.Generator(0).randn(1.5)": "number of draws must be an integer",
    "new random.Generator(0).multinomial([0, 0], 3)": "weights must be finite",
    "new random.Generator(0).multinomial([1, 2], 0)": "draws at least 1",
    "schedules.linear(0)": "T must be an integer",
    "schedules.fromBetas([0.1, 0])": "0 < beta <= 1",
    "schedules.named({ name: 'sigmoid', T: 10 })": "linear, cosine, got sigmoid",
    "schedules.named({ name: 'toString', T: 10 })": "linear, cosine, got toString",
    "new schedules.Schedule(Float64Array.of(1, 0.5, 0.5))": "falls strictly",
    "schedules.linear(10).snr(11)": "0 .. 10, got 11",
    "schedules.timesteps(10, 11)": "1 .. 10, got 11",
    "samplers.prediction('score', one, one, 0.5)": "one of x0, eps, v",
    "samplers.prediction('v', two, one, 0.5)": "length of x, 1, got 2",
    "samplers.prediction('eps', one, one, 0)": "alphaBar = 0",
    "samplers.prediction('v', one, one, 0.5, 0)": "positive finite",
    "samplers.posteriorVariance(schedules.linear(10), 3, 3)": "earlier than t",
    "samplers.guided(none, NaN)": "finite number",
    "samplers.guided(none, 1)(one, 1, null)": "needs a condition",
    "samplers.intervalGuided(none, 1, 5, 6)(one, 1, null)": "needs a condition",
    "samplers.ddim(none, one, schedules.linear(10), [[10, 0]], { eta: 2 }).next()": "eta must lie in [0, 1]",
    "samplers.ddim(none, one, schedules.linear(10), [[10, 0]], { eta: 1 }).next()": "pass a generator",
    "samplers.ddim(none, one, schedules.linear(10), [[10, 5], [4, 0]]).next()": "each s the next t",
    "samplers.ddim(none, one, schedules.linear(10), 4).next()": "each s the next t",
    "samplers.invert(none, one, schedules.linear(10), [[10, 5]]).next()": "must end at s = 0",
    "samplers.sdedit(none, one, schedules.linear(10), [[10, 0]], { eta: 0 }).next()": "pass a generator",
    "new mixture.GaussianMixture([1], [[0, 0]], [0])": "must be positive",
    "new mixture.GaussianMixture([1, 1], [[0, 0], [1]], [1, 1])": "means of one length",
    "new mixture.GaussianMixture([1], [[0, 0]], [1]).score(schedules.linear(10), one, 1)": "rows of 2 numbers",
    "format.fixed(1, -1)": "digits must be",
    "format.grouped(1.5)": "needs an integer",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_bad_input_is_named(js, wrong):
    lines = f"const one = new Float32Array(1), two = new Float32Array(2), none = () => {{ throw Error('was asked'); }}; return await ({wrong});"
    with pytest.raises(Error) as error:
        js(lines)
    assert WRONG[wrong] in str(error.value)
