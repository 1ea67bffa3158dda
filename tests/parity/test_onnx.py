"""ONNX files of the shipped networks, run by ONNX Runtime: equal to torch to 1e-5, for any batch, in every sampler."""

import functools

import pytest
import torch

from diffusion_core import UNet, UNetConfig, adams, ddim, ddpm, distilled, dpmpp_2m, final, guided, heun, zoo
from diffusion_core.interop.onnx_runtime import OnnxNetwork, onnx_denoiser, to_onnx

# The networks trained on a few pictures ("copying_...") are one architecture, as are the transformers: what is exported for the page is here.
SHIPPED = [name for name in zoo.names() if zoo.read(name)[0]["kind"] in ("diffusion", "progressive") and not name.startswith(("copying", "fashion_dit"))]
SAMPLERS = {"ddpm": functools.partial(ddpm, steps=4), "ddim": functools.partial(ddim, steps=4, eta=0.5),
            "heun": functools.partial(heun, steps=[(900, 600), (600, 300), (300, 0)]),  # from t = T it explodes, in torch too
            "dpmpp_2m": functools.partial(dpmpp_2m, steps=4), "adams": functools.partial(adams, steps=4)}


@functools.cache
def both(name):
    net, denoiser, _ = zoo.load(name)
    return net, denoiser, onnx_denoiser(denoiser, threads=1)


@functools.cache
def three_threads():
    return OnnxNetwork(to_onnx(zoo.load("fashion")[0]), threads=3)


def inputs(n, net, seed=0):
    """Pictures, times over the whole range, every label and none, and weights where the network takes them."""
    generator = torch.Generator().manual_seed(seed)
    x, t = torch.randn(n, 1, 28, 28, generator=generator), torch.randint(0, 1000, (n,), generator=generator)
    weights = (4 * torch.rand(n, generator=generator),) if net.config.weighted else ()
    return x, t, torch.arange(n) % 11 - 1, *weights


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_networks_are_equal(name):
    """Batches of other sizes than the exported one; relative to the largest output, which lies between 1 and 10."""
    net, _, onnx = both(name)
    for n in (1, 5, 33):
        given = inputs(n, net, seed=n)
        theirs = net(*given)
        assert (onnx.net(*given) - theirs).abs().max() <= 1e-5 * theirs.abs().max().clamp(min=1)
        shifted = (given[0], (given[1] + 500) % 1000, *given[2:])
        assert (onnx.net(*shifted) - theirs).abs().max() > 0.01  # time is not ignored
        relabelled = (*given[:2], (given[2] + 6) % 11 - 1, *given[3:])
        assert (onnx.net(*relabelled) - theirs).abs().max() > 0.01  # nor is the label


@pytest.mark.parametrize("n", [1, 2, 5, 7])
def test_threads_share_the_rows(n):
    """Every row once and in its order, whether the threads divide the rows or are more than them."""
    net, _, onnx = both("fashion")
    given = inputs(n, net)
    assert torch.allclose(three_threads()(*given), onnx.net(*given), rtol=0, atol=1e-6)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_it_takes_the_network_s_place_in_every_sampler(sampler):
    _, denoiser, onnx = both("fashion")
    x = torch.randn(6, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    options = {"cond": torch.arange(6)} | ({"generator": torch.Generator()} if sampler in ("ddpm", "ddim") else {})
    runs = []
    for d in (denoiser, onnx):
        if "generator" in options:
            options["generator"].manual_seed(1)
        runs.append(final(SAMPLERS[sampler](guided(d, 0.5), x, denoiser.schedule, **options)))
    assert torch.allclose(*runs, rtol=0, atol=1e-3 if sampler == "heun" else 1e-4)


@pytest.mark.parametrize("name", [name for name in SHIPPED if zoo.read(name)[0]["network"].get("weighted")])
def test_weighted_networks_take_w(name):
    _, denoiser, onnx = both(name)
    x = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    for w in (0.0, 2.0):
        assert torch.allclose(distilled(onnx, w)(x, 400, 3).x0, distilled(denoiser, w)(x, 400, 3).x0, atol=2e-5)
    with pytest.raises(ValueError, match="takes x, t, cond, w, got x, t, cond"):
        onnx(x, 400, 3)


def test_an_unconditional_network_has_no_label_input():
    torch.manual_seed(0)
    net = UNet(UNetConfig(channels=8, groups=4, head_channels=8)).eval()
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.1)
    onnx = OnnxNetwork(to_onnx(net, side=8), threads=1)
    x, t = torch.randn(4, 1, 8, 8), torch.tensor([0, 5, 500, 999])
    assert onnx.inputs == ["x", "t"] and torch.allclose(onnx(x, t), net(x, t), atol=1e-5)
    with pytest.raises(ValueError, match="takes x, t, got x, t, cond"):
        onnx(x, t, torch.zeros(4, dtype=torch.long))


def test_what_is_no_network_is_named(tmp_path):
    for model in (b"nonsense", tmp_path / "missing.onnx"):
        with pytest.raises(ValueError, match="no ONNX network"):
            OnnxNetwork(model)
    with pytest.raises(ValueError, match="multiples of 4"):
        to_onnx(zoo.load("fashion")[0], side=27)
