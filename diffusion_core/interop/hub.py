"""A published network from the Hugging Face hub: download, check, sample."""

import hashlib
import json
from pathlib import Path

import torch
from torch import Tensor

from ..denoisers import NetworkDenoiser
from ..plots import progress
from ..samplers import ddim, final
from ..schedules import Schedule
from .diffusers_layout import from_diffusers
from .state import read_state

CIFAR10 = "google/ddpm-cifar10-32"  # Ho et al. 2020, in the layout of diffusers: eps, T = 1000, linear, no labels
WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")  # the first that a repository has is taken
PATIENCE = 10.0  # seconds to wait for the hub's first answer


class HubUnreachable(ConnectionError):
    """No answer, or none of use, from the hub; what had been downloaded stays, and the next call goes on from there."""


def sample_cifar10(n: int = 16, steps: int = 50, *, generator: torch.Generator | None = None) -> Tensor:
    """n pictures (n, 3, 32, 32) in [-1, 1] from the DDPM of Ho et al. 2020 trained on CIFAR-10, by DDIM with that many steps, on the CPU.

    The first call downloads about 140 MB into the cache of huggingface_hub, which must be installed; later calls find it there, but
    ask the hub for its checksum. generator draws the starting noise. Raises HubUnreachable, a ConnectionError, where there is no hub;
    ValueError for a download that is not what the hub says it is, for another kind of network, or for n below 1 or steps outside 1 .. 1000.
    """
    if not 1 <= steps <= 1000 or n < 1:
        raise ValueError(f"n must be at least 1 and steps lie in 1 .. 1000, got n = {n}, steps = {steps}")
    config, path = download(CIFAR10)
    schedule = Schedule.linear(1000)
    denoiser = NetworkDenoiser(from_diffusers(config, read_state(path)), schedule, "eps", clip=1.0)
    x = torch.randn(n, 3, 32, 32, generator=generator)
    return final(progress(ddim(denoiser, x, schedule, steps=steps), "DDIM", steps)).clamp(-1, 1)


def download(repo: str) -> tuple[dict, Path]:
    """config.json of a diffusers network on the hub, and the path of its weights in the local cache, their SHA-256 the one the hub states.

    Raises HubUnreachable, or ValueError where the repository has no such files or the checksum is another one.
    """
    from huggingface_hub import hf_hub_download, model_info  # not needed by anything else here, and slow to import
    from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError

    try:
        info = model_info(repo, files_metadata=True, timeout=PATIENCE)  # fails at once where there is no network; a download would retry
        files = {file.rfilename: file.lfs for file in info.siblings}
        name = next((name for name in WEIGHTS if files.get(name)), None)
        if name is None or "config.json" not in files:
            raise ValueError(f"{repo} must hold config.json and one of {', '.join(WEIGHTS)}, got {', '.join(sorted(files))}")
        config, path = (Path(hf_hub_download(repo, file, revision=info.sha)) for file in ("config.json", name))
    except (HTTPError, LocalEntryNotFoundError, ConnectionError, TimeoutError) as error:
        raise HubUnreachable(f"{repo} could not be fetched from the Hugging Face hub ({error}). It needs a connection to "
                             "huggingface.co; everything else in the book works without.") from error
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != files[name].sha256:
        raise ValueError(f"{path.resolve()} is truncated or altered: its SHA-256 is {found}, the hub states {files[name].sha256}; "
                         "delete it and call again")
    return json.loads(config.read_text("utf8")), path
