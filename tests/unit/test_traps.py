"""The bug zoo: mistakes that shipped in public diffusion code, each with a test that fails if our core makes it.

| mistake | where it was seen | test |
|---|---|---|
| noise at the last reverse step | UDL notebooks 18_2-18_4, labml ddpm, acids-ircam | test_no_noise_at_the_last_step |
| uniform noise, or noise scaled by beta | acids-ircam | test_noise_is_gaussian_with_the_right_scale |
| previous DDIM time from t - T/n, not from the grid | diffusers #9261, #11347, #12633 | test_each_step_ends_where_the_next_begins |
| leading spacing never visits t = T | diffusers #2585, #7401 | test_samplers_start_at_the_noisiest_time |
| steps_offset crashes at T steps | diffusers #465, #10003 | test_offset_that_leaves_the_grid_is_refused |
| nonzero final sigma leaves noise | diffusers #6068, #5689 | test_no_noise_at_the_last_step, test_samples_end_clean |
| zero terminal SNR: eps undefined | diffusers #3475, k-diffusion #64 | test_zero_terminal_snr_refuses_eps |
| weight w against scale 1 + w | diffusers #5882, dome272 #22, lucidrains #207 | test_w_is_not_the_scale |
| guidance on three of four channels | DiT #41 | test_guidance_reaches_every_channel |
| eps not derived again after clipping x0 | improved-diffusion #110 | test_eps_follows_a_clipped_x0 |
| betas[t] used while steps are skipped | diffusers #5130 | test_variance_is_that_of_the_step_taken |
| linear betas not scaled for another T | diffusers PR #12341 | test_linear_schedule_has_the_same_noise_at_every_T |
| min-SNR weight of v | diffusers #5654, #9451 | test_min_snr_weighs_the_same_error_of_x0 |
| cosine schedule off by one, its cap | lucidrains #19, guided-diffusion #42 | test_cosine_schedule_is_its_formula |
| EMA averages buffers | lucidrains #136 | test_ema_copies_buffers |
| legacy against new order of qkv rows | diffusers PR #6730 | test_attention_rows_are_queries_then_keys_then_values |
| a check against the undiffused mixture | Neuromatch W2D4 T2 | test_the_score_is_of_the_diffused_mixture |
| a table without the clean entry | own review | test_clean_data_has_an_entry_and_no_time_wraps_around |
| round(arange(T, 0, -T/n)) gives a step too many | own review | test_trailing_has_n_steps_for_every_n |
| guidance in eps, in float32, near t = T | own review | test_guidance_keeps_float32_accurate_at_the_noisiest_step |
| a network that counts t from 0, called with t | (the shift of every published network) | test_networks_are_called_with_t_minus_1 |

Not here: interpolation in the wrong space (no editing module yet), stubs that swallow exceptions (tests of the explorers), what the
text of a paper says about its table (chapters).
"""

import math
from fractions import Fraction

import pytest
import torch
from torch import nn

from diffusion_core import (
    GaussianMixture,
    NetworkDenoiser,
    Prediction,
    Schedule,
    UNetConfig,
    cosine_betas,
    ddim,
    ddpm,
    final,
    guided,
    linear_betas,
    samplers,
    timesteps,
    zero_terminal_snr,
)
from diffusion_core.denoisers import FunctionDenoiser
from diffusion_core.training import EMA, loss, loss_weight
from diffusion_core.unet import Attention

T = 1000
SCHEDULE = Schedule.linear(T)
EVERY_SAMPLER = [(ddpm, {"variance": "small"}), (ddpm, {"variance": "large"}), (ddim, {"eta": 0.0}), (ddim, {"eta": 1.0})]
IDS = ["ddpm small", "ddpm large", "ddim 0", "ddim 1"]


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def constant(schedule, value=0.3):
    """A denoiser that is sure of one x0."""
    return FunctionDenoiser(schedule, lambda x_t, t, cond: Prediction(x_t, schedule.at(t), "x0", torch.full_like(x_t, value)))


@pytest.mark.parametrize(("sampler", "options"), EVERY_SAMPLER, ids=IDS)
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_no_noise_at_the_last_step(sampler, options, spacing):
    last = list(sampler(constant(SCHEDULE), normal(50, 2), SCHEDULE, steps=timesteps(T, 4, spacing), **options))[-1]
    assert last.s == 0
    assert torch.allclose(last.x, torch.full_like(last.x, 0.3), rtol=0, atol=1e-12)  # noise would show, of any scale


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("n", [1, 3, 61, 1000])
def test_samples_end_clean(n, spacing):
    assert timesteps(T, n, spacing)[-1][1] == 0 and SCHEDULE.alpha_bar[0] == 1
    assert Schedule.cosine(T).alpha_bar[0] == 1 and zero_terminal_snr(SCHEDULE).alpha_bar[0] == 1


