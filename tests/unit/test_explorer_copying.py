"""The copying explorer: its sweep, its denoiser against the mixture oracle, and what it calls a copy."""

import pytest
import torch

from diffusion_core import GaussianMixture, Schedule, ddim, final
from diffusion_core.explorers.copying import copying_explorer, empirical_denoiser, nearest

SCHEDULE = Schedule.cosine(1000)


def pictures(n=12, seed=0):
    return torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def explorer(sizes=(2, 5, 12)):
    """The "network" of set a is the perfect denoiser of other pictures, so that its samples are never in the lower row's set."""
    return copying_explorer({"set a": {n: empirical_denoiser(pictures(n, seed=9), SCHEDULE) for n in sizes}}, pictures())


def test_the_whole_grid_can_be_drawn_and_captions_tell_copies_from_others():
    found = {(p["n"], p["who"]): f for p, f in zip(explorer().points, explorer().sweep(), strict=True)}
    assert len(found) == 6 and {f.pixels.shape for f in found.values()} == {(2 * 4 + 2, 8 * 6 - 2)}
    for (_, who), frame in found.items():
        assert ("8 of 8 are copies" if who == "perfect denoiser" else "0 of 8 are copies") in frame.caption, frame.caption
    upper, lower = found[12, "perfect denoiser"].pixels[:4].astype(int), found[12, "perfect denoiser"].pixels[6:].astype(int)
    assert abs(upper - lower).max() <= 2  # grey levels: they are the pictures below


def test_the_same_parameters_give_the_same_picture():
    one = explorer()
    assert one.final(n=5, who="set a").pixels.tobytes() == explorer().final(n=5, who="set a").pixels.tobytes()


@pytest.mark.parametrize("t", [1, 300, torch.tensor([50, 600, 999])], ids=["clean", "middle", "a time each"])
def test_the_perfect_denoiser_is_the_mixture_of_narrow_parts(t):
    data = pictures(5).double()
    x = torch.randn(3, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    points = GaussianMixture(torch.ones(5), data.flatten(1), torch.full((5,), 1e-12))
    expected = points.denoiser(SCHEDULE)(x.flatten(1), t)
    ours = empirical_denoiser(data, SCHEDULE)(x, t)
    torch.testing.assert_close(ours.x0.flatten(1), expected.x0, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours.score.flatten(1), points.score(SCHEDULE, x.flatten(1), t), rtol=1e-5, atol=1e-5)


def test_it_only_copies():
    x = torch.randn(20, 1, 4, 4, generator=torch.Generator().manual_seed(2))
    sampled = final(ddim(empirical_denoiser(pictures(), SCHEDULE), x, SCHEDULE, steps=30))
    index, distance = nearest(sampled, pictures())
    assert distance[:, 0].max() < 1e-2 < 0.2 < distance[:, 1].min() and len(index.unique()) > 3


def test_nearest_finds_the_two_nearest():
    data = torch.tensor([0.0, 1.0, 5.0]).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    index, distance = nearest(data[1:] + 0.25, data)
    assert index.tolist() == [1, 2]
    torch.testing.assert_close(distance, torch.tensor([[0.25, 1.25], [0.25, 4.25]]))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="at least one picture"):
        empirical_denoiser(pictures(0), SCHEDULE)
    with pytest.raises(ValueError, match="at least two pictures are needed, got 1"):
        nearest(pictures(2), pictures(1))
    with pytest.raises(ValueError, match="from 2 to 12, got .*13"):
        explorer((2, 13))
    with pytest.raises(ValueError, match="same numbers of pictures"):
        copying_explorer({"a": {2: empirical_denoiser(pictures(), SCHEDULE)}, "b": {3: empirical_denoiser(pictures(), SCHEDULE)}}, pictures())
