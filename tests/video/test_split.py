"""One clip matted by several processes comes out as from one."""

import os
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from birefnet_core.video import FORMATS, Clip, Look, Span, matte_clip
from birefnet_core.video.split import matte_together, stretch
from tests.video.pictures import number_of
from tests.video.test_matte_clip import ellipse, heard

ROOT = Path(__file__).parents[2]


def together(world, source, path, matte=ellipse, **options):
    """Every process of a run as a thread, with a barrier of its own."""
    barrier, failures = threading.Barrier(world), []

    def work(rank):
        try:
            matte_together(Clip(source), path, matte, rank=rank, world=world, wait=barrier.wait, **options)
        except BaseException as error:
            failures.append(error)
            barrier.abort()

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


@pytest.mark.parametrize("format", list(FORMATS))
def test_the_parts_join_without_a_seam(make_clip, tmp_path, decode, format):
    times = np.cumsum([0] + [1 + index % 3 for index in range(23)]).tolist()
    source = make_clip("clip.mkv", codec="ffv1", pixels="yuv444p", sound="aac", times=times, time_base=Fraction(1, 24))
    row = FORMATS[format]
    options = {"format": row, "span": Span(skip=1), "look": Look(stabilise=1.0)}
    alone, joined = (tmp_path / f"{name}{row.suffix}" for name in ("alone", "joined"))
    matte_clip(Clip(source), alone, ellipse, **options)
    assert together(3, source, joined, **options) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["clip.mkv", alone.name, joined.name])
    if row.muxer is None:
        for path in alone.iterdir():
            assert path.read_bytes() == (joined / path.name.replace("alone", "joined")).read_bytes()
        return
    if row.animation:
        assert alone.read_bytes() == joined.read_bytes()
        return
    frames, seconds = zip(decode(alone), decode(joined), strict=True)
    assert seconds[0] == pytest.approx(seconds[1], abs=1.1e-3 if format == "webm" else 1e-9)
    assert len(frames[0]) == len(frames[1]) == 23
    difference = np.abs(frames[0].astype(int) - frames[1])
    assert difference.max() == 0 if format == "prores" else difference.mean() < 2
    assert heard(alone) == heard(joined)


def test_a_process_that_fails_leaves_nothing(make_clip, tmp_path):
    source = make_clip("clip.mkv", codec="ffv1", pixels="yuv444p")
    (tmp_path / "out.mov").write_bytes(b"before")
    calls = []

    def matte(pixels):
        calls.append(1)
        if len(calls) == 5:
            raise ArithmeticError("the network gave NaN")
        return ellipse(pixels)

    failures = together(
        2, source, tmp_path / "out.mov", matte, format=FORMATS["prores"], span=Span(), overwrite=True, batch=2
    )
    assert any("NaN" in str(failure) for failure in failures)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mkv", "out.mov"]
    assert (tmp_path / "out.mov").read_bytes() == b"before"


def test_an_interrupt_leaves_nothing_of_a_part(make_clip, tmp_path):
    def matte(pixels):
        if number_of(pixels[0].numpy()) == 18:  # of the second process
            raise KeyboardInterrupt
        return ellipse(pixels)

    source = make_clip("clip.mkv", codec="ffv1", pixels="yuv444p")
    failures = together(2, source, tmp_path / "out.mov", matte, format=FORMATS["prores"], span=Span())
    assert any(isinstance(failure, KeyboardInterrupt) for failure in failures)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mkv"]


def test_every_frame_is_in_one_stretch():
    for count, world in ((10, 3), (3, 3), (100, 7)):
        stretches = [stretch(count, rank, world) for rank in range(world)]
        assert [frame for first, last in stretches for frame in range(first, last)] == list(range(count))


@pytest.mark.slow
def test_torchrun_on_the_command_line(make_clip, tmp_path, decode):
    source = make_clip("clip.mkv", codec="ffv1", pixels="yuv444p", count=10)
    command = ["-m", "birefnet_core", "matte", str(source), "--device", "cpu", "--size", "64", "--stabilise", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for start, name in (([], "alone.mov"), (["-m", "torch.distributed.run", "--nproc-per-node", "2"], "joined.mov")):
        arguments = [sys.executable, *start, *command, "-o", str(tmp_path / name)]
        done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    alone, joined = decode(tmp_path / "alone.mov"), decode(tmp_path / "joined.mov")
    assert np.array_equal(alone[0], joined[0])
    assert alone[1] == joined[1]