@pytest.mark.parametrize("variance", ["small", "large"])
def test_noise_is_gaussian_with_the_right_scale(variance):
    """Standard deviation sqrt(beta) or sqrt(beta-tilde), and 4.55 % beyond two of them (uniform noise has none there)."""
    t, s = 600, 599
    a, b = SCHEDULE.alpha_bar[t], SCHEDULE.alpha_bar[s]
    scale = torch.sqrt((1 - a / b) * ((1 - b) / (1 - a) if variance == "small" else 1))
    x = final(ddpm(constant(SCHEDULE), torch.zeros(100_000, 1), SCHEDULE, steps=[(t, s)], variance=variance,
                   generator=torch.Generator().manual_seed(0)))
    noise = (x - x.mean()) / scale
    assert noise.std().item() == pytest.approx(1, abs=0.01)
    assert (noise.abs() > 2).double().mean().item() == pytest.approx(0.0455, abs=0.003)


@pytest.mark.parametrize("n", [7, 61, 300, 333])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_each_step_ends_where_the_next_begins(n, spacing):
    """On grids whose steps are unequal: t - T // n would miss the next time, and x would have another time's noise."""
    eps = normal(2, 3)
    x = SCHEDULE.alpha_bar[timesteps(T, n, spacing)[0][0]]
    x = x.sqrt() * 0.3 + (1 - x).sqrt() * eps
    steps = list(ddim(constant(SCHEDULE), x, SCHEDULE, steps=n, spacing=spacing))
    assert [step.s for step in steps] == [step.t for step in steps[1:]] + [0]
    for step in steps:  # with x0 known, DDIM keeps eps: x is exactly the noised picture of the time it says it is at
        a = SCHEDULE.alpha_bar[step.s]
        assert torch.allclose(step.x, a.sqrt() * 0.3 + (1 - a).sqrt() * eps, rtol=0, atol=1e-10)


def test_samplers_start_at_the_noisiest_time():
    for n in (1, 4, 7, 61, 1000):
        assert timesteps(T, n)[0][0] == T
        assert next(iter(ddim(constant(SCHEDULE), normal(1, 1), SCHEDULE, steps=n))).t == T
        assert next(iter(ddpm(constant(SCHEDULE), normal(1, 1), SCHEDULE, steps=n))).t == T
    assert timesteps(T, 4, "leading")[0][0] == 751  # so x_T is pure noise where the network is told 25 % of the way is done


def test_offset_that_leaves_the_grid_is_refused():
    assert timesteps(T, T, "leading")[0] == (T, T - 1)
    with pytest.raises(ValueError, match="1000 leading steps with offset 1 leave 1 .. 1000"):
        timesteps(T, T, "leading", offset=1)


def test_zero_terminal_snr_refuses_eps():
    schedule = zero_terminal_snr(SCHEDULE)
    x = normal(2, 3)
    with pytest.raises(ValueError, match="eps leaves x0 undefined where alpha_bar = 0"):
        final(ddim(NetworkDenoiser(lambda x, t, cond: x, schedule, "eps"), x, schedule, steps=5))
    for predicts in ("v", "x0"):
        for sampler, options in EVERY_SAMPLER:
            denoiser = NetworkDenoiser(lambda x, t, cond: 0.1 * x, schedule, predicts)
            assert final(sampler(denoiser, x, schedule, steps=5, **options)).isfinite().all()
    at_T = NetworkDenoiser(lambda x, t, cond: 0.1 * x, schedule, "v")(x, T)
    assert torch.allclose(at_T.x0, -0.1 * x) and torch.allclose(at_T.eps, x)


def with_label(schedule, channels=1):
    """A denoiser whose eps is cond + 1 in every channel, 0 without a condition."""

    def predict(x_t, t, cond):
        value = torch.zeros_like(x_t) + (0 if cond is None else (cond + 1).reshape(-1, *[1] * (x_t.dim() - 1)))
        return Prediction(x_t, schedule.at(t), "eps", value)

    return FunctionDenoiser(schedule, predict)


def test_w_is_not_the_scale():
    """eps is 3 with the label and 0 without: w = 1 gives 2 * 3, w = 0 gives 3, w = -1 gives 0 (a scale s = w would give 3, 0, -3)."""
    y = torch.tensor([2, 2])
    readings = [guided(with_label(SCHEDULE), w)(normal(2, 3), 500, y).eps.mean().item() for w in (1, 0, -1, 2.5)]
    assert readings == pytest.approx([6, 3, 0, 10.5], abs=1e-10)


def test_guidance_reaches_every_channel():
    eps = guided(with_label(SCHEDULE), 1.0)(normal(2, 4, 5, 5), 500, torch.tensor([0, 1])).eps
    assert torch.allclose(eps, torch.tensor([2.0, 4.0], dtype=torch.float64).reshape(2, 1, 1, 1).expand(2, 4, 5, 5), atol=1e-10)


