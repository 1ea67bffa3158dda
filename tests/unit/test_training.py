"""The loss, the moving average, and a loop that loses nothing when it is stopped."""

import copy
import itertools
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from diffusion_core import NULL, NetworkDenoiser, Schedule, UNet, UNetConfig, q_sample
from diffusion_core import training
from diffusion_core.checkpoint import write_checkpoint
from diffusion_core.training import EMA, Settings, drop_labels, fit, loss, loss_weight

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
    parts = [run.net.state_dict().values(), run.ema.shadow.state_dict().values(), optimiser]
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
    train(NetworkDenoiser(UNet(CONFIG), schedule), settings(drop=0.5, steps=5, batch=40))
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
    run.load(file)
    assert run.step == 12
    run.step += 1
    run.save(file)  # and the half file is in nobody's way
    run.load(file)
    assert run.step == 13 and list(tmp_path.iterdir()) == [file]


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


# Micro-batches

@pytest.mark.parametrize("clip", [0.05, 1e9])
def test_accumulated_gradients_are_those_of_the_whole_batch(clip):
    """Four micro-batches of 2 against their 8 rows at once: the gradient that the optimiser saw, once clipped and once not."""
    seen, network = [], denoiser()
    start = copy.deepcopy(network.net)

    def watch(denoiser, *rows):
        seen.append(rows)
        return loss(denoiser, *rows, gamma=5.0)

    run = next(fit(network, batch, settings(batch=8, micro=2, clip_norm=clip), objective=watch))
    assert [len(rows[0]) for rows in seen] == [2, 2, 2, 2]
    value = loss(NetworkDenoiser(start, SCHEDULE, "v"), *(torch.cat(column) for column in zip(*seen, strict=True)), gamma=5.0)
    value.backward()
    assert 0.05 < nn.utils.clip_grad_norm_(start.parameters(), clip) < 1e9
    for ours, whole in zip(run.net.parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, whole.grad, atol=1e-7, rtol=1e-4)


def test_the_log_is_the_mean_over_micro_batches_and_steps():
    values = []

    def watch(denoiser, *rows):
        values.append(loss(denoiser, *rows))
        return values[-1]

    for run in fit(denoiser(), batch, settings(steps=4, micro=2), objective=watch, every=2):
        pass
    means = torch.stack(values).reshape(2, 4).mean(1).tolist()
    assert [step for step, _ in run.log] == [2, 4] and [loss for _, loss in run.log] == pytest.approx(means, rel=1e-6)


def test_micro_batches_and_steps_draw_their_own_numbers():
    """No two of the noises of six steps of two micro-batches are alike, and what an objective draws differs too."""
    seen = []

    def watch(denoiser, x0, t, eps, cond):
        seen.append((eps[0, 0, 0, 0].item(), torch.rand((), generator=torch.default_generator).item()))
        return loss(denoiser, x0, t, eps, cond)

    network = denoiser()
    before = torch.get_rng_state()
    list(fit(network, batch, settings(steps=6, micro=2), objective=watch))
    assert len({eps for eps, _ in seen}) == len({drawn for _, drawn in seen}) == 12
    assert torch.equal(torch.get_rng_state(), before)  # and the caller's own draws go on as if nothing had been


@pytest.mark.parametrize("options", [{"batch": 0}, {"micro": 3}, {"micro": 0}, {"micro": 8}])
def test_a_batch_that_does_not_divide_is_refused(options):
    with pytest.raises(ValueError, match="batch must be at least 1 and divide into micro-batches, got batch = "):
        settings(**options)


def test_settings_from_toml_are_those_of_the_checkpoint(tmp_path):
    """A list of betas, as TOML has it, must not look like other settings on the way back."""
    for _ in range(2):
        run = train(denoiser(), settings(betas=[0.9, 0.95]), checkpoint=tmp_path / "run.pt")
    assert run.step == 12


def test_training_stays_on_the_networks_device_and_dtype():
    network = denoiser()
    before = [(p.device, p.data_ptr()) for p in network.net.parameters()]
    run = next(fit(network, batch, settings()))
    assert run.net is network.net and [(p.device, p.data_ptr()) for p in network.net.parameters()] == before


