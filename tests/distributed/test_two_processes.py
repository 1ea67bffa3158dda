"""Two processes train what one trains: the same loss curve, weights and average, on disjoint shares of the data."""

import io

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
import toy
from PIL import Image

from diffusion_core.data import Stream
from diffusion_core.training import fit

ROWS = 24  # 6 steps of 8 pictures are two epochs


def write_rows(folder):
    """Four Parquet files of plain pictures, whose grey level says which row it is."""
    folder.mkdir()
    for k in range(4):
        pictures = []
        for i in range(ROWS)[k::4]:
            file = io.BytesIO()
            Image.new("L", (8, 8), 10 * i).save(file, "png")
            pictures.append({"bytes": file.getvalue(), "path": None})
        parquet.write_table(pa.table({"image": pictures, "y": [i % 3 for i in range(ROWS)[k::4]]}), folder / f"{k}.parquet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    write_rows(folder / "data")
    process = toy.launch(str(toy.ROOT / "tests" / "distributed" / "two_processes.py"), str(folder))
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return folder


@pytest.fixture(scope="module")
def both(folder):
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.fixture(scope="module")
def one():
    return toy.last(fit(toy.denoiser(), toy.batch, toy.settings(), every=1))


def close(a, b, tolerance=1e-5):
    assert a.keys() == b.keys()
    for key, value in a.items():
        torch.testing.assert_close(value, b[key], atol=tolerance, rtol=tolerance)


def test_the_loss_curve_is_that_of_one_process(both, one):
    assert [step for step, _ in one.log] == list(range(1, 13))
    for found in both:
        assert [loss for _, loss in found["log"]] == pytest.approx([loss for _, loss in one.log], rel=1e-5)


def test_weights_and_average_are_those_of_one_process(both, one):
    for found in both:
        close(found["net"], one.net.state_dict())
        close(found["ema"], one.ema.shadow.state_dict())


def test_both_processes_end_with_the_same_bits(both):
    for part in ("net", "ema"):
        assert all(torch.equal(value, both[1][part][key]) for key, value in both[0][part].items())


def test_resume_is_bit_identical(both):
    for found in both:
        assert all(torch.equal(value, found[part][key]) for part in ("net", "ema") for key, value in found["resumed"][part].items())


def test_processes_that_begin_differently_take_the_first_ones_weights(both):
    for part in ("net", "ema"):
        assert all(torch.equal(value, both[1]["other start"][part][key]) for key, value in both[0]["other start"][part].items())
    close(both[1]["other start"]["ema"], toy.last(fit(toy.denoiser(seed=0), toy.batch, toy.settings(steps=2))).ema.shadow.state_dict())


def test_each_row_is_seen_once_an_epoch_by_one_process(both):
    """seen: (12 micro-batches, 2 rows) for each process, two a step; three steps make an epoch."""
    rows = [((found["seen"] + 1) * 127.5 / 10).round().long().reshape(6, -1) for found in both]
    for epoch in (slice(0, 3), slice(3, 6)):
        shares = [set(part[epoch].flatten().tolist()) for part in rows]
        assert len(shares[0]) == len(shares[1]) == ROWS // 2 and shares[0] | shares[1] == set(range(ROWS))


def test_streamed_data_train_the_network_of_one_process(both, folder):
    """Also resumed by one process in the middle, from the checkpoint that two wrote: positions belong to micro-batches, not to processes."""
    def objective(denoiser, x0, t, eps, cond):
        return ((denoiser(x0, t, cond).v - eps) ** 2).mean()

    stream = Stream("parquet", str(folder / "data"), size=8, channels=1, label="y", buffer=4)
    run = toy.last(fit(toy.denoiser(), stream, toy.settings(steps=6), objective=objective))
    close(both[0]["stream net"], run.net.state_dict())
    resumed = toy.last(fit(toy.denoiser(seed=5), stream, toy.settings(steps=6), objective=objective, checkpoint=folder / "stream.pt"))
    assert resumed.step == 6
    close(resumed.net.state_dict(), run.net.state_dict())
    numbers = [resumed.lanes[k](None, 2)[0][:, 0, 0, 0].tolist() for k in range(4)]
    assert numbers == [run.lanes[k](None, 2)[0][:, 0, 0, 0].tolist() for k in range(4)]


def test_what_cannot_be_shared_is_refused(both):
    assert all("a batch of 8 in micro-batches of 8 gives 1, which 2 processes cannot share" in found["refused"] for found in both)


def test_a_checkpoint_that_one_process_cannot_see_is_refused(both):
    assert all("the processes stand at steps [6, 0]" in found["apart"] for found in both)
