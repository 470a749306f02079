"""Our nodes between those of VideoHelperSuite, whose meta batches run a long clip through a graph in pieces.

VIDEOHELPERSUITE_PATH names a checkout of it; COMFYUI_PYTHON needs what it requires (OpenCV, imageio-ffmpeg).
"""

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from birefnet_core.video import Clip
from birefnet_core.video.colour import own_alpha, to_deep_rgb
from tests.video.pictures import COUNT, number_of, numbered

av = pytest.importorskip("av")

MISSING = "not run beside VideoHelperSuite: VIDEOHELPERSUITE_PATH names no checkout of it"
PHOTOGRAPH = Path(__file__).parents[2] / "demo" / "photograph.jpg"
WIDTH, HEIGHT, RATE = 128, 96, 12
FORMATS = {"ProRes": {"profile": "4444"}, "webm": {"pix_fmt": "yuva420p", "crf": 4}}
SUFFIXES = {"ProRes": ".mov", "webm": ".webm"}


@pytest.fixture(scope="module")
def server(start_comfyui):
    path = os.environ.get("VIDEOHELPERSUITE_PATH")
    if not path:
        pytest.skip(MISSING)
    with start_comfyui(others=(Path(path).resolve(),)) as server:
        if "VHS_VideoCombine" not in server.get("/object_info"):
            pytest.fail(f"ComfyUI did not load {path}:\n{''.join(server.log)}")
        write_clip(server.base / "input" / "clip.mp4")
        yield server


def write_clip(path: Path) -> None:
    """Frames that say which one they are, and below a photograph that pans: another matte in every frame."""
    with Image.open(PHOTOGRAPH) as photograph:
        animal = np.asarray(photograph.convert("RGB").resize((240, 155)))[41:]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv444p"
        for index in range(COUNT):
            rgb = numbered(index, WIDTH, HEIGHT)
            rgb[HEIGHT // 4 :] = animal[: HEIGHT - HEIGHT // 4, 4 * index : 4 * index + WIDTH]
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv444p")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def graph(format: str, prefix: str, frames_per_batch: int | None) -> dict:
    """The clip through our nodes into Video Combine, in meta batches of so many frames or in one piece."""
    load = {
        "video": "clip.mp4",
        "force_rate": 0,
        "custom_width": 0,
        "custom_height": 0,
        "frame_load_cap": 0,
        "skip_first_frames": 0,
        "select_every_nth": 1,
        "format": "None",
    }
    combine = {
        "images": ["apply", 1],
        "frame_rate": RATE,
        "loop_count": 0,
        "filename_prefix": prefix,
        "format": f"video/{format}",
        "pingpong": False,
        "save_output": True,
        **FORMATS[format],
    }
    prompt = {
        "clip": {"class_type": "VHS_LoadVideo", "inputs": load},
        "model": {"class_type": "LoadBiRefNet", "inputs": {"model": "bundled"}},
        "segment": {
            "class_type": "BiRefNetSegment",
            "inputs": {"model": ["model", 0], "image": ["clip", 0], "width": 256},
        },
        "apply": {
            "class_type": "BiRefNetApplyMask",
            "inputs": {"image": ["clip", 0], "mask": ["segment", 0], "clean_foreground": False},
        },
        "combine": {"class_type": "VHS_VideoCombine", "inputs": combine},
    }
    if frames_per_batch is not None:
        prompt["batches"] = {"class_type": "VHS_BatchManager", "inputs": {"frames_per_batch": frames_per_batch}}
        load["meta_batch"] = combine["meta_batch"] = ["batches", 0]
    return prompt


def run(server, prompt: dict) -> list[dict]:
    """The history entries of a prompt and of those that it queues itself."""
    before = set(server.get("/history"))
    server.queue(prompt)

    def idle():
        queue = server.get("/queue")
        return not queue["queue_running"] and not queue["queue_pending"]

    server.wait_for(idle, "the queue")
    entries = [entry for key, entry in server.get("/history").items() if key not in before]
    for entry in entries:
        assert entry["status"]["status_str"] == "success", server.error(entry)
    return entries


def decoded(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Frames [T, H, W, 3] and alpha [T, H, W], 0..1."""
    pictures = [frame.picture for frame in Clip(path).frames()]
    return np.stack([to_deep_rgb(picture) for picture in pictures]), np.stack([own_alpha(p) for p in pictures])


@pytest.mark.parametrize("format", list(FORMATS))
def test_meta_batches_stay_in_order_and_keep_their_alpha(server, format):
    whole = graph(format, f"whole-{format}", None)
    whole["watch"] = {"class_type": "ProbeTensor", "inputs": {"tensor": ["apply", 1], "name": f"{format}.npy"}}
    assert len(run(server, whole)) == 1
    cutout = np.load(server.base / "output" / f"{format}.npy")
    assert cutout.shape == (COUNT, HEIGHT, WIDTH, 4)
    mattes = cutout[..., 3]
    unlike = min(np.abs(mattes[:index] - mattes[index]).mean((1, 2)).min() for index in range(1, COUNT))

    batches = run(server, graph(format, f"batches-{format}", 5))
    assert len(batches) == -(-COUNT // 5)
    [path] = (server.base / "output").glob(f"batches-{format}_*{SUFFIXES[format]}")
    frames, alpha = decoded(path)
    assert [number_of(frame) for frame in frames] == list(range(COUNT))
    assert np.abs(alpha - mattes).mean((1, 2)).max() < min(2 / 255, unlike / 2)  # each is its own and no other's

    [path] = (server.base / "output").glob(f"whole-{format}_*{SUFFIXES[format]}")
    in_one_piece = decoded(path)
    assert np.array_equal(in_one_piece[0], frames) and np.array_equal(in_one_piece[1], alpha)


def test_frames_of_ours_and_their_rate_fit_video_combine(server):
    """Video Frames in place of Load Video: its frames, frame rate and (silent) sound go straight into Video Combine."""
    prompt = graph("ProRes", "ours", None)
    prompt["clip"] = {
        "class_type": "BiRefNetVideoFrames",
        "inputs": {"file": "clip.mp4", "start": 6, "start_unit": "frames", "every_nth": 3},
    }
    prompt["combine"]["inputs"] |= {"frame_rate": ["clip", 2], "audio": ["clip", 4]}
    assert len(run(server, prompt)) == 1
    [path] = (server.base / "output").glob("ours_*.mov")
    assert [number_of(frame) for frame in decoded(path)[0]] == [6, 9, 12, 15, 18, 21]
    assert Clip(path).info.frame_rate == 4
