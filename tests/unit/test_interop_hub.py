"""The published CIFAR-10 network: a small random one served by a stand-in for the hub, and what is said where there is none."""

import hashlib
import json
import time
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
from safetensors.torch import save_file

from diffusion_core import NetworkDenoiser, Schedule, UNet, UNetConfig, ddim, final
from diffusion_core.interop import to_diffusers
from diffusion_core.interop.hub import HubUnreachable, download, sample_cifar10

WEIGHTS = "diffusion_pytorch_model.safetensors"


def small_network():
    torch.manual_seed(0)
    net = UNet(UNetConfig(in_channels=3, out_channels=3, channels=8, multipliers=(1, 1), head_channels=None, groups=4, norm_eps=1e-6,
                          conditioning="add", resample="conv-end", sin_first=True, frequency_shift=1)).eval()
    with torch.no_grad():
        for p in net.parameters():
            p += 0.05 * torch.randn_like(p)
    return net


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A repository in a folder: .files may be changed, .sha256 is what it states, .error is raised by its two functions."""
    config, state = to_diffusers(small_network())
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(state, tmp_path / WEIGHTS)
    hub = SimpleNamespace(folder=tmp_path, files=["README.md", "config.json", WEIGHTS], errors={}, asked=[],
                          sha256=hashlib.sha256((tmp_path / WEIGHTS).read_bytes()).hexdigest())

    def model_info(repo, *, files_metadata, timeout):
        if "info" in hub.errors:
            raise hub.errors["info"]
        assert files_metadata and timeout <= 10  # without the first there are no checksums
        lfs = {name: SimpleNamespace(sha256=hub.sha256) if name.startswith("diffusion") else None for name in hub.files}
        return SimpleNamespace(sha="c0ffee", siblings=[SimpleNamespace(rfilename=name, lfs=lfs[name]) for name in hub.files])

    def hf_hub_download(repo, name, *, revision):
        if "download" in hub.errors:
            raise hub.errors["download"]
        hub.asked.append((repo, name, revision))
        return str(hub.folder / name)

    monkeypatch.setattr(huggingface_hub, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)
    return hub


def generator():
    return torch.Generator().manual_seed(3)


def test_pictures_are_those_of_the_network(hub):
    """The linear schedule of 1000, eps, x0 limited to [-1, 1], DDIM without noise. Both files are those of one commit."""
    schedule = Schedule.linear(1000)
    x = torch.randn(2, 3, 32, 32, generator=generator())
    expected = final(ddim(NetworkDenoiser(small_network(), schedule, "eps", clip=1.0), x, schedule, steps=3))
    pictures = sample_cifar10(2, steps=3, generator=generator())
    assert torch.allclose(pictures, expected, atol=1e-6) and pictures.std() > 0.1
    assert pictures.shape == (2, 3, 32, 32) and pictures.abs().max() <= 1
    assert hub.asked == [("google/ddpm-cifar10-32", name, "c0ffee") for name in ("config.json", WEIGHTS)]


def test_an_older_repository_has_a_pickle(hub):
    net = small_network()
    torch.save(to_diffusers(net)[1], hub.folder / "diffusion_pytorch_model.bin")
    hub.files[-1] = "diffusion_pytorch_model.bin"
    hub.sha256 = hashlib.sha256((hub.folder / "diffusion_pytorch_model.bin").read_bytes()).hexdigest()
    assert sample_cifar10(1, steps=1, generator=generator()).shape == (1, 3, 32, 32)


def test_an_altered_download_is_refused(hub):
    raw = bytearray((hub.folder / WEIGHTS).read_bytes())
    raw[-1] ^= 1
    (hub.folder / WEIGHTS).write_bytes(raw)
    with pytest.raises(ValueError, match="truncated or altered: its SHA-256"):
        download("somebody/something")


def test_another_kind_of_repository_is_named(hub):
    hub.files.remove(WEIGHTS)
    with pytest.raises(ValueError, match="somebody/something must hold config.json and one of .*, got README.md, config.json"):
        download("somebody/something")


@pytest.mark.parametrize("call", ["info", "download"])
@pytest.mark.parametrize("error", [HTTPError("no route"), OfflineModeIsEnabled("offline mode"), LocalEntryNotFoundError("not in the cache"),
                                   TimeoutError("too slow")], ids=lambda error: type(error).__name__)
def test_no_hub_is_said_plainly(hub, call, error):
    hub.errors[call] = error
    with pytest.raises(HubUnreachable, match=f"ddpm-cifar10-32 could not be fetched from the Hugging Face hub .{error}.*connection") as e:
        sample_cifar10()
    assert isinstance(e.value, ConnectionError) and e.value.__cause__ is error


def test_no_other_error_is_taken_for_it(hub):
    hub.errors["download"] = OSError(28, "No space left on device")
    with pytest.raises(OSError, match="No space left") as error:
        sample_cifar10()
    assert not isinstance(error.value, HubUnreachable)


def test_the_real_client_gives_up_at_once_without_a_hub(monkeypatch):
    """At an address where nothing answers, no retries."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.model_info.__self__, "endpoint", "http://127.0.0.1:9")
    start = time.monotonic()
    with pytest.raises(HubUnreachable, match="could not be fetched"):
        sample_cifar10()
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("options", [{"n": 0}, {"steps": 0}, {"steps": 1001}])
def test_arguments_are_checked_before_any_download(hub, options):
    with pytest.raises(ValueError, match="n must be at least 1 and steps lie in 1 .. 1000"):
        sample_cifar10(**options)
    assert hub.asked == []