# Damage

def checkpoint_of(tmp_path):
    file = tmp_path / "run.pt"
    train(denoiser(), settings(steps=2), checkpoint=file)
    return file, file.read_bytes()


@pytest.mark.parametrize("where", [0, 40, 0.1, 0.3, 0.5, 0.7, 0.9, -40, -1])
def test_a_flipped_bit_is_recognised(tmp_path, where):
    """In the header, a weight, the directory or the checksum itself: named, and neither used nor touched."""
    file, raw = checkpoint_of(tmp_path)
    at = where if isinstance(where, int) else int(where * len(raw))
    altered = bytearray(raw)
    altered[at] ^= 4
    file.write_bytes(altered)
    network = denoiser(seed=1)
    weights = copy.deepcopy(network.net.state_dict())
    with pytest.raises(ValueError, match="checkpoint run.pt is cut short, altered .* put a copy of it back, or remove it"):
        next(fit(network, batch, settings(steps=2), checkpoint=file))
    assert file.read_bytes() == altered and all(torch.equal(weights[k], v) for k, v in network.net.state_dict().items())


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 0.5, -1])
def test_half_a_checkpoint_is_recognised(tmp_path, length):
    file, raw = checkpoint_of(tmp_path)
    file.write_bytes(raw[: length if isinstance(length, int) else int(length * len(raw))])
    with pytest.raises(ValueError, match="cut short"):
        next(fit(denoiser(), batch, settings(steps=2), checkpoint=file))


def test_another_kind_of_file_is_no_checkpoint(tmp_path):
    write_checkpoint({"net": torch.zeros(1)}, tmp_path / "run.pt")
    with pytest.raises(ValueError, match="run.pt is no checkpoint of a training"):
        next(fit(denoiser(), batch, settings(), checkpoint=tmp_path / "run.pt"))


class Counting:
    """Data in lanes: micro-batch k of n holds the numbers k, k + n, .. as pictures, and knows how far it is."""

    def lane(self, k, n):
        return CountingLane(k, n)


class CountingLane:
    def __init__(self, k, n):
        self.next, self.n = k, n

    def __call__(self, generator, n):
        values = torch.arange(self.next, self.next + n * self.n, self.n)
        self.next += n * self.n
        return values.float().reshape(n, 1, 1, 1).expand(n, 1, 8, 8) / 100, None

    def state_dict(self):
        return {"next": self.next}

    def load_state_dict(self, state):
        self.next = state["next"]


def test_the_position_in_the_data_is_in_the_checkpoint(tmp_path):
    seen = []

    def watch(denoiser, x0, t, eps, cond):
        seen.extend((x0[:, 0, 0, 0] * 100).round().long().tolist())
        return loss(denoiser, x0, t, eps, cond)

    options = {"objective": watch, "checkpoint": tmp_path / "run.pt", "every": 2}
    for run in fit(denoiser(classes=None), Counting(), settings(steps=5, micro=2), **options):
        if run.step == 3:  # a step after the last checkpoint
            break
    list(fit(denoiser(classes=None), Counting(), settings(steps=5, micro=2), **options))
    assert sorted(seen[:8]) == list(range(8)) and sorted(seen[12:]) == list(range(8, 20))
    with pytest.raises(ValueError, match="run.pt was trained on other data"):
        next(fit(denoiser(classes=None), batch, settings(steps=5, micro=2), checkpoint=tmp_path / "run.pt"))


@pytest.mark.parametrize("engine, named", [
    ({"distributed_type": "FSDP"}, "got FSDP in 'no'"), ({"mixed_precision": "fp16"}, "got NO in 'fp16'"),
    ({"gradient_accumulation_steps": 4}, "accumulation at 1, got 4")])
def test_another_engine_is_refused(engine, named):
    accelerator = SimpleNamespace(**{"mixed_precision": "no", "gradient_accumulation_steps": 1} | engine)
    accelerator.distributed_type = SimpleNamespace(value=engine.get("distributed_type", "NO"))
    with pytest.raises(ValueError, match=named):
        next(fit(denoiser(), batch, settings(), accelerator=accelerator))
