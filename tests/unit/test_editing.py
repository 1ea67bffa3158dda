"""Editing: what each function does step by step, with toy denoisers, and the arguments it refuses."""

import math

import pytest
import torch

from diffusion_core import GaussianMixture, Prediction, Schedule, ddim, final, heun, q_sample, timesteps
from diffusion_core.denoisers import FunctionDenoiser
from diffusion_core.editing import inpainted, invert, sdedit, slerp

S = Schedule.cosine(1000)
X = torch.randn(4, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def recording(asked):
    """A denoiser with a smooth x0 that notes at which t and with which condition it was asked."""

    def predict(x, t, cond):
        asked.append((t, cond))
        return Prediction(x, S.at(t), "x0", 0.4 * x.tanh())

    return FunctionDenoiser(S, predict)


def test_inversion_asks_at_the_start_of_each_step():
    """From clean data, asked as x_1, up to T, each answer taken at the state and time where the step starts."""
    asked, cond = [], torch.tensor([3, 1, 2, 0])
    denoiser = recording(asked)
    steps = list(invert(denoiser, X, S, steps=4, cond=cond))
    assert [t for t, _ in asked] == [1, 250, 500, 750] and all(c is cond for _, c in asked)
    assert [(step.t, step.s) for step in steps] == [(0, 250), (250, 500), (500, 750), (750, 1000)]
    x = X
    for step in steps:
        prediction = denoiser(x, max(step.t, 1))
        x = S.at(step.s).sqrt() * prediction.x0 + (1 - S.at(step.s)).sqrt() * prediction.eps
        assert torch.allclose(step.x, x, rtol=0, atol=1e-12) and torch.equal(step.x0, prediction.x0)


def test_inversion_keeps_dtype_and_takes_explicit_pairs_and_spacing():
    up = final(invert(recording([]), X.float(), S, steps=[(600, 200), (200, 0)]))
    assert up.dtype == torch.float32
    asked = []
    final(invert(recording(asked), X, S, steps=4, spacing="leading"))
    assert [t for t, _ in asked] == [1, 1, 251, 501]


def test_inversion_must_start_from_clean_data():
    with pytest.raises(ValueError, match=r"must end at s = 0, got \(600, 200\)"):
        final(invert(recording([]), X, S, steps=[(900, 600), (600, 200)]))
    with pytest.raises(ValueError, match="each s the next t"):
        final(invert(recording([]), X, S, steps=[(900, 600), (500, 0)]))


def test_slerp_in_the_plane_is_the_angle():
    a, b = (torch.tensor([[math.cos(angle), math.sin(angle)]], dtype=torch.float64) for angle in (0.0, 2.0))
    for u in (0.0, 0.2, 0.5, 1.0):
        expected = torch.tensor([[math.cos(2 * u), math.sin(2 * u)]], dtype=torch.float64)
        assert torch.allclose(slerp(a, b, u), expected, rtol=0, atol=1e-12)


def test_slerp_treats_rows_apart_and_takes_a_place_for_each():
    a, b = torch.randn(2, 3, 1, 4, 4, dtype=torch.float64, generator=seeded(1))
    u = torch.tensor([0.0, 0.3, 1.0])
    together = slerp(a, b, u)
    assert torch.allclose(together, torch.cat([slerp(a[k : k + 1], b[k : k + 1], float(u[k])) for k in range(3)]), rtol=0, atol=1e-7)
    assert torch.allclose(together[0], a[0]) and torch.allclose(together[2], b[2])
    assert slerp(a.float(), b.float(), 0.5).dtype == torch.float32


def test_slerp_of_nearly_equal_directions_is_the_straight_line():
    a = torch.randn(1, 9, dtype=torch.float64, generator=seeded(2))
    assert torch.allclose(slerp(a, 2 * a, 0.25), 1.25 * a, rtol=0, atol=1e-12)
    near = a + 1e-4 * torch.randn(1, 9, dtype=torch.float64, generator=seeded(3))
    assert torch.allclose(slerp(a, near, 0.25), torch.lerp(a, near, 0.25), rtol=0, atol=1e-7)


@pytest.mark.parametrize(("a", "b", "u", "message"), [
    (torch.ones(2, 3), torch.ones(2, 4), 0.5, "one shape"), (torch.ones(3), torch.ones(3), 0.5, "one shape"),
    (torch.ones(2, 3), torch.zeros(2, 3), 0.5, "no direction"), (torch.ones(2, 3), -torch.ones(2, 3), 0.5, "no shortest way"),
    (torch.ones(2, 3), torch.ones(2, 3), torch.ones(3), r"shape \(2,\)")])
def test_slerp_refuses(a, b, u, message):
    with pytest.raises(ValueError, match=message):
        slerp(a, b, u)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_sdedit_is_ddim_from_the_noised_guide(eta):
    grid, asked, cond = timesteps(600, 5), [], torch.tensor([0, 1, 2, 3])
    steps = list(sdedit(recording(asked), X, S, steps=grid, eta=eta, cond=cond, generator=seeded(4)))
    assert [t for t, _ in asked] == [t for t, _ in grid] and all(c is cond for _, c in asked)
    generator = seeded(4)
    x = q_sample(S, X, 600, torch.randn(X.shape, dtype=X.dtype, generator=generator))
    expected = final(ddim(recording([]), x, S, steps=grid, eta=eta, generator=generator))
    assert [(step.t, step.s) for step in steps] == grid and torch.equal(steps[-1].x, expected)


def test_sdedit_is_stochastic_unless_told_otherwise():
    default, one = (final(sdedit(recording([]), X, S, steps=timesteps(600, 5), generator=seeded(5), **eta)) for eta in ({}, {"eta": 1.0}))
    assert torch.equal(default, one)


def test_sdedit_wants_to_know_the_strength():
    with pytest.raises(ValueError, match=r"timesteps\(t0, 20\)"):
        sdedit(recording([]), X, S, steps=20)
    with pytest.raises(ValueError, match="each s the next t"):
        sdedit(recording([]), X, S, steps=[(600, 300), (200, 0)])


def test_inpainting_keeps_what_is_kept_and_hands_on_the_condition():
    asked, mask = [], torch.zeros(1, 1, 4, 4)
    mask[..., :2, :] = 1
    picture, cond = 0.3 * torch.ones(1, 1, 4, 4), torch.tensor([0, 1, 2, 3])
    for sampler in (lambda d: ddim(d, X, S, steps=6, eta=1.0, cond=cond, generator=seeded(6)), lambda d: heun(d, X, S, steps=6, cond=cond)):
        out = final(sampler(inpainted(recording(asked), picture, mask)))
        assert torch.allclose(out[..., 2:, :], torch.full((), 0.3).double(), rtol=0, atol=1e-6)
        assert float((out[..., :2, :] - 0.3).abs().min()) > 1e-4
    assert all(c is cond for _, c in asked)


def test_inpainting_derives_eps_again():
    prediction = inpainted(recording([]), torch.zeros(1, 1, 4, 4), torch.tensor(0.5))(X, 300)
    a = S.at(300)
    assert torch.allclose(prediction.x0, 0.2 * X.tanh(), rtol=0, atol=1e-12)
    assert torch.allclose(a.sqrt() * prediction.x0 + (1 - a).sqrt() * prediction.eps, X, rtol=0, atol=1e-12)


def test_a_mask_of_ones_changes_nothing():
    gm = GaussianMixture(torch.ones(1), torch.zeros(1, 2).double(), torch.ones(1)).denoiser(S)
    x = X.flatten(1)[:, :2]
    kept = final(ddim(inpainted(gm, torch.zeros(1, 2), torch.ones(1, 2)), x, S, steps=5))
    assert torch.equal(kept, final(ddim(gm, x, S, steps=5)))


def test_inpainting_refuses():
    for value in (1.5, -0.5):
        with pytest.raises(ValueError, match=r"mask must lie in 0 \.\. 1"):
            inpainted(recording([]), X, torch.tensor([0.0, value]))
    with pytest.raises(ValueError, match="must broadcast to"):
        inpainted(recording([]), torch.zeros(2, 4, 1, 4, 4), torch.ones(1))(X, 300)
