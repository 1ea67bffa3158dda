"""The same work done by three packages: sample 16 pictures with guidance, and train on a batch.

All three see pictures of 28 x 28 folded into 4 channels of 14 x 14, predict v, and use the cosine schedule with 1,000 times, no
clipping, one optimiser, one gradient clipping and one moving average. Ours and diffusers' networks have the same blocks; lucidrains'
package has one architecture, taken at the same width and depth.
"""

import importlib.util
import os
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"  # lucidrains' sampler draws a bar; read when tqdm is imported

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from diffusion_core import NetworkDenoiser, Schedule, UNet, UNetConfig, ddim, distilled, final, guided, zoo  # noqa: E402
from diffusion_core.interop.onnx_runtime import onnx_denoiser  # noqa: E402
from diffusion_core.training import EMA, Settings, drop_labels, loss  # noqa: E402

T, CLASSES, PATCH, WIDTH, DROP, W = 1000, 10, 2, 32, 0.1, 1.0
SETTINGS = Settings(steps=1, gamma=None, drop=DROP)


class Contestant:
    """A network with `sample(x_T, labels, steps)` and `objective(x0, labels)`; training is one code for all."""

    name: str
    net: nn.Module

    def train_on(self, x0: Tensor, labels: Tensor) -> None:
        """One step of the optimiser and of the moving average."""
        if not hasattr(self, "optimiser"):
            self.optimiser = torch.optim.AdamW(self.net.parameters(), SETTINGS.lr, SETTINGS.betas, fused=True)
            self.ema = EMA(self.net)
        value = self.objective(x0, labels)
        self.optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), SETTINGS.clip_norm)
        self.optimiser.step()
        self.ema.update(self.net)
        value.item()


class Ours(Contestant):
    name = "this book"

    def __init__(self) -> None:
        self.net = UNet(UNetConfig(patch=PATCH, channels=WIDTH, classes=CLASSES))
        self.denoiser = NetworkDenoiser(self.net, Schedule.cosine(T), "v")

    def sample(self, x: Tensor, labels: Tensor, steps: int) -> Tensor:
        return final(ddim(guided(self.denoiser, W), x, self.denoiser.schedule, steps=steps, cond=labels))

    def objective(self, x0: Tensor, labels: Tensor) -> Tensor:
        t = torch.randint(1, T + 1, (len(x0),))
        return loss(self.denoiser, x0, t, torch.randn_like(x0), drop_labels(labels, DROP), SETTINGS.gamma)

    def evaluate(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        return self.net(x, t, labels)


class OursOnnx(Ours):
    """The same network and sampler, with ONNX Runtime in torch's place. It samples only."""

    name = "this book, ONNX Runtime"

    def __init__(self, ours: Ours) -> None:
        self.net, self.denoiser = ours.net, onnx_denoiser(ours.denoiser)


class OursDistilled(Contestant):
    """The guidance-distilled network of the book, which takes w as an input: one evaluation a step in place of two. It samples only."""

    name = "this book, ONNX Runtime, guidance distilled"

    def __init__(self) -> None:
        self.net, self.denoiser, _ = zoo.load("fashion_guided")
        self.leaning = distilled(onnx_denoiser(self.denoiser), W)

    def sample(self, x: Tensor, labels: Tensor, steps: int) -> Tensor:
        return final(ddim(self.leaning, x, self.denoiser.schedule, steps=steps, cond=labels))


class Diffusers(Contestant):
    name = "diffusers"

    def __init__(self) -> None:
        self.net = UNet2DModel(
            sample_size=28 // PATCH, in_channels=PATCH**2, out_channels=PATCH**2, layers_per_block=1, block_out_channels=(WIDTH, 2 * WIDTH),
            down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"), attention_head_dim=32,
            norm_num_groups=8, resnet_time_scale_shift="scale_shift", num_class_embeds=CLASSES + 1)
        options = {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction", "clip_sample": False}
        self.sampler, self.noiser = DDIMScheduler(timestep_spacing="trailing", **options), DDPMScheduler(**options)

    def evaluate(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        return F.pixel_shuffle(self.net(F.pixel_unshuffle(x, PATCH), t, labels).sample, PATCH)

    @torch.no_grad()
    def sample(self, x: Tensor, labels: Tensor, steps: int) -> Tensor:
        """Guidance in one batched call, as in its pipelines."""
        self.sampler.set_timesteps(steps)
        both = torch.cat([labels, torch.full_like(labels, CLASSES)])
        for t in self.sampler.timesteps:
            cond, null = self.evaluate(torch.cat([x, x]), t, both).chunk(2)
            x = self.sampler.step((1 + W) * cond - W * null, t, x).prev_sample
        return x

    def objective(self, x0: Tensor, labels: Tensor) -> Tensor:
        t, eps = torch.randint(0, T, (len(x0),)), torch.randn_like(x0)
        labels = torch.where(torch.rand(len(x0)) < DROP, CLASSES, labels)
        target = self.noiser.get_velocity(x0, eps, t)
        return F.mse_loss(self.evaluate(self.noiser.add_noise(x0, eps, t), t, labels), target)


class Lucidrains(Contestant):
    name = "denoising-diffusion-pytorch"

    def __init__(self) -> None:
        module = lucidrains_module()
        self.net = module.Unet(dim=WIDTH, dim_mults=(1, 2), num_classes=CLASSES, channels=PATCH**2, cond_drop_prob=DROP, attn_heads=2,
                               attn_dim_head=32)
        self.diffusion = lambda steps: module.GaussianDiffusion(
            self.net, image_size=28 // PATCH, timesteps=T, sampling_timesteps=steps, objective="pred_v", ddim_sampling_eta=0.0)
        self.cache: dict[int, nn.Module] = {}

    def process(self, steps: int) -> nn.Module:
        """Its process with that number of sampling steps; made once, because its tables are no part of a step."""
        if steps not in self.cache:
            self.cache[steps] = self.diffusion(steps)
        return self.cache[steps]

    def evaluate(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        return F.pixel_shuffle(self.net(F.pixel_unshuffle(x, PATCH), t, labels, cond_drop_prob=0.0), PATCH)

    def sample(self, x: Tensor, labels: Tensor, steps: int) -> Tensor:
        """Draws its own x_T, and clips x0, which it always does; its scale is 1 + w."""
        shape = (len(x), PATCH**2, 28 // PATCH, 28 // PATCH)
        with torch.no_grad():
            return F.pixel_shuffle(self.process(steps).ddim_sample(labels, shape, cond_scale=1 + W, rescaled_phi=0.0), PATCH)

    def objective(self, x0: Tensor, labels: Tensor) -> Tensor:
        return self.process(T)((F.pixel_unshuffle(x0, PATCH) + 1) / 2, classes=labels)


def lucidrains_module():
    """Its module classifier_free_guidance by path: the package's __init__ imports torchvision."""
    package = importlib.util.find_spec("denoising_diffusion_pytorch")
    if package is None:
        raise SystemExit("denoising-diffusion-pytorch is not installed: run `make bench`")
    path = Path(package.submodule_search_locations[0]) / "classifier_free_guidance.py"
    spec = importlib.util.spec_from_file_location("lucidrains_classifier_free_guidance", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
