"""The copying explorer: its sweep, its denoiser against the mixture oracle, what it calls a copy, and what a page loads of its pictures."""

import json
import zlib

import numpy as np
import pytest
import torch

from diffusion_core import GaussianMixture, Schedule, ddim, final, q_sample, zoo
from diffusion_core.data import to_pictures
from diffusion_core.explorers.copying import FILES, SIZES, TITLES, copying_explorer, empirical_denoiser, nearest, picture_files, training_pictures
from diffusion_core.explorers.pictures import to_pixels

SCHEDULE = Schedule.cosine(1000)


def pictures(n=12, seed=0):
    return torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def explorer(sizes=(2, 5, 12)):
    """The "network" of set a is the perfect denoiser of other pictures, so that its samples are never in the lower row's set."""
    return copying_explorer({"set a": {n: empirical_denoiser(pictures(n, seed=9), SCHEDULE) for n in sizes}}, pictures())


def rows(frame):
    """Grey levels of the samples and of the pictures below them."""
    assert [panel.title for (panel,) in frame.rows] == list(TITLES)
    return [panel.pixels.astype(int) for panel in frame.panels]


def test_the_whole_grid_can_be_drawn_and_captions_tell_copies_from_others():
    found = {(p["n"], p["who"]): f for p, f in zip(explorer().points, explorer().sweep(), strict=True)}
    assert len(found) == 6 and {row.shape for frame in found.values() for row in rows(frame)} == {(4, 8 * 6 - 2)}
    for (_, who), frame in found.items():
        assert ("8 of 8 are copies" if who == "perfect denoiser" else "0 of 8 are copies") in frame.caption, frame.caption
    upper, lower = rows(found[12, "perfect denoiser"])
    assert abs(upper - lower).max() <= 2  # grey levels: they are the pictures below
    for (n, _), frame in found.items():
        known = {picture.tobytes() for picture in to_pixels(pictures()[:n])[..., 0].astype(int)}
        assert {rows(frame)[1][:, 6 * k:6 * k + 4].tobytes() for k in range(8)} <= known


def test_the_same_parameters_give_the_same_picture():
    one = explorer()
    assert one.final(n=5, who="set a").stored() == explorer().final(n=5, who="set a").stored()
    assert one.final(n=5, who="set a").stored() != one.final(n=2, who="set a").stored()


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


def test_a_page_loads_the_first_pictures_file_by_file():
    """The recipe's own choice for the largest network of set a, cut at the sizes, in files that a browser can unpack."""
    files = picture_files()
    parts = [zlib.decompress(files[name]) for name in FILES]
    assert tuple(np.cumsum([len(part) for part in parts]) // 784) == SIZES
    assert b"".join(parts) == training_pictures().tobytes()
    assert sum(map(len, files.values())) < 4e6 and len(files) == len(FILES)


def test_the_pictures_are_those_the_first_networks_learned_by_heart():
    """A network that saw 16 pictures hardly errs on the first 16, and a lot on the next 16: the order is the training's."""
    denoiser = zoo.load("copying_a16")[1]
    x0, t = to_pictures(training_pictures()[:32]), torch.full((32,), 500)
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    wrong = (denoiser(q_sample(denoiser.schedule, x0, t, eps), t).x0 - x0).square().mean((1, 2, 3))
    assert wrong[:16].max() < wrong[16:].min() and wrong[:16].mean() < 0.2 * wrong[16:].mean()


def test_a_page_gets_an_engine_only_for_shipped_weights_and_their_pictures():
    assert explorer().browser_engine is None
    data = to_pictures(training_pictures())
    networks = {"network A": {n: empirical_denoiser(data[:2], SCHEDULE) for n in SIZES}}
    figure = copying_explorer(networks, data, shipped={"network A": "copying_a"})
    engine = figure.browser_engine
    assert set(engine.networks) == {f"copying_a{n}" for n in SIZES} <= set(zoo.names())
    assert engine.options["networks"] == {"network A": {n: f"copying_a{n}" for n in SIZES}} and list(engine.options["files"].values()) == list(FILES)
    np.testing.assert_array_equal(engine.arrays["alpha_bar"], SCHEDULE.alpha_bar)
    with pytest.raises(ValueError, match="training_pictures"):
        copying_explorer(networks, data.flip(0), shipped={"network A": "copying_a"})
    assert len({point["n"] for point in figure.still_points}) * 3 * len(json.dumps(explorer().final().stored())) < 300_000


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="at least one picture"):
        empirical_denoiser(pictures(0), SCHEDULE)
    with pytest.raises(ValueError, match="at least two pictures are needed, got 1"):
        nearest(pictures(2), pictures(1))
    with pytest.raises(ValueError, match="from 2 to 12, got .*13"):
        explorer((2, 13))
    with pytest.raises(ValueError, match="same numbers of pictures"):
        copying_explorer({"a": {2: empirical_denoiser(pictures(), SCHEDULE)}, "b": {3: empirical_denoiser(pictures(), SCHEDULE)}}, pictures())
