"""One step of the cluster recipes, shrunken to what a CPU can carry, through the command that their comments give."""

import io
import re
import tarfile

import pytest
import toy
from PIL import Image

from diffusion_core import zoo

SMALLER = {"channels": 32, "blocks": 1, "head_channels": 32, "size": 64, "steps": 1, "batch": 4, "micro": 2, "buffer": 4, "threads": 1}


def write_shards(folder):
    for k in range(2):
        with tarfile.open(folder / f"train-{k}.tar", "w") as tar:
            for i in range(4):
                picture = io.BytesIO()
                Image.new("RGB", (90, 70), (60 * i, 80 * k, 128)).save(picture, "jpeg")
                for suffix, content in (("jpg", picture.getvalue()), ("cls", str(100 * k + i).encode())):
                    info = tarfile.TarInfo(f"{k}{i:03d}.{suffix}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize("name", ["imagenet64", "imagenet256"])
def test_one_step_in_bfloat16(name, tmp_path):
    write_shards(tmp_path)
    text = (toy.ROOT / "recipes" / "cluster" / f"{name}.toml").read_text("utf8").replace("data/imagenet/", f"{tmp_path}/")
    for key, value in SMALLER.items():
        text, found = re.subn(rf"^{key} = .*$", f"{key} = {value}", text, flags=re.MULTILINE)
        assert found == 1, key
    (tmp_path / "small.toml").write_text(text)
    process = toy.launch("-m", "diffusion_core.train", str(tmp_path / "small.toml"), "--weights", str(tmp_path), "--checkpoints", str(tmp_path),
                         processes=1, precision="bf16")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    net, _, card = zoo.load(name, tmp_path)
    assert (card["steps"], net.config.classes, net.config.in_channels) == (1, 1000, 3)
    assert all(value.dtype.itemsize == 4 for value in net.state_dict().values())  # bfloat16 is how it computes, not what it keeps
