"""Networks as ONNX files, and ONNX Runtime in a network's place: the same denoiser, faster on CPUs and fit for a browser.

Needs the packages onnx, onnxscript and onnxruntime, which are imported when first used.
"""

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..denoisers import NetworkDenoiser, rows
from ..evaluation import FashionClassifier
from ..pixels import PixelNet
from ..unet import UNet


def to_onnx(net: UNet, side: int = 28) -> bytes:
    """The network as an ONNX file with inputs x (n, C, side, side), t (n,), cond (n,) where it has labels, w (n,) where it is weighted.

    x and w are float32, t and cond int64, -1 for no label; the output is "out". The batch n is free, the resolution is fixed. Raises
    ValueError for a side the network cannot take.
    """
    config = net.config
    inputs = {"x": torch.zeros(2, config.in_channels, side, side), "t": torch.zeros(2, dtype=torch.long)}
    if config.classes is not None:
        inputs["cond"] = torch.zeros(2, dtype=torch.long)  # a tensor of its own: the exporter takes one tensor for one input
    if config.weighted:
        inputs["w"] = torch.zeros(2)
    return _exported(net, inputs)


def pixels_to_onnx(net: PixelNet) -> bytes:
    """The pixel network, given no label, as an ONNX file: levels x (n, size, size), int64 in 0 .. K, to logits "out" (n, K, size, size); n is free.

    Levels out of range, which the network refuses, are not noticed in the file: they count as none of the levels.
    """
    return _exported(_Unlabelled(net), {"x": torch.zeros(2, net.config.size, net.config.size, dtype=torch.long)})


def classifier_to_onnx(net: FashionClassifier) -> bytes:
    """The classifier as an ONNX file: pictures x (n, 1, 28, 28), float32 in [-1, 1], to class logits "out" (n, 10); n is free."""
    return _exported(net, {"x": torch.zeros(2, 1, 28, 28)})


class _Unlabelled(nn.Module):
    """A pixel network without its look at the values it is given, which no graph can hold."""

    def __init__(self, net: PixelNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        net, levels = self.net, torch.arange(self.net.config.levels + 1, device=x.device)
        bias = None if net.label is None else net.label.weight[-1:]
        return net.out(net.trunk((x[:, None] == levels[:, None, None]).to(net.out.weight.dtype), bias))


def _exported(net: nn.Module, inputs: dict[str, Tensor]) -> bytes:
    """The network as an ONNX file, in float32, with these inputs (2 rows each) of any number of rows, and nothing in it but what is computed.

    The exporter notes for each step the line of code, with its folder: an eighth of the file, and other bytes for the same network elsewhere.
    """
    net = copy.deepcopy(net).cpu().float().eval().to(memory_format=torch.contiguous_format)
    net(**inputs)  # raises what the network objects to, before the exporter wraps it
    n = torch.export.Dim("n")
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")  # says of each of torchvision's operations that it is not there
    with warnings.catch_warnings(), at_level(logger, logging.ERROR):
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(net, kwargs=inputs, input_names=list(inputs), output_names=["out"], dynamo=True, verbose=False,
                                    dynamic_shapes={name: {0: n} for name in inputs})
    proto = program.model_proto
    del proto.graph.value_info[:]
    for part in (proto.graph, *proto.graph.node, *proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        part.ClearField("metadata_props")
    return proto.SerializeToString(deterministic=True)


@contextlib.contextmanager
def at_level(logger: logging.Logger, level: int) -> Iterator[None]:
    """The logger at another level for a while."""
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)


class OnnxNetwork:
    """An ONNX file, bytes or a path, of `to_onnx` as net(x, t, cond, w), run by ONNX Runtime on the CPU; the result lies where x does.

    Each of `threads` threads (None: as many as torch uses) takes its share of the rows, which need nothing from each other: a fifth faster
    than sharing every operation. Raises ValueError for a file that ONNX Runtime cannot read.
    """

    def __init__(self, model: bytes | Path, threads: int | None = None) -> None:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.threads = threads or torch.get_num_threads()
        try:
            self.session = onnxruntime.InferenceSession(model if isinstance(model, bytes) else str(model), options, ["CPUExecutionProvider"])
        except (state.InvalidProtobuf, state.InvalidGraph, state.InvalidArgument, state.NoSuchFile, state.Fail) as error:
            raise ValueError(f"no ONNX network: {error}") from error
        self.inputs = [i.name for i in self.session.get_inputs()]
        self.pool = ThreadPoolExecutor(self.threads)

    def __call__(self, x: Tensor, t: Tensor, cond: Tensor | None = None, w: Tensor | None = None) -> Tensor:
        if "cond" in self.inputs:
            cond = rows(cond, x)
        given = {name: value for name, value in {"x": x.float(), "t": t, "cond": cond, "w": w}.items() if value is not None}
        if sorted(given) != sorted(self.inputs):
            raise ValueError(f"this network takes {', '.join(self.inputs)}, got {', '.join(given)}")
        arrays = {name: value.detach().cpu().contiguous().numpy() for name, value in given.items()}
        share = max(1, -(-len(x) // self.threads))
        parts = self.pool.map(lambda i: self.session.run(["out"], {name: a[i : i + share] for name, a in arrays.items()})[0], range(0, len(x), share))
        return torch.from_numpy(np.concatenate(list(parts))).to(x)


def onnx_denoiser(denoiser: NetworkDenoiser, side: int = 28, threads: int | None = None) -> NetworkDenoiser:
    """The denoiser with its UNet run by ONNX Runtime: takes its place in every sampler and every guidance that needs no gradient."""
    return NetworkDenoiser(OnnxNetwork(to_onnx(denoiser.net, side), threads), denoiser.schedule, denoiser.predicts, denoiser.clip)
