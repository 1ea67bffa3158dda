"""Pictures streamed from disk: what a row becomes, every row once an epoch whatever the number of lanes, and exact resume."""

import io
import itertools
import tarfile

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diffusion_core.data import Stream

ROWS = 23  # no multiple of anything
SOURCES = {"folder": {"label": "label"}, "parquet": {"label": "y"}, "webdataset": {"image": "png", "label": "cls"}}
every_source = pytest.mark.parametrize("source", SOURCES)


def png(i, size=(6, 4)):
    """A plain picture whose grey level says which row it is."""
    file = io.BytesIO()
    Image.new("L", size, 10 * i).save(file, "png")
    return file.getvalue()


def write(source, folder, rows=ROWS, files=3):
    """Rows 0 .. rows - 1, the class of row i being i % 3, in `files` shards (a folder has a file each)."""
    shards = [range(rows)[k::files] for k in range(files)]
    if source == "folder":
        for i in range(rows):
            (folder / f"class{i % 3}").mkdir(exist_ok=True)
            (folder / f"class{i % 3}" / f"{i}.png").write_bytes(png(i))
    for k, shard in enumerate(shards):
        if source == "parquet":
            table = pa.table({"image": [{"bytes": png(i), "path": f"{i}.png"} for i in shard], "y": [i % 3 for i in shard]})
            parquet.write_table(table, folder / f"{k}.parquet", row_group_size=2)
        if source == "webdataset":
            with tarfile.open(folder / f"{k}.tar", "w") as tar:
                for i in shard:
                    for suffix, content in (("png", png(i)), ("cls", str(i % 3).encode())):
                        info = tarfile.TarInfo(f"{i:03d}.{suffix}")
                        info.size = len(content)
                        tar.addfile(info, io.BytesIO(content))
    return folder


def stream(source, folder, **options):
    return Stream(**{"source": source, "path": str(folder), "size": 4, "channels": 1, "buffer": 4} | SOURCES[source] | options)


def take(lane, calls, n):
    """The numbers of the rows in the next `calls` batches of n, their labels checked."""
    numbers = []
    for _ in range(calls):
        pictures, labels = lane(None, n)
        rows = ((pictures[:, 0, 0, 0] + 1) * 127.5 / 10).round().long()
        assert labels is None or torch.equal(labels, rows % 3)
        numbers += rows.tolist()
    return numbers


@every_source
@pytest.mark.parametrize("lanes", [1, 2, 3, 5])
def test_every_row_once_an_epoch_over_all_lanes(source, lanes, tmp_path):
    """Five lanes are more than three files: then each reads all files and keeps its share."""
    data = stream(source, write(source, tmp_path))
    epochs = [[take_epoch(data, k, lanes, epoch) for k in range(lanes)] for epoch in range(2)]
    for parts in epochs:
        assert sorted(itertools.chain(*parts)) == list(range(ROWS))
    assert epochs[0] != epochs[1] and list(itertools.chain(*epochs[0])) != list(range(ROWS))


def take_epoch(data, k, lanes, epoch):
    lane, numbers = data.lane(k, lanes), []
    for _ in range(100):
        number = take(lane, 1, 1)
        now = lane.state_dict()["position"]["epoch"]
        if now > epoch:
            return numbers
        if now == epoch:
            numbers += number
    raise AssertionError("no end of the epoch")


@every_source
@pytest.mark.parametrize("batches", [1, 2, 5, 9])
def test_resume_is_exact(source, batches, tmp_path):
    """Stopped within a shuffled block, at its end, at the end of an epoch and after it; rows decoded ahead are not lost."""
    data = stream(source, write(source, tmp_path))
    whole = take(data.lane(0, 2), 15, 3)
    lane = data.lane(0, 2)
    begin = take(lane, batches, 3)
    state = lane.state_dict()
    take(lane, 1, 3)  # the state is a record, which reading on does not move
    later = data.lane(0, 2)
    later.load_state_dict(state)
    assert begin + take(later, 15 - batches, 3) == whole


def test_the_state_survives_a_checkpoint(tmp_path):
    lane = stream("parquet", write("parquet", tmp_path)).lane(0, 1)
    take(lane, 3, 3)
    torch.save(lane.state_dict(), tmp_path / "state")
    assert torch.load(tmp_path / "state", weights_only=True) == lane.state_dict()


def test_batches_of_changing_size_lose_nothing(tmp_path):
    data = stream("parquet", write("parquet", tmp_path))
    whole, lane = take(data.lane(0, 1), 20, 1), data.lane(0, 1)
    assert [i for n in (5, 1, 8, 6) for i in take(lane, 1, n)] == whole