def test_eps_follows_a_clipped_x0():
    x = 4 * normal(2, 3)
    prediction = NetworkDenoiser(lambda x, t, cond: x / 16, SCHEDULE, "eps", clip=1.0)(x, 501)
    a = SCHEDULE.alpha_bar[501]
    assert prediction.x0.abs().max() == 1
    assert torch.allclose(a.sqrt() * prediction.x0 + (1 - a).sqrt() * prediction.eps, x, atol=1e-12)


@pytest.mark.parametrize(("sampler", "options"), [EVERY_SAMPLER[k] for k in (0, 1, 3)], ids=[IDS[k] for k in (0, 1, 3)])
def test_variance_is_that_of_the_step_taken(monkeypatch, sampler, options):
    """From t = 900 to s = 500 the noise is that of 400 steps at once, some 17 times the variance of one."""
    a, b = SCHEDULE.alpha_bar[900], SCHEDULE.alpha_bar[500]
    expected = (1 - a / b) * (1 if options == {"variance": "large"} else (1 - b) / (1 - a))
    ends = []
    for noise in (0.0, 1.0):
        monkeypatch.setattr(samplers, "noise_like", lambda x, generator, noise=noise: torch.full_like(x, noise))
        ends.append(final(sampler(constant(SCHEDULE), normal(1, 1), SCHEDULE, steps=[(900, 500)], **options)))
    assert ((ends[1] - ends[0]) ** 2).item() == pytest.approx(expected.item(), rel=1e-10)
    assert expected > 10 * SCHEDULE.betas[900]


@pytest.mark.parametrize("short", [25, 100, 400, 4000])
def test_linear_schedule_has_the_same_noise_at_every_T(short):
    """log alpha_bar_T of T steps near that of 1,000 (-10.1): the unscaled betas of 100 steps would leave 36 % of the signal's power."""
    end = Schedule.linear(short).alpha_bar[-1].log().item()
    assert end == pytest.approx(SCHEDULE.alpha_bar[-1].log().item(), rel=0.6 if short < 100 else 0.1)
    assert linear_betas(T)[[0, -1]].tolist() == pytest.approx([1e-4, 0.02], rel=1e-12)
    assert linear_betas(100, 1e-4, 0.02)[[0, -1]].tolist() == pytest.approx([1e-4, 0.02], rel=1e-12)  # explicit ends are kept


@pytest.mark.parametrize("gamma", [0.5, 5.0])
def test_min_snr_weighs_the_same_error_of_x0(gamma):
    """One wrong network, said as x0, eps or v, has one loss: min(SNR, gamma) times the squared error of x0."""
    schedule, x0, eps = Schedule.cosine(T), normal(6, 1, 2, 2), normal(6, 1, 2, 2, seed=1)
    t = torch.tensor([1, 100, 400, 600, 900, 999])
    a = schedule.alpha_bar[t].reshape(-1, 1, 1, 1)
    x_t = a.sqrt() * x0 + (1 - a).sqrt() * eps
    wrong = Prediction(x_t, schedule.at(t), "x0", x0 + 0.1 * normal(6, 1, 2, 2, seed=2))
    expected = ((a / (1 - a)).clamp(max=gamma) * (wrong.x0 - x0) ** 2).mean().item()
    for predicts in ("x0", "eps", "v"):
        denoiser = NetworkDenoiser(lambda x, t, cond, p=predicts: getattr(wrong, p), schedule, predicts)
        assert loss(denoiser, x0, t, eps, gamma=gamma).item() == pytest.approx(expected, rel=1e-9)
    snr = schedule.snr(t)
    assert torch.allclose(loss_weight(schedule, t, "v", gamma), snr.clamp(max=gamma) / (snr + 1), rtol=1e-12)


@pytest.mark.parametrize("length", [1, 10, 1000])
def test_cosine_schedule_is_its_formula(length):
    """alpha_bar_t = f(t) / f(0) at the paper's t, before the cap; the cap holds the last beta alone."""

    def f(t):
        return math.cos((t / length + 0.008) / 1.008 * math.pi / 2) ** 2

    table, betas = Schedule.cosine(length).alpha_bar, cosine_betas(length)
    assert len(table) == length + 1 and len(betas) == length
    for t in range(length):
        assert table[t].item() == pytest.approx(f(t) / f(0), rel=1e-9)
    assert betas[-1] == 0.999 and bool((betas[:-1] < 0.999).all())
    assert table[length].item() == pytest.approx(0.001 * table[length - 1].item(), rel=1e-9)


