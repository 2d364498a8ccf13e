"""Gradients in blocks: whole or not at all, through crashes, damage, readers beside a writer, and with little memory."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from traceprop.errors import CorruptError, NewerVersionError, StoreError
from traceprop.stores import GradientBlocks, gradient_block
from traceprop.stores.gradient_block import sealed

WIDTH = 7


def row_of(sample, width=WIDTH):
    """The gradient that every test writes for a sample: known without having been kept."""
    return np.sin(np.asarray(sample)[:, None] + np.arange(width)).astype(np.float32)


def write(path, count=50, block_rows=8, **options):
    with GradientBlocks(path, block_rows=block_rows, **options) as blocks:
        samples = np.arange(count)
        blocks.append(row_of(samples), samples, epoch=2, step=samples // 4, loss=samples / 10)
    return blocks


@pytest.mark.parametrize("place", ["memory", "disk"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_what_goes_in_comes_out(tmp_path, place, dtype):
    path = None if place == "memory" else tmp_path / "g"
    blocks = write(path, dtype=dtype)
    if path is not None:
        blocks = GradientBlocks(path)
    assert (len(blocks), blocks.width, blocks.dtype) == (50, WIDTH, dtype)
    assert [len(block) for block in blocks] == [8] * 6 + [2]
    np.testing.assert_allclose(
        blocks.gradients(), row_of(np.arange(50)), rtol=0, atol=0 if dtype != "float16" else 5e-4
    )
    columns = blocks.columns()
    assert columns["sample"].tolist() == list(range(50))
    assert set(columns["epoch"]) == {2}
    assert columns["step"].tolist() == [sample // 4 for sample in range(50)]
    np.testing.assert_allclose(columns["loss"], np.arange(50) / 10, rtol=1e-6)
    assert blocks.check() == 7


@given(st.lists(st.integers(0, 30), max_size=8), st.integers(1, 12), st.booleans())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_blocks_do_not_depend_on_how_rows_were_appended(tmp_path_factory, pieces, block_rows, disk):
    path = tmp_path_factory.mktemp("g") / "g" if disk else None
    blocks = GradientBlocks(path, block_rows=block_rows)
    start = 0
    for piece in pieces:
        blocks.append(row_of(np.arange(start, start + piece)), np.arange(start, start + piece))
        start += piece
        assert len(blocks) == start
    np.testing.assert_array_equal(
        blocks.gradients(), row_of(np.arange(start)) if start else np.empty((0, blocks.width or 0))
    )
    assert [block.start for block in blocks] == list(range(0, start, block_rows))
    blocks.close()
    np.testing.assert_array_equal(blocks.columns()["sample"], np.arange(start))


@given(st.floats(-38, 38), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_half_precision_keeps_gradients_of_every_size(exponent, seed):
    gradient = (np.random.default_rng(seed).normal(size=(1, 20)) * 10.0**exponent).astype(np.float32)
    gradient = gradient[:, np.isfinite(gradient[0]) & (np.abs(gradient[0]) > 1e-37)]
    if not gradient.size:
        return
    blocks = GradientBlocks(dtype="float16")
    blocks.append(gradient, [0])
    np.testing.assert_allclose(blocks.gradients(), gradient, rtol=0, atol=2**-11 * np.abs(gradient).max())


def test_what_is_refused_and_why(tmp_path):
    blocks = write(tmp_path / "g")
    for gradients, message in (
        (np.zeros((1, 3)), "of 3 numbers does not go to those of 7"),
        (np.full((1, WIDTH), np.nan), "NaN or infinite"),
        (np.full((1, WIDTH), 1e300), "too large for float32"),
        (np.zeros(WIDTH), "an array"),
    ):
        with pytest.raises(StoreError, match=message):
            blocks.append(gradients, [0])
    assert len(GradientBlocks(tmp_path / "g")) == 50
    with pytest.raises(StoreError, match="cannot go on as float16"):
        GradientBlocks(tmp_path / "g", dtype="float16")
    with pytest.raises(StoreError, match="dtype is one of"):
        GradientBlocks(dtype="int8")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="is something else"):
        GradientBlocks(tmp_path / "other")
    (tmp_path / "g" / "gradients.json").write_bytes(sealed({"format": "traceprop gradients", "version": 99}))
    with pytest.raises(NewerVersionError, match=r"upgrade|newer"):
        GradientBlocks(tmp_path / "g")


def test_one_writer_at_a_time(tmp_path):
    first = GradientBlocks(tmp_path / "g", block_rows=4)
    first.append(row_of(np.arange(4)), np.arange(4))
    second = GradientBlocks(tmp_path / "g", block_rows=4)
    with pytest.raises(StoreError, match="written by another process"):
        second.append(row_of(np.arange(4)), np.arange(4))
        second.flush()
    first.close()
    with GradientBlocks(tmp_path / "g") as third:
        third.append(row_of(np.arange(4, 6)), [4, 5])
    assert GradientBlocks(tmp_path / "g").columns()["sample"].tolist() == [0, 1, 2, 3, 4, 5]


def damaged_files(path):
    return sorted(file for file in (path / "blocks").rglob("*") if file.is_file())


@pytest.mark.parametrize("name", ["gradients.npy", "columns.npy", "block.json"])
@pytest.mark.parametrize("how", ["flip", "cut", "empty", "gone"])
def test_a_damaged_block_is_named_and_not_returned(tmp_path, name, how):
    write(tmp_path / "g", count=40)
    file = tmp_path / "g" / "blocks" / "00000003" / name
    content = bytearray(file.read_bytes())
    if how == "flip":
        content[-9] ^= 4
    file.write_bytes(content[:-5] if how == "cut" else b"" if how == "empty" else bytes(content))
    if how == "gone":
        file.unlink()
    blocks = None
    seen = []
    with pytest.raises(CorruptError, match=r"block 00000003 of the gradients .* is damaged"):
        blocks = GradientBlocks(tmp_path / "g")
        for block in blocks:
            seen.append(block.start)
            np.testing.assert_array_equal(block.gradients(), row_of(block.columns["sample"]))
    assert seen in ([], [0, 8, 16])
    with pytest.raises(CorruptError, match="in 1 places:\n- block 00000003"):
        GradientBlocks(tmp_path / "g").check()


def test_a_missing_block_is_named(tmp_path):
    write(tmp_path / "g", count=40)
    shutil.rmtree(tmp_path / "g" / "blocks" / "00000002")
    with pytest.raises(CorruptError, match=r"block 00000002 of the gradients .* is missing"):
        list(GradientBlocks(tmp_path / "g"))
    with pytest.raises(CorruptError, match=r"- block 00000002 .* is missing"):
        GradientBlocks(tmp_path / "g").check()


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_change_of_any_byte_is_noticed(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("g") / "g"
    write(path, count=20)
    file = data.draw(st.sampled_from([*damaged_files(path), path / "gradients.json"]))
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    file.write_bytes(content)
    try:
        found = GradientBlocks(path).gradients()
    except (CorruptError, NewerVersionError, StoreError):
        return
    np.testing.assert_array_equal(found, row_of(np.arange(20)))  # white space, or padding of a header


WRITER = """
import sys, numpy as np
from traceprop.stores import GradientBlocks
sys.path.insert(0, sys.argv[2])
from test_gradients import row_of
blocks = GradientBlocks(sys.argv[1], block_rows=16)
start = len(blocks)
print("ready", flush=True)
for sample in range(start, start + 100_000):
    blocks.append(row_of(np.array([sample])), [sample])
