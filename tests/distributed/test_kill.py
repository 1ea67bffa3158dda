"""kill -9 at any moment: the checkpoint stays whole, at most the steps since it are lost, and the end is what it would have been."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
import toy
from PIL import Image

from diffusion_core import train, zoo
from diffusion_core.checkpoint import read_checkpoint
from diffusion_core.training import fit

EVERY = 3


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(value, b[key]) for key, value in a.items())


def read_journal(journal):
    """Steps done and the last one whose checkpoint was written."""
    notes = [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
    return max((note["step"] for note in notes), default=0), max((note["step"] for note in notes if note["saved"]), default=0)


def wait_for(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def test_kill_at_any_moment_loses_no_checkpoint(tmp_path, monkeypatch):
    """Five kills, each of the run that the one before left: two in the middle of writing, the others whenever it happens to be."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", f"{toy.ROOT}:{Path(toy.__file__).parent}")  # for the server that imports once and forks each run
    path, journal = tmp_path / "run.pt", tmp_path / "journal"
    partial = tmp_path / "run.pt.partial"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["toy", "accelerate", "torch._dynamo"])
    random.seed(0)
    writing = 0
    for kill in range(5):
        partial.unlink(missing_ok=True)
        before = read_journal(journal)[1]
        process = context.Process(target=toy.victim, args=(path, journal))
        process.start()
        if kill:  # the first dies before there is a checkpoint, or while it is written
            wait_for(lambda before=before: read_journal(journal)[1] > before)
        if kill % 2:
            wait_for(lambda: partial.exists() and partial.stat().st_size > 0)
        else:
            time.sleep(random.uniform(0, 0.2))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        writing += partial.exists()
        done, saved = read_journal(journal)
        assert path.exists() or saved == 0
        step = read_checkpoint(path)["step"] if path.exists() else 0
        assert saved <= step and done - step < EVERY
    assert writing >= 2  # the kills did hit what they were aimed at
    assert 0 < step < 60
    resumed = toy.last(fit(toy.denoiser(seed=7), toy.batch, toy.settings(steps=60), checkpoint=path, every=EVERY))
    whole = toy.last(fit(toy.denoiser(), toy.batch, toy.settings(steps=60), every=EVERY))
    assert equal(resumed.net.state_dict(), whole.net.state_dict()) and resumed.log == whole.log
    assert equal(resumed.ema.shadow.state_dict(), whole.ema.shadow.state_dict())


RECIPE = """
kind = "diffusion"
name = "killed"
predicts = "v"
every = 10
[schedule]
name = "cosine"
T = 100
[data]
source = "folder"
path = "{path}"
size = 8
label = "label"
[network]
channels = 8
groups = 4
head_channels = 8
classes = 3
[training]
steps = 80
batch = 8
micro = 2
"""


def test_a_killed_worker_and_a_second_launch(tmp_path):
    """One of two workers dies by SIGKILL: the launch ends, the next goes on, and ends with what one process that lived has."""
    for i in range(12):
        (tmp_path / "data" / f"class{i % 3}").mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 20 * i).save(tmp_path / "data" / f"class{i % 3}" / f"{i}.png")
    recipe = tmp_path / "killed.toml"
    recipe.write_text(RECIPE.format(path=tmp_path / "data"))

    def start():
        return toy.launch("-m", "diffusion_core.train", str(recipe), "--weights", str(tmp_path / "two"), "--checkpoints", str(tmp_path / "two"))

    first, path = start(), tmp_path / "two" / "killed.pt"
    wait_for(path.exists)
    workers = subprocess.run(["pgrep", "-P", str(first.pid)], capture_output=True, text=True, check=True).stdout.split()
    assert len(workers) == 2
    os.kill(int(workers[1]), signal.SIGKILL)
    assert first.wait(timeout=300) != 0 and not list(tmp_path.glob("*/*.safetensors"))
    assert 0 < read_checkpoint(path)["step"] < 80

    second = start()
    output, _ = second.communicate(timeout=300)
    assert second.returncode == 0, output
    train.run_recipe(recipe, weights=tmp_path, checkpoints=tmp_path / "one")
    (two, _, card), (one, _, card_of_one) = zoo.load("killed", tmp_path / "two"), zoo.load("killed", tmp_path)
    assert (card["processes"], card_of_one["processes"], card["steps"]) == (2, 1, 80)
    assert [loss for _, loss in card["log"]] == pytest.approx([loss for _, loss in card_of_one["log"]], rel=1e-4)
    for key, value in two.state_dict().items():
        torch.testing.assert_close(value, one.state_dict()[key], atol=1e-4, rtol=1e-4)
