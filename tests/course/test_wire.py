"""What passes between a student's process and the grader's, and what does not."""

import io
import json
import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course import wire
from course.task import same
from diffusion_core import Prediction, Schedule

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=4),
    max_leaves=12,
)


def passed(value):
    """The value after a journey through bytes."""
    stream, functions = io.BytesIO(), []
    wire.send(stream, value, lambda function: functions.append(function) or len(functions) - 1)
    stream.seek(0)
    return wire.receive(stream.read, functions.__getitem__)


@settings(deadline=None, max_examples=200)
@given(PLAIN)
def test_data_arrive_as_they_left(value):
    assert passed(value) == value == wire.plain(value)


@pytest.mark.parametrize("dtype", wire.DTYPES.values(), ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 2), (2, 3)], ids=str)
def test_tensors_arrive_as_they_left(dtype, shape):
    value = torch.randn(shape, generator=torch.Generator().manual_seed(0)).mul(3).abs().to(dtype)
    found = passed({"a": [value, value.T if value.dim() == 2 else value]})["a"]
    assert found[0].dtype == dtype and torch.equal(found[0], value) and found[0].shape == value.shape
    assert value.dim() != 2 or torch.equal(found[1], value.T)


def test_arrays_numbers_and_iterators_arrive_as_what_they_hold():
    found = passed([np.arange(3.0), np.float32(0.5), np.int64(7), range(3), (x * x for x in range(3)), zip([1], [2]), {1: 2}.items()])
    assert torch.equal(found[0], torch.arange(3, dtype=torch.float64)) and found[1:] == [0.5, 7, [0, 1, 2], [0, 1, 4], [(1, 2)], [(1, 2)]]


def test_a_parameter_arrives_as_a_tensor_without_a_gradient():
    found = passed(torch.nn.Parameter(torch.ones(2)))
    assert type(found) is torch.Tensor and not found.requires_grad


def test_a_generator_arrives_in_its_state():
    generator = torch.Generator().manual_seed(5)
    torch.randn(3, generator=generator)
    copy = passed(generator)
    assert torch.equal(torch.randn(4, generator=copy), torch.randn(4, generator=generator))


def test_schedules_predictions_and_denoisers_arrive_as_such():
    schedule, x = Schedule.cosine(20), torch.ones(2, 1, dtype=torch.float64)
    prediction = Prediction(x, schedule.at(7), "v", 2 * x)
    found = passed([schedule, prediction])
    assert torch.equal(found[0].alpha_bar, schedule.alpha_bar) and torch.equal(found[1].x0, prediction.x0) and found[1].kind == "v"

    class Denoiser:
        def __call__(self, x_t, t, cond=None):
            return Prediction(x_t, self.schedule.at(t), "x0", 0 * x_t)

    denoiser = Denoiser()
    denoiser.schedule = schedule
    other = passed(denoiser)
    assert len(other.schedule) == 20 and torch.equal(other(x, 3).x0, 0 * x)


def test_a_copy_is_a_copy():
    value = torch.zeros(3)
    wire.plain([value])[0].add_(1)
    assert torch.equal(value, torch.zeros(3))


@pytest.mark.parametrize("value", [object(), torch.nn.Linear(1, 1).state_dict, 1j, {1, 2}, b"x", torch.zeros(1, dtype=torch.complex64)], ids=lambda v: type(v).__name__)
def test_what_is_no_data_cannot_pass(value):
    if callable(value):
        assert callable(passed(value))
        return
    with pytest.raises(wire.WireError):
        passed(value)


def test_a_value_that_holds_itself_or_is_too_large_cannot_pass_and_nothing_is_written():
    ring = []
    ring.append(ring)
    for value in (ring, torch.zeros(wire.MAX_ARRAYS // 4 + 1), "x" * (wire.MAX_TREE + 1), iter(int, 1)):
        stream = io.BytesIO()
        with pytest.raises(wire.WireError):
            wire.send(stream, value, lambda function: 0)
        assert not stream.getvalue()


def frame(tree, sizes=(), body=b""):
    head = json.dumps(list(sizes)).encode()
    head = struct.pack(">I", len(head)) + head + (tree if isinstance(tree, bytes) else json.dumps(tree).encode())
    return wire.FRAME.pack(len(head), len(body)) + head + body


@pytest.mark.parametrize("data", [
    b"\x00" * 16, b"\xff" * 16, wire.FRAME.pack(10, 1 << 40), frame(b"{"), frame(b"[" * 100_000), frame(["object", 1]), frame([]), frame([["list"]]),
    frame(["array", 0, "float64", [3]], [8], b"x" * 8), frame(["array", 5, "float64", [1]], [8], b"x" * 8), frame(["array", 0, "object", [1]], [8], b"x" * 8),
    frame(["array", 0, "float64", [-1, -1]], [8], b"x" * 8), frame(["generator", 0], [3], b"abc"), frame(["schedule", 3]), frame(["prediction", 1, 2, 3, 4, 5]),
    frame(["dict", [["list"], 1]]), frame(["function", 9, None]), frame(1, [4], b""), frame(1, [-4, 4], b""), frame(1, ["a"], b""),
], ids=range(20))
def test_bytes_that_are_none_of_ours_are_refused(data):
    with pytest.raises(wire.WireError):
        wire.receive(io.BytesIO(data + b"\0" * 64).read, [].__getitem__)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=80))
def test_random_bytes_do_no_more_than_be_refused(data):
    stream = io.BytesIO(data)

    def read(size):
        found = stream.read(size)
        if len(found) < size:
            raise EOFError
        return found

    try:
        wire.receive(read, [].__getitem__)
    except (wire.WireError, EOFError):
        pass


def test_transcripts_are_compared_by_value():
    assert same([1.0, torch.ones(2)], (1.0, torch.ones(2, dtype=torch.float64) * (1 + 1e-9)))
    assert not same([1.0], [1.0, 1.0]) and not same(torch.ones(2), torch.ones(3)) and not same(1.0, 1.1) and same(float("nan"), float("nan"))
    one, other = Schedule.cosine(20), Schedule.linear(20)
    assert same(one, Schedule.cosine(20)) and not same(one, other)
    x = torch.ones(2, 1, dtype=torch.float64)
    assert same(Prediction(x, one.at(7), "x0", x), Prediction(x, one.at(7), "x0", x.clone())) and not same(Prediction(x, one.at(7), "x0", x), Prediction(x, one.at(7), "eps", x))
    assert not same({"a": 1}, {"b": 1}) and same({"a": [1]}, {"a": [1]}) and not same("a", "b") and not same(torch.ones(2), 1.0)
