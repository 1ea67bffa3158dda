"""Values as bytes: what may pass between a student's process and the grader's.

Data only: numbers, text, tensors, lists, tuples, dicts, seeds of noise, and the book's `Schedule` and `Prediction`. A function passes
as a number that stands for it, so calling it sends a message back. Nothing is unpickled, and no type comes from the other side.
"""

import inspect
import json
import math
import struct
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np
import torch

from diffusion_core import Prediction, Schedule
from diffusion_core.denoisers import FunctionDenoiser

DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in
          (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.float32, torch.float64)}
LAZY = (Iterator, range, map, zip, filter, type({}.keys()), type({}.values()), type({}.items()))
MAX_TREE, MAX_ARRAYS, MAX_ITEMS, MAX_DEPTH = 4 << 20, 64 << 20, 100_000, 50
FRAME = struct.Struct(">QQ")


class WireError(Exception):
    """A value that may not pass, or bytes that are none of ours."""


def encode(value: Any, give: Callable[[Callable], int], arrays: list[torch.Tensor], depth: int = 0) -> Any:
    """`value` as JSON, its tensors appended to `arrays`; give(function) says which number stands for a function. WireError otherwise."""
    if depth > MAX_DEPTH:
        raise WireError(f"a value may be nested {MAX_DEPTH} deep")
    inner = lambda item: encode(item, give, arrays, depth + 1)
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        value = torch.as_tensor(np.ascontiguousarray(value))
    if isinstance(value, torch.Tensor):
        arrays.append(value.detach().cpu().contiguous())
        if str(value.dtype).removeprefix("torch.") not in DTYPES:
            raise WireError(f"a tensor of dtype {value.dtype} cannot pass: {', '.join(DTYPES)} can")
        return ["array", len(arrays) - 1, str(value.dtype).removeprefix("torch."), list(value.shape)]
    if isinstance(value, torch.Generator):
        arrays.append(value.get_state())
        return ["generator", len(arrays) - 1]
    if isinstance(value, Prediction):
        return ["prediction", *(inner(item) for item in (value.x_t, value.alpha_bar, value.kind, value.value, value.fraction))]
    if isinstance(value, Schedule):
        return ["schedule", inner(value.alpha_bar)]
    if isinstance(value, LAZY):
        value = _first(value)
    if isinstance(value, (list, tuple)):
        return ["tuple" if isinstance(value, tuple) else "list", *map(inner, value)]
    if isinstance(value, dict):
        return ["dict", *([inner(key), inner(item)] for key, item in value.items())]
    if callable(value):
        schedule = getattr(value, "schedule", None)
        return ["function", give(value), inner(schedule) if isinstance(schedule, Schedule) else None]
    raise WireError(f"numbers, text, tensors, lists, tuples and dicts can pass, and a {type(value).__name__} cannot")


def decode(tree: Any, take: Callable[[int], Callable], arrays: list[torch.Tensor]) -> Any:
    """The value that `encode` took apart; take(number) gives the function that a number stands for. WireError for anything else."""
    if not isinstance(tree, list):
        return tree
    inner = lambda item: decode(item, take, arrays)
    try:
        kind, *rest = tree
        if kind == "array":
            number, dtype, shape = rest
            return arrays[number].view(DTYPES[dtype]).reshape(shape).clone()
        if kind == "generator":
            generator = torch.Generator()
            generator.set_state(arrays[rest[0]].clone())
            return generator
        if kind == "prediction":
            return Prediction(*map(inner, rest))
        if kind == "schedule":
            return Schedule(inner(rest[0]))
        if kind == "function":
            function, schedule = take(rest[0]), inner(rest[1])
            return function if schedule is None else FunctionDenoiser(schedule, lambda x_t, t, cond: function(x_t, t, cond))
        if kind == "dict":
            return {inner(key): inner(item) for key, item in rest}
        return {"list": list, "tuple": tuple}[kind](map(inner, rest))
    except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:  # RecursionError is a RuntimeError
        raise WireError(f"no value of ours: {type(error).__name__}: {error}") from error


def send(stream: BinaryIO, message: Any, give: Callable[[Callable], int]) -> None:
    """Write one message. WireError, with nothing written, if it is too large or holds what may not pass."""
    arrays: list[torch.Tensor] = []
    try:
        tree = json.dumps(encode(message, give, arrays)).encode()
    except RecursionError as error:
        raise WireError("a value holds itself") from error
    parts = [array.reshape(-1).view(torch.uint8).numpy().tobytes() if array.numel() else b"" for array in arrays]
    sizes = json.dumps([len(part) for part in parts]).encode()
    if len(tree) > MAX_TREE or sum(map(len, parts)) > MAX_ARRAYS:
        raise WireError(f"a value may take {MAX_ARRAYS >> 20} MB, and {MAX_TREE >> 20} MB beside its tensors")
    head = struct.pack(">I", len(sizes)) + sizes + tree
    stream.write(FRAME.pack(len(head), sum(map(len, parts))) + head + b"".join(parts))
    stream.flush()


def receive(read: Callable[[int], bytes], take: Callable[[int], Callable]) -> Any:
    """The next message, from read(n), which gives exactly n bytes. EOFError at the end; WireError for bytes that are none of ours."""
    head_size, arrays_size = FRAME.unpack(read(FRAME.size))
    if not 4 <= head_size <= 2 * MAX_TREE or arrays_size > MAX_ARRAYS:
        raise WireError(f"no message of ours: {head_size} and {arrays_size} bytes")
    head, body = read(head_size), read(arrays_size)
    try:
        (sizes_size,) = struct.unpack(">I", head[:4])
        sizes, tree = json.loads(head[4 : 4 + sizes_size]), json.loads(head[4 + sizes_size :])
        if any(type(size) is not int or size < 0 for size in sizes) or sum(sizes) != arrays_size:
            raise ValueError("the sizes of the tensors do not fit")
    except (ValueError, TypeError, RecursionError, struct.error) as error:
        raise WireError(f"no message of ours: {error}") from error
    arrays, start = [], 0
    for size in sizes:
        arrays.append(torch.frombuffer(bytearray(body[start : start + size]), dtype=torch.uint8) if size else torch.empty(0, dtype=torch.uint8))
        start += size
    return decode(tree, take, arrays)


def plain(value: Any) -> Any:
    """`value` as it would arrive on the other side, functions as they are: tensors detached and copied, arrays as tensors."""
    arrays, functions = [], []

    def give(function: Callable) -> int:
        functions.append(function)
        return len(functions) - 1

    tree = encode(value, give, arrays)
    return decode(tree, functions.__getitem__, [_bytes(array) for array in arrays])


def _bytes(array: torch.Tensor) -> torch.Tensor:
    return array.reshape(-1).view(torch.uint8) if array.numel() else torch.empty(0, dtype=torch.uint8)


def _first(items: Any) -> list:
    found = []
    for item in items:
        found.append(item)
        if len(found) > MAX_ITEMS:
            raise WireError(f"a sequence may have {MAX_ITEMS} items")
    return found
