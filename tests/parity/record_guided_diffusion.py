"""Record what guided-diffusion computes, as data for the parity tests: none of its code is here or in the files written.

    git clone https://github.com/openai/guided-diffusion    (recorded with commit 22e0df8)
    python tests/parity/record_guided_diffusion.py PATH/TO/guided-diffusion

It writes into tests/parity/data:
  guided_diffusion_keys.json      names and shapes of two published networks' tensors, and their flags;
  guided_diffusion_outputs.npz    outputs of small networks with seeded weights: flags, names and shapes, seed, t, labels, output;
  guided_diffusion_vlb.npz        terms of the likelihood bound on random inputs; "meta" says what each array is.
The weights themselves are not stored: `seeded_state` makes them from names, shapes and a seed, here and in the tests.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).parent / "data"

# The flags that its README gives for two of its checkpoints.
PUBLISHED = {
    "64x64 class-conditional": dict(image_size=64, num_channels=192, num_res_blocks=3, num_head_channels=64, dropout=0.1,
                                    attention_resolutions="32,16,8", class_cond=True, learn_sigma=True, resblock_updown=True,
                                    use_scale_shift_norm=True, use_new_attention_order=True),
    "256x256 unconditional": dict(image_size=256, num_channels=256, num_res_blocks=2, num_head_channels=64,
                                  attention_resolutions="32,16,8", class_cond=False, learn_sigma=True, resblock_updown=True,
                                  use_scale_shift_norm=True),
}
SMALL = dict(image_size=16, num_channels=32, num_res_blocks=1, num_head_channels=16, channel_mult="1,2", attention_resolutions="8",
             learn_sigma=True, resblock_updown=True)
CASES = {
    "legacy order": SMALL,
    "new order": SMALL | dict(use_new_attention_order=True),
    "labels": SMALL | dict(use_new_attention_order=True, class_cond=True),
    "three levels": SMALL | dict(channel_mult="1,1,2", num_res_blocks=2, attention_resolutions="16,4"),
    "convolutions, four heads": SMALL | dict(resblock_updown=False, learn_sigma=False, num_head_channels=-1),
    "added embedding, attention in the middle only": SMALL | dict(use_scale_shift_norm=False, attention_resolutions="2"),
}


def seeded_state(shapes: dict[str, list[int]], seed: int) -> dict[str, torch.Tensor]:
    """Weights of the given names and shapes: normal, over the root of the inputs; biases of deviation .1; scales of norms around 1.

    Drawn by numpy's RandomState, whose streams do not change with its version.
    """
    draw, state = np.random.RandomState(seed), {}
    for name, shape in shapes.items():
        value = draw.standard_normal(shape)
        if len(shape) > 1:
            value /= np.prod(shape[1:]) ** 0.5
        else:
            value = 0.1 * value + name.endswith("weight")
        state[name] = torch.from_numpy(value).float()
    return state


def seeded_inputs(seed: int, side: int, classes: int | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """x (2, 3, side, side), t (2,) counting from 0, labels (2,) or None."""
    draw = np.random.RandomState(10_000 + seed)
    x = torch.from_numpy(draw.standard_normal((2, 3, side, side))).float()
    t = torch.from_numpy(draw.randint(0, 1000, 2))
    return x, t, None if classes is None else torch.from_numpy(draw.randint(0, classes, 2))


def build(script_util, flags: dict) -> torch.nn.Module:
    """Its model with its own defaults for the flags not given."""
    return script_util.create_model_and_diffusion(**script_util.model_and_diffusion_defaults() | flags)[0]


def shapes_of(model: torch.nn.Module) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in model.state_dict().items()}


def record_keys(script_util) -> None:
    found = {}
    for name, flags in PUBLISHED.items():
        with torch.device("meta"):
            found[name] = {"flags": flags, "shapes": shapes_of(build(script_util, flags))}
    (DATA / "guided_diffusion_keys.json").write_text(json.dumps(found, separators=(",", ":")) + "\n", "utf8")


def record_outputs(script_util) -> None:
    meta, arrays = {}, {}
    for seed, (name, flags) in enumerate(CASES.items()):
        model = build(script_util, flags).eval()
        shapes = shapes_of(model)
        model.load_state_dict(seeded_state(shapes, seed))
        x, t, labels = seeded_inputs(seed, flags["image_size"], 1000 if flags.get("class_cond") else None)
        with torch.no_grad():
            arrays[name] = model(x, t, labels).numpy()
        meta[name] = {"flags": flags, "seed": seed, "shapes": shapes}
    np.savez_compressed(DATA / "guided_diffusion_outputs.npz", meta=json.dumps(meta), **arrays)


VLB_META = {
    "what": "Terms of the likelihood bound by guided-diffusion's GaussianDiffusion, predicting eps, on random inputs; all float64.",
    "time": "The first axis is its t = 0 .. T - 1, one less than the book's; N is the number of pictures.",
    "float64": "Its tables are float64, but it looks coefficients up as float32: for this file that look-up alone was replaced by one "
               "that keeps float64. difference_to_float32 is the largest relative change of a term by it.",
    "betas": "(T,)",
    "x_start": "(N, C, H, W), grey levels k / 127.5 - 1, the first and the last of them included",
    "noise": "(T, N, C, H, W): x_t = sqrt(alpha_bar) x_start + sqrt(1 - alpha_bar) noise",
    "eps": "(T, N, C, H, W): the network's prediction",
    "variance_output": "(T, N, C, H, W): the second half of its channels, -1 for the posterior's variance, 1 for beta",
    "posterior_mean, posterior_variance, posterior_log_variance": "of q(x_{t-1} | x_t, x_0); the last has the value of t = 1 at t = 0",
    "mean, mean_clipped": "(T, N, C, H, W): of p, without and with x_0 limited to -1 .. 1",
    "log_variance_learned, _small, _large": "(T, N, C, H, W): of p, for LEARNED_RANGE, FIXED_SMALL, FIXED_LARGE",
    "terms_learned, _small, _large": "(T, N), bits per dimension, x_0 not limited: KL for t > 0, the decoder for t = 0 as published, "
                                     "which takes a tanh approximation of the normal distribution function",
    "terms_clipped_learned, _small, _large": "the same with x_0 limited to -1 .. 1",
    "decoder_exact_learned, _small, _large": "(N,): the term of t = 0 with that approximation replaced by the exact function",
    "decoder_exact_clipped_learned, _small, _large": "the same with x_0 limited to -1 .. 1",
    "prior": "(N,), bits per dimension",
}


def record_vlb(gd, losses) -> None:
    T, shape = 20, (3, 3, 2, 2)
    draw = np.random.RandomState(0)
    levels = draw.randint(0, 256, shape)
    levels[0, 0, 0] = 0, 255
    arrays = {"betas": np.linspace(0.01, 0.5, T), "x_start": levels / 127.5 - 1,
              "noise": draw.standard_normal((T, *shape)).round(4), "variance_output": draw.uniform(-1, 1, (T, *shape)).round(4)}
    arrays["eps"] = (arrays["noise"] + 0.3 * draw.standard_normal((T, *shape))).round(4)
    x0, noise, eps, variance = (torch.from_numpy(arrays[name]) for name in ("x_start", "noise", "eps", "variance_output"))
    kinds = {"learned": "LEARNED_RANGE", "small": "FIXED_SMALL", "large": "FIXED_LARGE"}

    def terms(kind: str, clip: bool, times: range = range(T)) -> tuple[torch.Tensor, list[dict]]:
        process, found, predicted = processes[kind], [], []
        for i in times:
            t = torch.full((len(x0),), i)
            x_t = process.q_sample(x0, t, noise=noise[i])
            out = torch.cat([eps[i], variance[i]], 1) if kind == "learned" else eps[i]
            found.append(process._vb_terms_bpd(lambda *_, out=out: out, x0, x_t, t, clip_denoised=clip)["output"])
            predicted.append(process.p_mean_variance(lambda *_, out=out: out, x_t, t, clip_denoised=clip)
                             | dict(zip(("q_mean", "q_variance", "q_log"), process.q_posterior_mean_variance(x0, x_t, t), strict=True)))
        return torch.stack(found), predicted

    processes = {kind: gd.GaussianDiffusion(betas=arrays["betas"], model_mean_type=gd.ModelMeanType.EPSILON,
                                            model_var_type=getattr(gd.ModelVarType, theirs), loss_type=gd.LossType.MSE)
                 for kind, theirs in kinds.items()}
    as_published = {kind: terms(kind, False)[0] for kind in kinds}
    gd._extract_into_tensor = lambda table, t, shape: torch.from_numpy(table)[t].reshape(-1, *[1] * (len(shape) - 1)).expand(shape)
    difference = 0.0
    for kind in kinds:
        for clip in (False, True):
            name = f"clipped_{kind}" if clip else kind
            arrays[f"terms_{name}"], predicted = terms(kind, clip)
            arrays[f"log_variance_{kind}"] = torch.stack([p["log_variance"] for p in predicted])
            arrays["mean_clipped" if clip else "mean"] = torch.stack([p["mean"] for p in predicted])  # the same for every variance
        change = (as_published[kind] - arrays[f"terms_{kind}"]) / arrays[f"terms_{kind}"]
        difference = max(difference, change.abs().max().item())
    for name, key in (("mean", "q_mean"), ("variance", "q_variance"), ("log_variance", "q_log")):
        arrays[f"posterior_{name}"] = torch.stack([p[key] for p in predicted])
    for name in ("variance", "log_variance"):
        arrays[f"posterior_{name}"] = arrays[f"posterior_{name}"][:, 0, 0, 0, 0]
    arrays["prior"] = processes["small"]._prior_bpd(x0)
    losses.approx_standard_normal_cdf = torch.special.ndtr
    for kind in kinds:
        for clip in (False, True):
            arrays[f"decoder_exact_{f'clipped_{kind}' if clip else kind}"] = terms(kind, clip, range(1))[0][0]
    arrays = {name: np.asarray(value) for name, value in arrays.items()}
    assert all(value.dtype == np.float64 for value in arrays.values())
    np.savez_compressed(DATA / "guided_diffusion_vlb.npz", meta=json.dumps(VLB_META | {"difference_to_float32": difference}), **arrays)


def main() -> None:
    parser = argparse.ArgumentParser(description="Record what a checkout of guided-diffusion computes.")
    parser.add_argument("checkout", type=Path, help="folder of a clone of github.com/openai/guided-diffusion")
    checkout = parser.parse_args().checkout
    if not (checkout / "guided_diffusion" / "unet.py").is_file():
        parser.error(f"{checkout} holds no guided_diffusion/unet.py")
    sys.path.insert(0, str(checkout))
    from guided_diffusion import gaussian_diffusion, losses, script_util

    DATA.mkdir(exist_ok=True)
    record_keys(script_util)
    record_outputs(script_util)
    record_vlb(gaussian_diffusion, losses)


if __name__ == "__main__":
    main()
