"""What every sampler promises beside its numbers: dtype, laziness, determinism by its generator alone."""

import pytest
import torch

from diffusion_core import GaussianMixture, NetworkDenoiser, Schedule, Step, clipped, ddim, ddpm, final, guided
from diffusion_core.samplers import noise_like

SCHEDULE = Schedule.cosine(50)
SAMPLERS = {
    "ddpm": lambda d, x, **o: ddpm(d, x, SCHEDULE, steps=5, **o),
    "ddpm large": lambda d, x, **o: ddpm(d, x, SCHEDULE, steps=5, variance="large", **o),
    "ddim": lambda d, x, **o: ddim(d, x, SCHEDULE, steps=5, **o),
    "ddim noisy": lambda d, x, **o: ddim(d, x, SCHEDULE, steps=5, eta=0.7, **o),
}
every_sampler = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)


def denoiser():
    gm = GaussianMixture(torch.ones(2), torch.tensor([[-1.0, 0.0], [1.0, 0.5]]), torch.tensor([0.1, 0.2]), torch.tensor([0, 1]))
    return gm.denoiser(SCHEDULE)


def start(dtype=torch.float32):
    return torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).to(dtype)


@every_sampler
def test_the_generator_alone_decides(sampler):
    def run(seed):
        return final(sampler(denoiser(), start(), generator=torch.Generator().manual_seed(seed)))

    torch.manual_seed(1)
    first = run(5)
    torch.manual_seed(2)
    assert torch.equal(first, run(5))
    noisy = sampler is not SAMPLERS["ddim"]
    assert torch.equal(first, run(6)) != noisy


@every_sampler
def test_a_generator_leaves_the_global_one_alone(sampler):
    before = torch.get_rng_state()
    final(sampler(denoiser(), start(), generator=torch.Generator().manual_seed(0)))
    assert torch.equal(before, torch.get_rng_state())


@every_sampler
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_x_keeps_its_dtype_and_stays_as_it_was(sampler, dtype):
    x = start(dtype)
    before = x.clone()
    net = NetworkDenoiser(lambda x, t, cond: 0.1 * x, SCHEDULE)
    assert all(step.x.dtype == step.x0.dtype == dtype and step.x.shape == x.shape for step in sampler(net, x))
    assert torch.equal(x, before)


@every_sampler
def test_one_evaluation_a_step_and_none_ahead(sampler):
    """A reader who stops after two steps has paid for two: cancelling is leaving the loop."""
    calls = []

    def net(x, t, cond):
        calls.append(int(t[0]) + 1)
        return 0.1 * x

    steps = sampler(NetworkDenoiser(net, SCHEDULE), start())
    assert calls == []
    first, second = next(steps), next(steps)
    assert isinstance(first, Step) and calls == [first.t, second.t] == [50, 40]
    steps.close()
    assert len(calls) == 2


@every_sampler
def test_no_gradient_is_kept(sampler):
    net = torch.nn.Linear(2, 2)
    assert not final(sampler(NetworkDenoiser(lambda x, t, cond: net(x), SCHEDULE), start())).requires_grad


@every_sampler
def test_the_condition_reaches_the_denoiser(sampler):
    ends = [final(sampler(denoiser(), start(), cond=cond, generator=torch.Generator().manual_seed(0)))
            for cond in (None, 0, 1, torch.tensor([0, 1, 0, 1]), torch.tensor([-1, -1, -1, -1]))]
    none, zero, one, mixed, null = ends
    assert torch.allclose(none, null) and not torch.allclose(zero, one, atol=0.1)
    assert torch.allclose(mixed[::2], zero[::2], atol=1e-6) and torch.allclose(mixed[1::2], one[1::2], atol=1e-6)


def test_noise_is_fresh_at_each_step(monkeypatch):
    drawn = []

    def draw(x, generator):
        drawn.append(noise_like(x, generator))
        return drawn[-1]

    monkeypatch.setattr("diffusion_core.samplers.noise_like", draw)
    final(ddpm(denoiser(), start(), SCHEDULE, steps=5, generator=torch.Generator().manual_seed(0)))
    assert len(drawn) == 4 and not any(torch.equal(a, b) for a, b in zip(drawn, drawn[1:], strict=False))
    final(ddim(denoiser(), start(), SCHEDULE, steps=5))
    assert len(drawn) == 4  # eta = 0 draws nothing


def test_step_x0_is_what_the_denoiser_said():
    bound = clipped(denoiser(), 0.2)
    for sampler in SAMPLERS.values():
        assert all(step.x0.abs().max() <= 0.2 for step in sampler(bound, start()))


def test_clipped_around_guidance_limits_what_guidance_pushed_outside():
    pushed = guided(denoiser(), 20.0)
    cond = torch.zeros(4, dtype=torch.long)
    assert pushed(start(), 25, cond).x0.abs().max() > 1
    inside = clipped(pushed, 1.0)(start(), 25, cond)
    assert torch.equal(inside.x0, pushed(start(), 25, cond).x0.clamp(-1, 1))


def test_explicit_pairs_need_not_reach_the_ends():
    steps = list(ddim(denoiser(), start(), SCHEDULE, steps=[(40, 30), (30, 7)]))
    assert [(step.t, step.s) for step in steps] == [(40, 30), (30, 7)]
