"""Pixel models: what may depend on what, probabilities that sum to one, bounds on the right side, and patches drawn by diffusion."""

import itertools
import math

import pytest
import torch

from diffusion_core import NetworkDenoiser, Schedule, zoo
from diffusion_core.data import fashion_mnist, to_pictures
from diffusion_core.patches import PatchConfig, PatchNet, even_snr, measured_bound, patch_bound, patch_loss, sample_patches
from diffusion_core.pixels import (PixelConfig, PixelNet, any_order_bound, hide, log_prob, log_probs, measured_bits, pixel_loss, quantise, random_masks,
                                   sample, stages, to_grey)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def scrambled(net, seed=0):
    """The network in float64 with all weights random, those that start at 0 too."""
    net, generator = net.double(), seeded(seed)
    for parameter in net.parameters():
        parameter.data = 0.25 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return net.eval().requires_grad_(False)


def tiny(order, size=2, levels=2, **more):
    return scrambled(PixelNet(PixelConfig(order=order, size=size, levels=levels, channels=6, blocks=2, **more)))


def all_pictures(size, levels):
    return torch.tensor(list(itertools.product(range(levels), repeat=size**2))).reshape(-1, size, size)


# Levels

def test_levels_are_equal_parts_of_the_sum_of_four_bytes():
    squares = torch.tensor([[0, 0, 0, 0], [255, 255, 255, 255], [127, 127, 127, 127], [128, 128, 128, 127], [0, 0, 0, 255], [32, 32, 32, 31],
                            [32, 32, 32, 32]], dtype=torch.uint8)
    pictures = to_pictures(squares.reshape(-1, 2, 2).numpy())
    assert quantise(pictures).flatten().tolist() == [0, 7, 3, 4, 1, 0, 1]  # 1021 sums in 8 parts: 0 .. 127, 128 .. 255, ..
    counts = torch.bincount(torch.arange(1021) * 8 // 1021)
    assert set(counts.tolist()) == {127, 128} and len(counts) == 8
    assert quantise(pictures, levels=2).flatten().tolist() == [0, 1, 0, 1, 0, 0, 0]
    assert quantise(to_pictures(fashion_mnist("test")[0][:3])).shape == (3, 14, 14)


def test_greys_are_the_middles_of_the_decoders_bins():
    x = torch.arange(8).reshape(1, 2, 4)
    grey = to_grey(x)
    assert grey.shape == (1, 1, 2, 4) and grey.min() == -1 and grey.max() == 1 and torch.allclose(grey.flatten().diff(), torch.tensor(2 / 7))
    assert torch.equal(((grey[:, 0] + 1) / 2 * 7).round().long(), x)


# Orders

@pytest.mark.parametrize("size", [2, 3, 5, 14])
@pytest.mark.parametrize("name", ["raster", "any", "coarse"])
def test_every_pixel_has_one_stage_and_no_stage_is_empty(name, size):
    stage = stages(name, size, seeded())
    assert stage.shape == (size, size) and set(stage.flatten().tolist()) == set(range(int(stage.max()) + 1))


def test_coarse_to_fine_takes_22_stages_and_refines_among_known_neighbours():
    stage = stages("coarse", 14)
    assert torch.bincount(stage.flatten()).tolist() == [1] * 16 + [9, 12, 12, 49, 49, 49]
    assert sorted(stage[1::4, 1::4].flatten().tolist()) == list(range(16)) and int(stage[1::2, 1::2].max()) == 18
    around = torch.stack([stage[1 + i:13 + i, 1 + j:13 + j] for i, j in itertools.product((-1, 0, 1), repeat=2) if (i, j) != (0, 0)])
    known = (around < stage[1:-1, 1:-1]).sum(0)
    assert [set(known[stage[1:-1, 1:-1] == s].tolist()) for s in (19, 20, 21)] == [{4}, {4}, {8}]


# What may depend on what

def test_a_causal_trunk_sees_pixels_before_its_own_and_no_other():
    """By gradient: of the output at pixel i with respect to the input at j. Of those before, the last of the row above may be unseen, and no other."""
    net = scrambled(PixelNet(PixelConfig(size=7, levels=2, channels=6, blocks=6)))
    x = torch.rand(1, 3, 7, 7, generator=seeded(1), dtype=torch.float64, requires_grad=True)
    seen = torch.stack([torch.autograd.grad(o, x, retain_graph=True)[0].abs().sum(1).flatten() > 0 for o in net.trunk(x).sum(1).flatten()])
    before = torch.ones(49, 49).tril(-1).bool()
    assert not bool((seen & ~before).any())
    missing = [(i, j) for i, j in (before & ~seen).nonzero().tolist()]
    assert missing and all(j == i // 7 * 7 - 1 for i, j in missing)


def test_a_network_for_any_order_sees_everything():
    net = tiny("any", size=5)
    x = torch.rand(1, 3, 5, 5, generator=seeded(1), dtype=torch.float64, requires_grad=True)
    seen = torch.stack([torch.autograd.grad(o, x, retain_graph=True)[0].abs().sum(1).flatten() > 0 for o in net.trunk(x).sum(1).flatten()])
    assert bool(seen.all())


def test_what_a_hidden_pixel_held_is_not_seen():
    net, hidden = tiny("any", size=3, levels=4), random_masks(torch.tensor([5]), 3, seeded())
    a = torch.randint(4, (1, 3, 3), generator=seeded(2))
    b = torch.where(hidden, torch.randint(4, (1, 3, 3), generator=seeded(3)), a)
    assert not torch.equal(a, b) and torch.equal(net(hide(a, hidden, 4)), net(hide(b, hidden, 4)))


# Probabilities

@pytest.mark.parametrize(("order", "levels"), [("raster", 2), ("any", 2), ("coarse", 2), ("any", 3)])
def test_the_probabilities_of_all_pictures_sum_to_one(order, levels):
    net, x = tiny(order, levels=levels), all_pictures(2, levels)
    for seed in range(3):
        stage = stages(order, 2, seeded(seed))
        p = log_prob(net, x, stage).exp()
        assert abs(float(p.sum()) - 1) < 1e-12 and float(p.max() / p.min()) > 1.5  # and it is not the uniform distribution


def test_pixels_of_one_stage_are_independent_given_the_others():
    """All four in one stage: the product of four probabilities, whatever the picture."""
    net, x = tiny("any"), all_pictures(2, 2)
    p = net(torch.full((1, 2, 2), 2)).softmax(1)[0]
    expected = torch.stack([p[:, i, j][x[:, i, j]] for i in (0, 1) for j in (0, 1)]).prod(0)
    assert torch.allclose(log_prob(net, x, torch.zeros(2, 2, dtype=torch.long)).exp(), expected, atol=1e-12)


def test_one_call_of_a_raster_network_gives_what_going_pixel_by_pixel_gives():
    net, x = tiny("raster", size=3, levels=3), torch.randint(3, (5, 3, 3), generator=seeded())
    stage = stages("raster", 3)
    step_by_step = sum((log_probs(net, x, stage >= s) * (stage == s)).sum((1, 2)) for s in range(9))
    assert torch.allclose(log_prob(net, x), step_by_step, atol=1e-12)
    with pytest.raises(ValueError, match="no other order"):
        log_prob(net, x, stages("coarse", 3))


def test_the_bound_over_orders_is_the_mean_over_them_and_lies_below_the_mixture():
    net, x = tiny("any"), all_pictures(2, 2)
    by_order = torch.stack([log_prob(net, x, torch.tensor(order).reshape(2, 2)) for order in itertools.permutations(range(4))])
    mean, mixture = by_order.mean(0), by_order.logsumexp(0) - math.log(24)
    assert bool((mean < mixture).all()) and abs(float(mixture.exp().sum()) - 1) < 1e-12 and float(mean.exp().sum()) < 0.999
    estimates = torch.stack([any_order_bound(net, x, draws=4, generator=seeded(seed)) for seed in range(2000)])
    error = estimates.std(0) / 2000**0.5
    assert bool(((estimates.mean(0) - mean).abs() < 4.5 * error).all()) and float(error.max()) < 0.05


def test_masks_hide_as_many_as_asked_each_choice_equally_often():
    masks = random_masks(torch.tensor([2] * 6000), 2, seeded())
    assert set(masks.sum((1, 2)).tolist()) == {2}
    counts = torch.bincount((masks.flatten(1) * torch.tensor([1, 2, 4, 8])).sum(1), minlength=16)
    assert (counts > 0).sum() == 6 and bool((counts[counts > 0] - 1000).abs().max() < 4.5 * 1000**0.5)


@pytest.mark.parametrize("order", ["raster", "any", "coarse"])
def test_samples_follow_the_probabilities(order):
    net, n = tiny(order), 4000
    stage = stages(order, 2, seeded(5))
    x = sample(net, torch.full((n, 2, 2), 2), stage, generator=seeded(1))
    counts = torch.bincount((x.flatten(1) * torch.tensor([8, 4, 2, 1])).sum(1), minlength=16)
    p = log_prob(net, all_pictures(2, 2), stage).exp()
    assert bool(((counts - n * p).abs() < 4.5 * (n * p * (1 - p)).sqrt() + 1).all())
    assert torch.equal(x, sample(net, torch.full((n, 2, 2), 2), stage, generator=seeded(1)))


def test_sampling_keeps_what_is_shown():
    net, given = tiny("any", size=3, levels=3), torch.full((50, 3, 3), 3)
    given[:, 0] = 1
    x = sample(net, given, stages("any", 3, seeded()), generator=seeded())
    assert bool((x[:, 0] == 1).all()) and int(x.max()) < 3 and len(x.unique(dim=0)) > 8


# Training and labels

def pictures_of_levels(x, levels):
    """Bytes that `quantise` without pooling turns into x, as pictures."""
    return to_pictures(((x * 256 + 128) // levels).byte().numpy())


@pytest.mark.parametrize("order", ["raster", "any", "coarse"])
def test_the_loss_is_the_bits_a_dimension(order):
    """Exactly where t decides all; for any order on the mean over draws, against the 24 orders one by one."""
    net, x, loss = tiny(order), all_pictures(2, 2), []
    pictures, holder = pictures_of_levels(x, 2), NetworkDenoiser(net, Schedule.linear(4))
    assert torch.equal(quantise(pictures, 2, 1), x)
    for seed in range(400 if order == "any" else 1):
        torch.manual_seed(seed)  # the masks come from the default generator, which `fit` seeds
        loss += [pixel_loss(net.config, holder, pictures, torch.full((16,), t), None, None) for t in (1, 2, 3, 4)]
    orders = itertools.permutations(range(4)) if order == "any" else [stages(order, 2).flatten().tolist()]
    exact = torch.stack([-log_prob(net, x, torch.tensor(order).reshape(2, 2)).mean() / (4 * math.log(2)) for order in orders]).mean()
    assert float(torch.stack(loss).mean()) == pytest.approx(float(exact), abs=0.02 if order == "any" else 1e-12)


def test_labels_are_used_and_a_missing_one_is_the_null_label():
    net, x = tiny("any", classes=3), all_pictures(2, 2)
    null = torch.full((16,), -1)
    assert torch.equal(net(x), net(x, null)) and len({net(x, null + k).sum().item() for k in range(4)}) == 4
    with pytest.raises(ValueError, match="no labels"):
        tiny("any")(x, null)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: PixelConfig(order="spiral"), "order must be one of"), (lambda: PixelConfig(levels=1), "levels must be at least 2"),
    (lambda: PixelConfig(blocks=0), "blocks must be at least 1"), (lambda: stages("raster", 1), "size at least 2"),
    (lambda: quantise(torch.zeros(2, 1, 3, 4)), "divisible by 2"), (lambda: quantise(torch.zeros(2, 1, 4, 4), levels=1), "levels must be at least 2"),
    (lambda: tiny("any")(torch.zeros(1, 3, 3).long()), r"\(N, 2, 2\)"), (lambda: tiny("any")(torch.full((1, 2, 2), 3)), "must lie in 0 .. 2"),
    (lambda: PatchConfig(patch=3), "must divide size"), (lambda: PatchConfig(T=1), "T must be at least 2"),
    (lambda: even_snr(1), "at least 2"), (lambda: tiny_patches().codes(torch.zeros(1, 2, 2).long()), r"\(N, 4, 4\)")])
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Patches

def tiny_patches(seed=0):
    net = scrambled(PatchNet(PatchConfig(levels=4, size=4, channels=6, blocks=2, width=8, layers=1, T=5)), seed)
    net.head.leave.weight *= 0.1  # so that the variances stay in a sane range
    return net


def test_the_code_of_a_patch_sees_the_patches_before_it_and_no_other():
    net = tiny_patches()
    x = torch.randint(4, (40, 4, 4), generator=seeded())
    for k, (row, column) in enumerate(itertools.product((0, 2), repeat=2)):
        y = x.clone()
        y[:, row:row + 2, column:column + 2] = 3 - y[:, row:row + 2, column:column + 2]
        changed = (net.codes(x) != net.codes(y)).any(2).any(0)
        assert changed.tolist() == [j > k for j in range(4)]
    assert torch.equal(net.patches(x)[:, 1, 1], to_grey(x, 4)[:, 0, 0, 3].double())


def test_the_noise_levels_are_even_in_log_snr_and_reach_from_data_to_noise():
    schedule = even_snr(100)
    log_snr = schedule.snr(torch.arange(1, 101)).log()
    assert torch.allclose(log_snr.diff(), log_snr.diff()[:1]) and float(log_snr[0]) == pytest.approx(7) and float(log_snr[-1]) == pytest.approx(-7)
    assert schedule.alpha_bar[0] == 1


def test_the_bound_is_the_cores_bound_of_every_patch():
    """Against `vlb_terms`, which knows nothing of patches, with the same noise; and the loss is its mean over t but for the constant L_T."""
    from diffusion_core import vlb_terms
    from diffusion_core.denoisers import FunctionDenoiser

    net, x = tiny_patches(), torch.randint(4, (3, 4, 4), generator=seeded())
    codes, head = net.codes(x).flatten(0, 1), net.denoiser()
    known = FunctionDenoiser(net.schedule, lambda x_t, t, cond: head(x_t, t, codes))
    prior, kl, decoder = vlb_terms(known, net.schedule, net.patches(x).double().flatten(0, 1), variance="learned", bins=4, generator=seeded(1))
    ours = patch_bound(net, x, seeded(1))
    assert torch.allclose(ours, (prior + kl.sum(1) + decoder).reshape(3, 4).sum(1), rtol=1e-5)

    holder, pictures, losses = NetworkDenoiser(net, net.schedule), pictures_of_levels(x, 4), []
    for seed in range(800):
        torch.manual_seed(seed)
        losses.append(patch_loss(holder, pictures, None, None, None))
    losses = torch.stack(losses)
    wanted = torch.stack([patch_bound(net, x, seeded(seed)).mean() for seed in range(300)]) - prior.reshape(3, 4).sum(1).mean()
    wanted = wanted / (16 * math.log(2))
    error = (losses.var() / 800 + wanted.var() / 300).sqrt()
    assert abs(float(losses.mean() - wanted.mean())) < 4.5 * float(error) < 0.1 * float(wanted.mean())


def test_patches_are_drawn_reproducibly_in_the_levels_and_not_all_alike():
    net = tiny_patches().float()
    x = sample_patches(net, 6, seeded(1))
    assert x.shape == (6, 4, 4) and x.dtype == torch.long and 0 <= int(x.min()) <= int(x.max()) < 4 and len(x.unique(dim=0)) > 1
    assert torch.equal(x, sample_patches(net, 6, seeded(1)))


# What is shipped

@pytest.mark.parametrize("name", ["pixels_raster", "pixels_any", "pixels_coarse"])
def test_shipped_pixel_models_have_the_bits_of_their_cards(name):
    """On 200 of the bundled test pictures, within 4.5 standard errors; and far below what the levels' frequencies alone give."""
    net, (card, _) = zoo.load_pixels(name), zoo.read(name)
    images, labels = fashion_mnist("test")
    for way, (bits, error) in measured_bits(net, to_pictures(images[:200]), torch.from_numpy(labels[:200]).long(), batch=200).items():
        assert abs(bits - card["figures"][way][0]) < 4.5 * error and card["figures"][way][1] < 0.01
        assert card["figures"][way][0] < 1.6
    assert (zoo.FOLDER / f"{name}.safetensors").stat().st_size < 1_000_000


def test_the_shipped_patch_model_has_the_bound_of_its_card():
    net, (card, _) = zoo.load_patches(), zoo.read("pixels_patch")
    bits, error = measured_bound(net, to_pictures(fashion_mnist("test")[0][:100]))["bound"]
    assert abs(bits - card["figures"]["bound"][0]) < 4.5 * error and card["figures"]["bound"][0] < 1.6
    assert (zoo.FOLDER / "pixels_patch.safetensors").stat().st_size < 1_000_000
    with pytest.raises(ValueError, match="not a pixel model"):
        zoo.load_pixels("pixels_patch")
    with pytest.raises(ValueError, match="not a patch model"):
        zoo.load_patches("pixels_raster")