def test_the_seed_decides_the_order(tmp_path):
    write("parquet", tmp_path)
    a, b, c = (take(stream("parquet", tmp_path, seed=seed).lane(0, 1), 1, ROWS) for seed in (0, 0, 1))
    assert a == b and a != c and sorted(a) == sorted(c)


def test_a_picture_is_cut_to_its_middle_and_resized(tmp_path):
    """12 x 4 pixels, black but for a middle square of 4 x 4: red left, blue right."""
    wide = Image.new("RGB", (12, 4))
    wide.paste((255, 0, 0), (4, 0, 6, 4))
    wide.paste((0, 0, 255), (6, 0, 8, 4))
    wide.save(tmp_path / "wide.png")
    pictures, labels = Stream("folder", str(tmp_path / "*.png"), size=2).lane(0, 1)(None, 1)
    assert pictures.shape == (1, 3, 2, 2) and pictures.dtype == torch.float32 and labels is None
    torch.testing.assert_close(pictures[0, :, 0], torch.tensor([[0.9, -0.9], [-1, -1], [-0.9, 0.9]]), atol=0.2, rtol=0)


def test_labels_are_optional(tmp_path):
    assert stream("parquet", write("parquet", tmp_path), label=None).lane(0, 1)(None, 2)[1] is None


@pytest.mark.parametrize("options, named", [
    ({"source": "zip"}, "source must be one of .*, got 'zip'"), ({"size": 0}, "size, buffer and threads"), ({"channels": 4}, "channels 1 or 3"),
    ({"buffer": 0}, "size, buffer and threads"), ({"path": "/nowhere/*.parquet"}, "no .parquet file at /nowhere")])
def test_a_wrong_table_is_named(tmp_path, options, named):
    write("parquet", tmp_path)
    with pytest.raises(ValueError, match=named):
        Stream(**{"source": "parquet", "path": str(tmp_path), "size": 4} | options)


@pytest.mark.parametrize("options, lanes, named", [
    ({"image": "photo"}, 1, "no column 'photo' in .*: there are image, y"), ({"label": "z"}, 1, "no column 'z'"),
    ({"label": "image"}, 1, "labels must be integers"), ({}, 40, "has no row for lane 39: fewer rows than the 40")])
def test_data_that_do_not_fit_are_named(tmp_path, options, lanes, named):
    lane = stream("parquet", write("parquet", tmp_path), **options).lane(lanes - 1, lanes)
    with pytest.raises(ValueError, match=named):
        lane(None, 2)


def test_a_file_that_is_no_picture_is_named(tmp_path):
    write("folder", tmp_path, rows=3)
    (tmp_path / "class0" / "0.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="class0/0.png of .* holds no picture"):
        take(stream("folder", tmp_path).lane(0, 1), 1, 3)


@pytest.mark.parametrize("other", [{"buffer": 5}, {"seed": 1}])
def test_a_position_in_another_order_is_refused(tmp_path, other):
    write("parquet", tmp_path)
    state = stream("parquet", tmp_path).lane(0, 1).state_dict()
    with pytest.raises(ValueError, match="the position is one in .*, not in"):
        stream("parquet", tmp_path, **other).lane(0, 1).load_state_dict(state)


@every_source
def test_no_network_is_asked(source, tmp_path, monkeypatch):
    """Two epochs, many libraries: nothing may look up a host, for data that lie on the disk."""
    asked = []
    monkeypatch.setattr("socket.getaddrinfo", lambda *host, **options: asked.append(host) or [])
    take(stream(source, write(source, tmp_path)).lane(0, 1), 2, ROWS)
    assert asked == []


@settings(max_examples=25)
@given(st.integers(6, 25), st.integers(1, 4), st.integers(1, 3), st.integers(1, 9), st.integers(1, 5), st.integers(0, 8))
def test_any_shape_of_data_resumes_and_repeats(tmp_path_factory, rows, files, lanes, buffer, n, stop):
    """Any number of rows, files, lanes, any buffer and batch: resume is exact, and two epochs show each row of a lane twice."""
    data = stream("parquet", write("parquet", tmp_path_factory.mktemp("any"), rows, files), buffer=buffer)
    seen = []
    for k in range(lanes):
        lane = data.lane(k, lanes)
        begin, state = take(lane, stop, n), lane.state_dict()
        later = data.lane(k, lanes)
        later.load_state_dict(state)
        assert take(lane, 4, n) == take(later, 4, n)
        seen += take_epoch(data, k, lanes, 0)
    assert sorted(seen) == list(range(rows)) and len(begin) == stop * n
