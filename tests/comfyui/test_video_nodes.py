"""Video Frames and Matte Video in a real ComfyUI, between its own video nodes."""

from fractions import Fraction

import numpy as np
import pytest

from tests.video.pictures import COUNT, HEIGHT, WIDTH, number_of, numbered

av = pytest.importorskip("av")


@pytest.fixture
def put_clip(comfyui):
    """put_clip(name): a clip of numbered frames, 12 a second, lossless, in the server's input folder."""

    def put(name: str) -> str:
        with av.open(str(comfyui.base / "input" / name), "w") as container:
            stream = container.add_stream("libx264", rate=12, options={"qp": "0"})
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv444p"
            for index in range(COUNT):
                frame = av.VideoFrame.from_ndarray(numbered(index), format="rgb24").reformat(format="yuv444p")
                frame.pts, frame.time_base = index, Fraction(1, 12)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return name

    return put


def matting(clip: str, **inputs) -> dict:
    return {
        "clip": {"class_type": "LoadVideo", "inputs": {"file": clip}},
        "load": {"class_type": "LoadBiRefNet", "inputs": {"model": "bundled"}},
        "matte": {
            "class_type": "BiRefNetMatteVideo",
            "inputs": {"video": ["clip", 0], "model": ["load", 0], "size": 64, **inputs},
        },
    }


def decoded(path) -> list:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_a_clip_becomes_prores_while_it_streams(comfyui, put_clip):
    entry = comfyui.run(matting(put_clip("stream.mp4"), stabilise=0.8, filename_prefix="clips/a"))
    path = comfyui.base / "output" / "clips" / "a_00001_.mov"
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "prores"
        assert stream.codec_context.pix_fmt.startswith("yuva444p1")
        assert "prompt" in container.metadata
    assert [number_of(frame) for frame in decoded(path)] == list(range(COUNT))
    (shown,) = entry["outputs"]["matte"]["images"]
    preview = comfyui.base / "temp" / shown["subfolder"] / shown["filename"]
    assert shown["type"] == "temp" and len(decoded(preview)) == COUNT


def test_an_opaque_result_goes_on_as_a_video(comfyui, put_clip):
    prompt = matting(put_clip("opaque.mp4"), format="h264", background_colour="white")
    prompt["again"] = {
        "class_type": "SaveVideo",
        "inputs": {"video": ["matte", 1], "filename_prefix": "again", "format": "auto", "codec": "auto"},
    }
    entry = comfyui.run(prompt)
    (shown,) = entry["outputs"]["matte"]["images"]
    assert shown["type"] == "output" and shown["filename"].endswith(".mp4")
    (saved,) = (comfyui.base / "output").glob("again_*.mp4")
    assert len(decoded(saved)) == COUNT


def test_a_result_with_alpha_lets_no_video_node_run(comfyui, put_clip):
    prompt = matting(put_clip("alpha.mp4"), filename_prefix="blocked")
    prompt["again"] = {
        "class_type": "SaveVideo",
        "inputs": {"video": ["matte", 1], "filename_prefix": "never", "format": "auto", "codec": "auto"},
    }
    comfyui.run(prompt)
    assert not list((comfyui.base / "output").glob("never_*"))
    assert list((comfyui.base / "output").glob("blocked_*.mov"))


def test_frames_go_through_a_graph_into_a_video(comfyui, put_clip):
    prompt = {
        "frames": {
            "class_type": "BiRefNetVideoFrames",
            "inputs": {"file": put_clip("frames.mp4"), "start": 5, "start_unit": "frames", "count": 6, "every_nth": 2},
        },
        "create": {"class_type": "CreateVideo", "inputs": {"images": ["frames", 0], "fps": ["frames", 2]}},
        "save": {
            "class_type": "SaveVideo",
            "inputs": {"video": ["create", 0], "filename_prefix": "graph", "format": "auto", "codec": "auto"},
        },
        "mask": {"class_type": "ProbeTensor", "inputs": {"tensor": ["frames", 1], "name": "video-mask.npy"}},
    }
    comfyui.run(prompt)
    (saved,) = (comfyui.base / "output").glob("graph_*.mp4")
    assert [number_of(frame) for frame in decoded(saved)] == [5, 7, 9, 11, 13, 15]
    assert np.array_equal(np.load(comfyui.base / "output" / "video-mask.npy"), np.ones((6, HEIGHT, WIDTH)))


def test_frames_of_a_connected_video(comfyui, put_clip):
    prompt = {
        "clip": {"class_type": "LoadVideo", "inputs": {"file": put_clip("socket.mp4")}},
        "frames": {
            "class_type": "BiRefNetVideoFrames",
            "inputs": {"file": "(the video input)", "video": ["clip", 0], "start": 1.0, "count": 2},
        },
        "save": {"class_type": "ProbeTensor", "inputs": {"tensor": ["frames", 0], "name": "socket.npy"}},
    }
    comfyui.run(prompt)
    frames = np.load(comfyui.base / "output" / "socket.npy")
    assert [number_of(frame) for frame in frames] == [12, 13]


def test_files_elsewhere_are_refused(comfyui, put_clip):
    put_clip("inside.mp4")
    for name in ("../output/clips/a_00001_.mov", "/etc/passwd", "missing.mp4"):
        prompt = {
            "frames": {"class_type": "BiRefNetVideoFrames", "inputs": {"file": name}},
            "save": {"class_type": "ProbeTensor", "inputs": {"tensor": ["frames", 0], "name": "never.npy"}},
        }
        error = comfyui.error(comfyui.finished(comfyui.queue(prompt)))
        assert f"there is no clip {name!r}" in error
    assert not (comfyui.base / "output" / "never.npy").exists()
    entry = comfyui.finished(comfyui.queue(matting("inside.mp4", filename_prefix="../../outside")))
    assert "outside the output folder" in comfyui.error(entry)
    assert not list(comfyui.base.parent.glob("outside*"))


def test_stopping_keeps_what_is_done(comfyui, put_clip):
    prompt = matting(put_clip("stopped.mp4"), filename_prefix="stopped", stabilise=0.8, batch_size=1)
    prompt["watch"] = {"class_type": "ProbeModel", "inputs": {"model": ["load", 0], "interrupt_at": 9}}
    prompt["matte"]["inputs"]["model"] = ["watch", 0]
    entry = comfyui.finished(comfyui.queue(prompt))
    assert "execution_interrupted" in comfyui.messages(entry)
    (partial,) = (comfyui.base / "output").glob("stopped_*")
    assert partial.name == "stopped_00001_.partial.mov"
    assert [number_of(frame) for frame in decoded(partial)] == list(range(8))  # all but the batch under way
