"""The loss, the moving average, and a loop that loses nothing when it is stopped."""

import copy
import itertools

import pytest
import torch
from torch import nn

from diffusion_core import NULL, NetworkDenoiser, Schedule, UNet, UNetConfig, q_sample
from diffusion_core import training
from diffusion_core.training import EMA, Run, Settings, drop_labels, fit, loss, loss_weight

SCHEDULE = Schedule.cosine(100)
CONFIG = UNetConfig(channels=8, groups=4, head_channels=8, classes=3)


def denoiser(seed=0, **options):
    torch.manual_seed(seed)
    return NetworkDenoiser(UNet(UNetConfig(**CONFIG.to_dict() | options)), SCHEDULE, "v")


def batch(generator, n):
    labels = torch.randint(3, (n,), generator=generator)
    return (labels.float() / 2 - 0.5).reshape(n, 1, 1, 1) + 0.1 * torch.randn(n, 1, 8, 8, generator=generator), labels


def settings(**options):
    return Settings(**{"steps": 12, "batch": 4, "warmup": 3, "ema": 0.9} | options)


def state(run):
    """Everything that a later step depends on, as a flat list of tensors."""
    optimiser = [v for entry in run.optimiser.state_dict()["state"].values() for v in entry.values()]
    parts = [run.net.state_dict().values(), run.ema.shadow.state_dict().values(), optimiser, [run.generator.get_state()]]
    return [torch.as_tensor(v) for v in itertools.chain(*parts)] + [torch.tensor([run.step, run.ema.updates])]


def equal(a, b):
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def train(denoiser, settings, **options):
    for run in fit(denoiser, batch, settings, **options):
        pass
    return run


# The loss

def test_l_simple_is_the_squared_error_of_eps():
    x0, eps = (torch.randn(5, 1, 2, 2, generator=torch.Generator().manual_seed(k)) for k in (0, 1))
    t = torch.tensor([1, 20, 50, 80, 100])
    network = NetworkDenoiser(lambda x, index, cond: 0.5 * x, SCHEDULE, "eps")
    expected = ((eps - 0.5 * q_sample(SCHEDULE, x0, t, eps)) ** 2).mean()
    assert loss(network, x0, t, eps).item() == pytest.approx(expected.item(), rel=1e-6)
    assert torch.equal(loss_weight(SCHEDULE, t, "eps", None), torch.ones(5, dtype=torch.float64))


@pytest.mark.parametrize("predicts", ["x0", "eps", "v"])
@pytest.mark.parametrize("gamma", [None, 5.0])
def test_the_truth_has_no_loss(predicts, gamma):
    x0, eps = (torch.randn(5, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(k)) for k in (0, 1))
    t = torch.tensor([1, 20, 50, 80, 99])
    a = SCHEDULE.alpha_bar[t].reshape(-1, 1, 1, 1)
    truth = {"x0": x0, "eps": eps, "v": a.sqrt() * eps - (1 - a).sqrt() * x0}[predicts]
    network = NetworkDenoiser(lambda x, index, cond: truth, SCHEDULE, predicts)
    assert loss(network, x0, t, eps, gamma=gamma).item() < 1e-20
    network = NetworkDenoiser(lambda x, index, cond: truth + 0.1, SCHEDULE, predicts)
    assert loss(network, x0, t, eps, gamma=gamma).item() == pytest.approx(0.01 * loss_weight(SCHEDULE, t, predicts, gamma).mean().item())


def test_an_unknown_prediction_is_refused():
    with pytest.raises(ValueError, match="predicts must be one of .*, got 'noise'"):
        loss_weight(SCHEDULE, torch.tensor([1]), "noise", None)


def test_labels_are_dropped_at_their_rate_and_independently():
    labels = torch.arange(40_000) % 10
    dropped = drop_labels(labels, 0.1, torch.Generator().manual_seed(0))
    gone = dropped == NULL
    assert gone.double().mean().item() == pytest.approx(0.1, abs=0.006)  # four standard errors
    assert torch.equal(dropped[~gone], labels[~gone])
    assert all(gone[labels == y].double().mean().item() == pytest.approx(0.1, abs=0.02) for y in range(10))
    assert (gone[1:] & gone[:-1]).double().mean().item() == pytest.approx(0.01, abs=0.003)
    assert torch.equal(drop_labels(labels, 0.0), labels) and bool((drop_labels(labels, 1.0) == NULL).all())


def test_training_draws_all_times_and_drops_labels(monkeypatch):
    seen = []
    real = training.loss

    def spy(denoiser, x0, t, eps, cond, gamma):
        seen.append((t, cond, eps))
        return real(denoiser, x0, t, eps, cond, gamma)

    monkeypatch.setattr(training, "loss", spy)
    schedule = Schedule.cosine(4)
    torch.manual_seed(0)
    run = Run(NetworkDenoiser(UNet(CONFIG), schedule), settings(drop=0.5))
    for _ in range(5):
        run.update(*batch(run.generator, 40))
    t, cond, eps = (torch.cat(parts) for parts in zip(*seen, strict=True))
    assert t.bincount(minlength=6)[1:5].min() > 25 and set(t.tolist()) == {1, 2, 3, 4}
    assert (cond == NULL).double().mean().item() == pytest.approx(0.5, abs=0.12)
    assert eps.std().item() == pytest.approx(1, abs=0.03)


# The moving average

def test_average_of_a_constant_is_that_constant():
    net = nn.Linear(3, 3)
    ema = EMA(net, 0.99)
    for _ in range(20):
        ema.update(net)
    assert torch.allclose(ema.shadow.weight, net.weight, rtol=1e-6)


