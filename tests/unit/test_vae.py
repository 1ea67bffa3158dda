"""The small autoencoder: its bound against quadrature, its shapes, its recipe and its shipped weights."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from diffusion_core import NetworkDenoiser, Schedule, data, train, zoo
from diffusion_core.vae import VAE, VAEConfig, negative_elbo

SMALL = VAEConfig(latent=1, channels=2, size=4)
RECIPE = """
kind = "vae"
name = "coder"
[network]
latent = 3
channels = 4
size = 28
[training]
steps = 4
batch = 4
warmup = 1
drop = 0.0
"""


def network(config=SMALL, seed=0):
    torch.manual_seed(seed)
    return VAE(config).double().requires_grad_(False)


def pictures(n, size, seed=0):
    return torch.rand(n, 1, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_the_two_terms_are_those_of_the_densities():
    net, x, noise = network(), pictures(3, 4), torch.tensor([[-0.7], [0.2], [1.5]], dtype=torch.float64)
    nll, kl = net(x, noise)
    mean, logvar = net.encode(x)
    q = Normal(mean, (logvar / 2).exp())
    expected = -Normal(net.decode(mean + q.stddev * noise), net.log_sigma.exp()).log_prob(x).sum((1, 2, 3))
    torch.testing.assert_close(nll, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(kl, kl_divergence(q, Normal(torch.zeros(3, 1).double(), 1.0)).sum(1), rtol=0, atol=1e-12)


def test_the_bound_lies_below_the_likelihood_by_the_kl_to_the_posterior():
    """One latent, so p(x) and the mean of the bound over the noise are integrals over a line."""
    net, x = network(), pictures(1, 4, seed=1)
    grid = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    step, standard = float(grid[1] - grid[0]), Normal(torch.zeros((), dtype=torch.float64), 1.0)
    joint = Normal(net.decode(grid[:, None]), net.log_sigma.exp()).log_prob(x).sum((1, 2, 3)) + standard.log_prob(grid)
    log_p = float(torch.logsumexp(joint, 0)) + math.log(step)
    nll, kl = net(x.expand(len(grid), -1, -1, -1), grid[:, None])
    elbo = -float((standard.log_prob(grid).exp() * nll).sum() * step + kl[0])
    mean, logvar = net.encode(x)
    q = Normal(mean[0], (logvar[0] / 2).exp()).log_prob(grid)
    gap = float((q.exp() * (q - (joint - log_p))).sum() * step)
    assert log_p - elbo == pytest.approx(gap, abs=1e-6) and gap > 1e-4


def test_the_objective_is_the_mean_of_both_terms_a_pixel():
    net, x = network(), pictures(2, 4)
    torch.manual_seed(5)
    value = negative_elbo(NetworkDenoiser(net, Schedule.linear(1)), x, None, None, None)
    noise = torch.randn(2, 1, generator=torch.Generator().manual_seed(5))
    assert float(value) == pytest.approx(float(sum(net(x, noise)).mean()) / 16, abs=1e-6)


def test_samples_are_decoded_draws_of_the_prior():
    net = network(VAEConfig(latent=3, channels=2, size=8)).float()
    one, two = (net.sample(5, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    z = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(one, net.decode(z)) and not torch.equal(one, two) and one.shape == (5, 1, 8, 8) and one.abs().max() <= 1


@pytest.mark.parametrize("settings, named", [({"latent": 0}, "latent"), ({"channels": 0}, "channels"), ({"size": 30}, "multiple of 4, got 30")])
def test_bad_settings_are_named(settings, named):
    with pytest.raises(ValueError, match=named):
        VAEConfig(**settings)


def test_bad_shapes_are_named():
    with pytest.raises(ValueError, match=r"x must be \(N, 1, 4, 4\), got \(2, 1, 8, 8\)"):
        network().encode(pictures(2, 8))
    with pytest.raises(ValueError, match=r"z must be \(N, 1\), got \(2, 3\)"):
        network().decode(torch.zeros(2, 3))


def test_a_recipe_ends_as_weights_that_load(tmp_path, monkeypatch):
    bundled = data.fashion_mnist
    monkeypatch.setattr(data, "fashion_mnist", lambda split, source="full": tuple(a[:60] for a in bundled(split)))
    file = tmp_path / "recipe.toml"
    file.write_text(RECIPE)
    train.run_recipe(file, weights=tmp_path, checkpoints=tmp_path / "runs")
    net, card = zoo.load_vae("coder", tmp_path), zoo.read("coder", tmp_path)[0]
    shadow = torch.load(tmp_path / "runs" / "coder.pt", weights_only=True)["ema"]
    assert net.config == VAEConfig(3, 4, 28) and not net.training and card["steps"] == 4 and card["figures"]["test_kl"] >= 0
    assert all(torch.equal(value, shadow[key]) for key, value in net.state_dict().items())
    with pytest.raises(ValueError, match="'coder' is a vae, not a diffusion network"):
        zoo.load("coder", tmp_path)
    with pytest.raises(ValueError, match="'fashion_weak' is a diffusion, not a vae"):
        zoo.load_vae("fashion_weak")


def test_the_shipped_one_reconstructs_unseen_pictures_and_uses_its_latent():
    net, x = zoo.load_vae(), data.to_pictures(data.fashion_mnist("test")[0][:200])
    mean, logvar = net.encode(x)
    error = float(((net.decode(mean) - x) ** 2).mean())
    assert error == pytest.approx(zoo.read("fashion_vae")[0]["figures"]["test_squared_error"], rel=0.15)
    assert error < 0.15 * float(((x.mean(0) - x) ** 2).mean())
    assert bool((mean.std(0) > 0.5).all())  # no latent has collapsed to the prior
