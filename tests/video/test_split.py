"""One clip matted by several processes comes out as from one."""

import os
import subprocess
import sys
import threading
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from birefnet_core.video import FORMATS, Clip, Look, Span, matte_clip
from birefnet_core.video.split import TogetherError, matte_together, stretch
from tests.video.pictures import number_of
from tests.video.test_matte_clip import ellipse, heard

ROOT = Path(__file__).parents[2]


def together(world, source, path, matte=ellipse, **options):
    """Every process of a run as a thread, which meet at a barrier of their own; the errors in which they ended."""
    barrier, failures, said = threading.Barrier(world), [], [""] * world

    def exchange(rank, text):
        said[rank] = text
        barrier.wait()
        everything = list(said)
        barrier.wait()
        return everything

    def work(rank):
        meet = partial(exchange, rank)
        try:
            matte_together(Clip(source), path, matte, rank=rank, world=world, exchange=meet, **options)
        except TogetherError as error:  # all raise it
            failures.append(error)
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


@pytest.mark.parametrize("format", ["prores", "h264", "mask", "webm"])
@pytest.mark.parametrize(("rate", "every"), [(24, 1), (Fraction(30000, 1001), 1), (24, 3), (16, 1)])
def test_times_between_milliseconds_join(make_clip, tmp_path, format, rate, every):
    """MP4 says where a stretch begins in milliseconds; the second one was up to one of them early."""
    source = make_clip("clip.mp4", count=23, rate=rate, time_base=1 / Fraction(rate))
    row = FORMATS[format]
    alone, joined = (tmp_path / f"{name}{row.suffix}" for name in ("alone", "joined"))
    options = {"format": row, "span": Span(skip=1, every=every)}
    matte_clip(Clip(source), alone, ellipse, **options)
    assert together(3, source, joined, **options) == []
    assert Clip(joined).times() == Clip(alone).times()
    assert Clip(joined).info.frame_rate == Clip(alone).info.frame_rate == Fraction(rate) / every


@pytest.mark.parametrize("look", [Look(screen="auto"), Look(despill="green")])
def test_before_a_screen_one_process_does_it_all(make_clip, tmp_path, look):
    """What was seen of the screen is carried from frame to frame."""

    def lit(index, width, height):  # ever darker
        picture = np.full((height, width, 3), (10, 200 - 8 * index, 20), np.uint8)
        picture[height // 4 : -height // 4, width // 4 : -width // 4] = 180, 120, 90
        return picture

    def soft(pixels):
        return (0.5 + 4 * (pixels[..., 0] - 0.35)).clamp(0, 1)

    source = make_clip("clip.mkv", codec="ffv1", pixels="yuv444p", count=12, frame=lit)
    options = {"format": FORMATS["png"], "span": Span(), "look": look, "size": (64, 48)}
    matte_clip(Clip(source), tmp_path / "alone", soft, **options)
    assert together(3, source, tmp_path / "joined", soft, **options) == []
    for path in (tmp_path / "alone").iterdir():
        assert path.read_bytes() == (tmp_path / "joined" / path.name).read_bytes()


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
    assert [str(failure) for failure in failures] == ["the network gave NaN"] * 2  # nobody waits for the other
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
def test_of_several_inputs_a_bad_one_stops_no_other(make_clip, tmp_path):
    """Whether each process takes whole clips, or all share one."""
    folder = tmp_path / "in"
    for name in ("a.mp4", "c.mp4"):
        make_clip(f"in/{name}", count=4)
    for name in ("b.mp4", "r.jpg"):
        (folder / name).write_bytes((folder / "a.mp4").read_bytes()[:700] if name == "b.mp4" else b"\xff\xd8\xff\xe0")
    for name in ("p.png", "q.png"):
        Image.new("RGB", (64, 48)).save(folder / name)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "--", "birefnet_core"]
    command += ["matte", "--device", "cpu", "--size", "64", "--start", "0", "-o"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for given, clips in ((folder, "2 of 3"), (folder / "b.mp4", "0 of 1")):
        out = tmp_path / clips[0]
        inputs = [str(folder)] if given is folder else [str(given), str(folder / "p.png")]
        done = subprocess.run([*command, str(out), *inputs], cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stderr.count("b.mp4 ") == 1 and f"{clips} clips matted" in done.stdout
        expected = ["a.mov", "c.mov", "p.png", "q.png"] if given is folder else ["p.png"]
        assert sorted(os.listdir(out)) == expected
        assert done.stdout.count("pictures matted") == 1


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