def test_ema_copies_buffers():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    net[1].register_buffer("table", torch.arange(3.0))
    ema = EMA(net, 0.9)
    net(torch.randn(8, 2, generator=torch.Generator().manual_seed(0)))  # moves the running statistics
    net[1].table += 10
    ema.update(net)
    assert torch.equal(ema.shadow[1].table, torch.tensor([10.0, 11.0, 12.0]))
    assert torch.equal(ema.shadow[1].running_mean, net[1].running_mean)
    assert ema.shadow[1].num_batches_tracked == 1


def test_attention_rows_are_queries_then_keys_then_values():
    """Against attention written out head by head. The older layout takes each head's rows as its own q, k, v: with 2 heads it differs."""
    torch.manual_seed(0)
    C, heads = 8, 2
    layer = Attention(C, UNetConfig(channels=C, head_channels=C // heads, groups=4))
    for p in layer.parameters():
        nn.init.normal_(p)
    x = torch.randn(3, C, 2, 3)
    q, k, v = layer.qkv(layer.norm(x)).flatten(2).split(C, dim=1)
    mixed = []
    for rows in range(0, C, C // heads):
        head = slice(rows, rows + C // heads)
        weights = torch.einsum("nci,ncj->nij", q[:, head], k[:, head]) / math.sqrt(C // heads)
        mixed.append(torch.einsum("nij,ncj->nci", weights.softmax(-1), v[:, head]))
    assert torch.allclose(layer(x), x + layer.out(torch.cat(mixed, 1).reshape(x.shape)), atol=1e-4)


def test_the_score_is_of_the_diffused_mixture():
    """At t = T of two far modes almost nothing is left of them: the score is that of N(0, 1), which that of the data is not."""
    gm = GaussianMixture(torch.ones(2), torch.tensor([[-2.0], [2.0]], dtype=torch.float64), torch.tensor([0.01, 0.01]))
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    assert torch.allclose(gm.score(SCHEDULE, x, T), -x, atol=1e-3)
    assert (gm.score(SCHEDULE, x, 0) + x).abs().max() > 50


def test_clean_data_has_an_entry_and_no_time_wraps_around():
    assert len(SCHEDULE) == T and SCHEDULE.alpha_bar.shape == SCHEDULE.betas.shape == (T + 1,)
    assert SCHEDULE.alpha_bar[0] == 1 and SCHEDULE.betas[0] == 0
    assert SCHEDULE.alpha_bar[1].item() == pytest.approx(1 - 1e-4, rel=1e-12)  # beta_1, and not beta_2
    assert SCHEDULE.betas[1:].tolist() == pytest.approx(linear_betas(T).tolist(), rel=1e-9)
    assert SCHEDULE.snr(0) == math.inf
    for t in (-1, T + 1, torch.tensor([5, -1])):
        with pytest.raises(ValueError, match=r"t must lie in 0 .. 1000"):
            SCHEDULE.at(t)


def test_trailing_has_n_steps_for_every_n():
    naive = [n for n in range(1, T + 1) if len(torch.arange(T, 0, -T / n, dtype=torch.float64)) != n]
    assert len(naive) == 62 and naive[0] == 61  # so this grid does have the trap
    for n in range(1, T + 1):
        times = [t for t, _ in timesteps(T, n)]
        assert len(times) == n and times[0] == T
        assert all(abs(t - Fraction(k * T, n)) <= Fraction(1, 2) for t, k in zip(times, range(n, 0, -1), strict=True))


def test_guidance_keeps_float32_accurate_at_the_noisiest_step():
    """Cosine, t = T, w = 7: combining eps would multiply float32's rounding by 1/sqrt(alpha_bar) = 20,000."""
    schedule, w = Schedule.cosine(T), 7.0
    shift = normal(2, 4, seed=1)

    def net(x, t, cond):
        return torch.tanh(0.3 * x + shift.to(x)[(cond >= 0).long()])

    x, y = normal(5, 4, seed=2), torch.zeros(5, dtype=torch.long)
    exact, rough = (guided(NetworkDenoiser(net, schedule, "v"), w)(z, T, y) for z in (x, x.float()))
    assert (rough.x0.double() - exact.x0).abs().max() < 2e-5

    parts = [NetworkDenoiser(net, schedule, "v")(x.float(), T, cond).eps for cond in (y, torch.full_like(y, -1))]
    in_eps = Prediction(x.float(), schedule.at(T), "eps", (1 + w) * parts[0] - w * parts[1])
    assert (in_eps.x0.double() - exact.x0).abs().max() > 1e-3  # the mistake does show here


@pytest.mark.parametrize("t", [1, 17, T, torch.tensor([1, T])])
def test_networks_are_called_with_t_minus_1(t):
    seen = []

    def net(x, index, cond):
        seen.append(index)
        return x

    NetworkDenoiser(net, SCHEDULE, "v")(normal(2, 3), t)
    assert torch.equal(seen[0], torch.as_tensor(t).expand(2) - 1) and seen[0].dtype == torch.long
