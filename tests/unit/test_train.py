"""The command that runs recipes: from a TOML file to weights that the zoo loads."""

import json
import re
from pathlib import Path

import pytest
import torch

from diffusion_core import UNetConfig, data, train, zoo
from diffusion_core.dit import DiTConfig
from diffusion_core.patches import PatchConfig
from diffusion_core.pixels import PixelConfig
from diffusion_core.vae import VAEConfig

DIFFUSION = """
kind = "diffusion"
name = "tiny"
predicts = "v"
[schedule]
name = "cosine"
T = 20
[network]
patch = 4
channels = 8
multipliers = [1]
attention = [false]
groups = 4
head_channels = 8
classes = 10
[training]
steps = 6
batch = 4
warmup = 2
"""
CLASSIFIER = 'kind = "classifier"\nname = "judge"\n[training]\nepochs = 1\nlr = 1e-3\nbatch = 50\nseed = 0\n'


@pytest.fixture
def few_pictures(monkeypatch):
    """Recipes ask for the full set, which a clone need not have: hand them the first of the bundle."""
    bundled = data.fashion_mnist
    monkeypatch.setattr(data, "fashion_mnist", lambda split, source="full": tuple(a[:200] for a in bundled(split)))


def recipe(folder, text):
    file = folder / "recipe.toml"
    file.write_text(text)
    return file


def test_a_diffusion_recipe_ends_as_weights_that_load(tmp_path, few_pictures):
    train.run_recipe(recipe(tmp_path, DIFFUSION), weights=tmp_path, checkpoints=tmp_path / "runs")
    net, denoiser, card = zoo.load("tiny", tmp_path)
    assert (len(denoiser.schedule), denoiser.predicts, card["steps"]) == (20, "v", 6)
    assert card["recipe"] == "recipe.toml" and [step for step, _ in card["log"]] == [6]
    shadow = torch.load(tmp_path / "runs" / "tiny.pt", weights_only=True)["ema"]
    assert all(torch.equal(value, shadow[key]) for key, value in net.state_dict().items())


def test_a_finished_recipe_run_again_trains_no_further(tmp_path, few_pictures):
    for _ in range(2):
        train.run_recipe(recipe(tmp_path, DIFFUSION), weights=tmp_path, checkpoints=tmp_path / "runs")
        card = json.loads((tmp_path / "tiny.json").read_text())
        assert card["steps"] == 6


def test_a_classifier_recipe_sets_its_statistics(tmp_path, few_pictures):
    train.run_recipe(recipe(tmp_path, CLASSIFIER), weights=tmp_path, checkpoints=tmp_path)
    net = zoo.load_classifier("judge", tmp_path)
    pictures = data.to_pictures(data.fashion_mnist("train", source="full")[0])
    features = net.features(pictures)
    torch.testing.assert_close(features.mean(0), torch.zeros(64), atol=1e-4, rtol=0)
    fires = features.std(0) > 0
    assert fires.sum() > 32
    torch.testing.assert_close(features.std(0)[fires], torch.ones(int(fires.sum())), atol=1e-3, rtol=0)


RECIPES = sorted(path for path in (Path(__file__).parents[2] / "recipes").glob("*.toml") if path.stem != "fashion_classifier")


@pytest.mark.parametrize("file", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_runs(tmp_path, few_pictures, file):
    """Two steps of two pictures of each committed recipe: its weights load as what its card says, and differ from where it started."""
    text = re.sub(r"(?m)^steps = \d+", "steps = 2", file.read_text("utf8"))
    text = re.sub(r"(?m)^batch = \d+", "batch = 2", re.sub(r"(?m)^warmup = \d+", "warmup = 1", text))
    train.run_recipe(recipe(tmp_path, text), weights=tmp_path, checkpoints=tmp_path / "runs")
    card, tensors = zoo.read(file.stem, tmp_path)
    shipped, start = zoo.read(file.stem)[0], zoo.read(card["init"])[1] if "init" in card else None
    different = {"sha256", "steps", "minutes", "log", "training", "recipe", "processes", "threads", "data", "test_accuracy_by_t", "figures", "network"}
    assert {k: v for k, v in card.items() if k not in different} == {k: v for k, v in shipped.items() if k not in different}
    config = {"vae": VAEConfig, "dit": DiTConfig, "pixels": PixelConfig, "patches": PatchConfig}.get(card.get("architecture", card["kind"]), UNetConfig)
    assert config(**card["network"]) == config(**shipped["network"])
    assert card["kind"] != "noisy-classifier" or set(card["test_accuracy_by_t"]) == {"1", "200", "400", "600", "800"}
    if start is not None:
        assert all(tensors[key].shape[1:] == value.shape[1:] for key, value in start.items())
        moved = [(tensors[key][: len(value)] - value).abs().max().item() for key, value in start.items()]
        assert 0 < max(moved) < 0.05  # two steps from where it began, and not from chance


PROGRESSIVE = """
kind = "progressive"
name = "few"
teacher = "fashion_guided"
phases = [[8, 5], [4, 2]]
w_max = 4.0
[training]
steps = 2
batch = 2
warmup = 1
drop = 0.0
"""


def test_progressive_distillation_goes_through_its_phases(tmp_path, few_pictures):
    """A checkpoint for each phase, the second phase starting where the first ended, and weights of the teacher's kind."""
    train.run_recipe(recipe(tmp_path, PROGRESSIVE), weights=tmp_path, checkpoints=tmp_path / "runs")
    card, tensors = zoo.read("few", tmp_path)
    assert UNetConfig(**card["network"]) == UNetConfig(**zoo.read("fashion_guided")[0]["network"])
    assert card["steps"] == 4 and list(card["log"]) == ["8", "4"] and card["phases"] == [[8, 5], [4, 2]]
    ends = [torch.load(tmp_path / "runs" / f"few_phase{n}.pt", weights_only=True)["ema"] for n in (8, 4)]
    teacher = zoo.read("fashion_guided")[1]
    moved = [max((a[key] - b[key]).abs().max().item() for key in a) for a, b in ((ends[0], teacher), (ends[1], ends[0]))]
    assert all(0 < m < 0.05 for m in moved)
    assert all(torch.equal(value, ends[1][key]) for key, value in tensors.items())


def test_a_network_that_does_not_extend_its_start_is_refused(tmp_path, few_pictures):
    with pytest.raises(ValueError, match="no place for .*stem.weight"):
        train.run_recipe(recipe(tmp_path, 'init = "fashion"\n' + DIFFUSION), weights=tmp_path, checkpoints=tmp_path / "runs")


def test_an_unknown_objective_is_named(tmp_path, few_pictures):
    with pytest.raises(ValueError, match="objective must be .* got 'gan'"):
        train.run_recipe(recipe(tmp_path, DIFFUSION + '[objective]\nname = "gan"\n'), weights=tmp_path, checkpoints=tmp_path / "runs")


@pytest.mark.parametrize("text, named", [('kind = "gan"\nname = "x"\n', "gan"), (DIFFUSION.replace('"cosine"', '"sine"'), "sine")])
def test_an_unknown_kind_or_schedule_is_named(tmp_path, few_pictures, text, named):
    with pytest.raises(ValueError, match=named):
        train.run_recipe(recipe(tmp_path, text), weights=tmp_path, checkpoints=tmp_path / "runs")
    assert not list(tmp_path.glob("*.safetensors"))