def test_average_after_k_updates_in_closed_form():
    """Weights w_0 before, w_1 .. w_k at the updates: each is kept with the product of the later decays min(d, (1 + k) / (10 + k))."""
    decay, net = 0.3, nn.Linear(1, 1, bias=False).double()
    values = [5.0, 1.0, -2.0, 4.0, 0.5, 3.0, 3.5]
    nn.init.constant_(net.weight, values[0])
    ema = EMA(net, decay)
    decays = [min(decay, (1 + k) / (10 + k)) for k in range(len(values) - 1)]
    assert decays[0] == 0.1 and decays[-1] == decay  # the ramp and what follows it
    expected = values[0]
    for value, d in zip(values[1:], decays, strict=True):
        nn.init.constant_(net.weight, value)
        ema.update(net)
        expected = d * expected + (1 - d) * value
    assert ema.shadow.weight.item() == pytest.approx(expected, rel=1e-12)
    assert ema.updates == 6 and not ema.shadow.weight.requires_grad and not ema.shadow.training


def test_the_average_is_a_copy():
    net = nn.Linear(2, 2)
    ema = EMA(net)
    before = ema.shadow.weight.clone()
    nn.init.zeros_(net.weight)
    assert torch.equal(ema.shadow.weight, before)


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_another_decay_is_refused(decay):
    with pytest.raises(ValueError, match=r"decay must lie in \[0, 1\)"):
        EMA(nn.Linear(1, 1), decay)


def test_learning_rate_rises_and_falls():
    s = Settings(steps=110, warmup=10, lr_end=0.1)
    assert [s.rate(k) for k in (0, 4, 9, 10, 60, 110)] == pytest.approx([0.1, 0.5, 1.0, 1.0, 0.55, 0.1])


# The loop

def test_training_learns():
    run = train(denoiser(), settings(steps=60, batch=16, lr=3e-3, warmup=5), every=10)
    assert [step for step, _ in run.log] == [10, 20, 30, 40, 50, 60]
    assert run.log[-1][1] < 0.6 * run.log[0][1]


@pytest.mark.parametrize("stop_after", [4, 6, 11])
def test_stopped_and_resumed_is_bit_identical(tmp_path, stop_after):
    """Stopped after a checkpoint (at 4, 8), between two, or just before the end: the same network, average, optimiser and log."""
    whole = train(denoiser(), settings(), every=4)
    file = tmp_path / "run.pt"
    for run in fit(denoiser(), batch, settings(), checkpoint=file, every=4):
        if run.step == stop_after:
            break
    # A new process has another network object and another global generator.
    resumed = train(denoiser(seed=9), settings(), checkpoint=file, every=4)
    assert equal(state(whole), state(resumed)) and whole.log == resumed.log
    assert resumed.step == 12


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    file = tmp_path / "run.pt"
    first = train(denoiser(), settings(), checkpoint=file)
    before = file.read_bytes()
    again = train(denoiser(seed=3), settings(), checkpoint=file)
    assert equal(state(first), state(again)) and file.read_bytes() == before


def test_the_seed_decides():
    a, b, c = (train(denoiser(), settings(seed=seed)) for seed in (0, 0, 1))
    assert equal(state(a), state(b)) and not equal(state(a), state(c))


def test_a_half_written_checkpoint_leaves_the_old_one(tmp_path, monkeypatch):
    file = tmp_path / "run.pt"
    run = train(denoiser(), settings(), checkpoint=file, every=4)
    before = file.read_bytes()

    def disk_full(state, target):
        target.write(b"half a checkpoint")
        raise OSError("no space left on device")

    run.step += 1
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space left"):
        patch.setattr(torch, "save", disk_full)
        run.save(file)
    assert file.read_bytes() == before
    resumed = Run(denoiser(), settings())
    resumed.load(file)
    assert resumed.step == 12
    run.save(file)  # and the half file is in nobody's way
    resumed.load(file)
    assert resumed.step == 13 and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("other", [{"lr": 2e-3}, {"batch": 5}, {"seed": 1}, {"gamma": None}])
def test_a_checkpoint_of_other_settings_is_refused(tmp_path, other):
    file = tmp_path / "run.pt"
    train(denoiser(), settings(), checkpoint=file)
    before, untouched = file.read_bytes(), denoiser()
    weights = copy.deepcopy(untouched.net.state_dict())
    with pytest.raises(ValueError, match="run.pt was trained with .* not with"):
        next(fit(untouched, batch, settings(**other), checkpoint=file))
    assert file.read_bytes() == before
    assert all(torch.equal(weights[k], v) for k, v in untouched.net.state_dict().items())


def test_unlabelled_pictures_train_an_unconditional_network():
    run = None
    for run in fit(denoiser(classes=None), lambda generator, n: (batch(generator, n)[0], None), settings(steps=2)):
        pass
    assert run.step == 2


def test_resuming_with_dropout_is_bit_identical(tmp_path):
    """Dropout draws from the global generator, whose state is in no checkpoint: it needs a seed of its own at every step."""
    whole = train(denoiser(dropout=0.3), settings(), every=4)
    file = tmp_path / "run.pt"
    for run in fit(denoiser(dropout=0.3), batch, settings(), checkpoint=file, every=4):
        if run.step == 8:
            break
    assert equal(state(whole), state(train(denoiser(seed=9, dropout=0.3), settings(), checkpoint=file, every=4)))