"""


def test_a_writer_that_is_killed_leaves_whole_blocks_and_is_resumed(tmp_path):
    path, rng = tmp_path / "g", random.Random(0)
    rows = 0
    for _ in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), os.path.dirname(__file__)], stdout=subprocess.PIPE
        )
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(rng.uniform(0.0, 0.25))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        blocks = GradientBlocks(path)
        blocks.check()
        assert len(blocks) >= rows
        assert len(blocks) % 16 == 0
        rows = len(blocks)
        np.testing.assert_array_equal(blocks.columns()["sample"], np.arange(rows))
        if rows:
            np.testing.assert_array_equal(blocks.gradients(), row_of(np.arange(rows)))
    assert rows > 0
    with GradientBlocks(path) as resumed:
        resumed.append(row_of(np.array([rows])), [rows])
    assert list((path / "parts").iterdir()) == []
    assert len(GradientBlocks(path)) == rows + 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a copy of this process is killed")
@pytest.mark.parametrize("torn", [False, True])
def test_killed_at_any_point_of_writing_a_block(tmp_path, torn):
    """A copy of the process dies before its n-th step of writing, or in the midst of it, for every n that there is."""
    path, died = tmp_path / "g", 0
    write(path, count=16)
    while True:
        writer = os.fork()
        if not writer:
            _write_and_die_at(path, died, torn)
            os._exit(0)  # there were no more steps
        _, status = os.waitpid(writer, 0)
        blocks = GradientBlocks(path)
        rows = len(blocks)
        assert blocks.check() == rows // 8
        np.testing.assert_array_equal(blocks.gradients(), row_of(np.arange(rows)))
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        died += 1
    assert died == 5  # two arrays, the manifest, and the folders before and after the block has its name
    with GradientBlocks(path, block_rows=8) as resumed:
        resumed.append(row_of(np.arange(rows, rows + 8)), np.arange(rows, rows + 8))
    assert list((path / "parts").iterdir()) == []
    np.testing.assert_array_equal(GradientBlocks(path).gradients(), row_of(np.arange(rows + 8)))


def _write_and_die_at(path, step, torn):
    steps = iter(range(100))

    def deadly(done):
        def call(place, *content):
            if next(steps) == step:
                if torn and content:
                    place.write_bytes(np.asarray(content[0]).tobytes()[:37])
                os.kill(os.getpid(), signal.SIGKILL)
            return done(place, *content)

        return call

    for name in ("write_array", "write_synced", "sync_folder"):
        setattr(gradient_block, name, deadly(getattr(gradient_block, name)))
    blocks = GradientBlocks(path, block_rows=8)
    start = len(blocks)
    blocks.append(row_of(np.arange(start, start + 8)), np.arange(start, start + 8))


def _read(path, stop, answers):
    blocks, largest = GradientBlocks(path), 0
    while not stop.is_set() or largest == 0:
        samples = []
        for block in blocks:
            if not np.array_equal(block.gradients(), row_of(block.columns["sample"])):
                answers.put("wrong")
                return
            samples.append(block.columns["sample"])
        seen = np.concatenate([np.empty(0, np.int64), *samples])
        if len(seen) < largest or not np.array_equal(seen, np.arange(len(seen))):
            answers.put("gaps")
            return
        largest = len(seen)
    answers.put(largest)


def test_readers_beside_a_writer(tmp_path):
    context = multiprocessing.get_context("spawn")
    stop, answers = context.Event(), context.Queue()
    readers = [context.Process(target=_read, args=(tmp_path / "g", stop, answers)) for _ in range(2)]
    for reader in readers:
        reader.start()
    with GradientBlocks(tmp_path / "g", block_rows=16) as blocks:
        for sample in range(0, 16 * 60, 4):
            blocks.append(row_of(np.arange(sample, sample + 4)), np.arange(sample, sample + 4))
            time.sleep(0.002)
    stop.set()
    found = [answers.get(timeout=60) for _ in readers]
    for reader in readers:
        reader.join()
    assert all(isinstance(rows, int) and rows > 0 for rows in found), found


def test_shards_are_merged_whole_or_not_at_all(tmp_path):
    for shard in range(3):
        with GradientBlocks(tmp_path / f"s{shard}", block_rows=5) as blocks:
            samples = np.arange(shard * 12, shard * 12 + 12)
            blocks.append(row_of(samples), samples, epoch=shard)
    merged = GradientBlocks.merge(tmp_path / "all", [tmp_path / f"s{shard}" for shard in range(3)])
    np.testing.assert_array_equal(merged.gradients(), row_of(np.arange(36)))
    assert merged.columns()["epoch"].tolist() == [0] * 12 + [1] * 12 + [2] * 12
    with pytest.raises(StoreError, match="is there already"):
        GradientBlocks.merge(tmp_path / "all", [tmp_path / "s0"])
    half = write(tmp_path / "half", dtype="float16")
    with pytest.raises(StoreError, match="dtype is 'float16', not 'float32'"):
        GradientBlocks.merge(tmp_path / "both", [merged, half])
    file = tmp_path / "s2" / "blocks" / "00000001" / "gradients.npy"
    file.write_bytes(file.read_bytes()[:-3] + b"abc")
    with pytest.raises(CorruptError, match=r"block 00000001 of the gradients .*s2"):
        GradientBlocks.merge(tmp_path / "new", [tmp_path / "s0", tmp_path / "s2"])
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["all", "half", "s0", "s1", "s2"]


def test_nothing_is_unpickled(tmp_path):
    write(tmp_path / "g", count=8)
    block = tmp_path / "g" / "blocks" / "00000000"
    np.save(block / "gradients.npy", np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(CorruptError, match="block 00000000"):
        GradientBlocks(tmp_path / "g").gradients()


def test_a_manifest_that_is_of_another_block(tmp_path):
    write(tmp_path / "g", count=40)
    shutil.copy(tmp_path / "g/blocks/00000001/block.json", tmp_path / "g/blocks/00000003/block.json")
    with pytest.raises(CorruptError, match=r"block 00000003 .* holds block 1"):
        list(GradientBlocks(tmp_path / "g"))
    assert json.loads((tmp_path / "g/blocks/00000001/block.json").read_text())["number"] == 1


MEMORY = """
    import sys, numpy as np
    from traceprop.stores import GradientBlocks
    peak = lambda: int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024
    rng = np.random.default_rng(0)
    batch = rng.standard_normal((1000, 512), dtype=np.float32)
    path = None if sys.argv[1] == "memory" else sys.argv[1]
    with GradientBlocks(path, sys.argv[2]) as blocks:
        blocks.append(batch[:1], [0])
        before = peak()
        for start in range(1, 60_000, 1000):
            blocks.append(batch, np.arange(start, start + 1000))
    query = batch[0].astype(np.float32)
    total = sum(float((block.gradients() @ query).sum()) for block in blocks)
    after = peak()
    print(after - before, sum(block.stored.nbytes for block in blocks))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize("place", ["memory", "disk"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_built_and_queried_in_half_more_than_its_own_memory(tmp_path, place, dtype):
    place = place if place == "memory" else str(tmp_path / "g")
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEMORY), place, dtype], capture_output=True, check=True, text=True
    )
    taken, size = map(int, found.stdout.split())
    assert place != "memory" or taken > 0.5 * size  # it was seen
    assert taken <= 1.5 * size + (24 << 20)  # a block in float32, and a buffer, whatever the size
