"""Our nodes beside what ComfyUI has newer than any whole tree at hand, by stand-ins (probe/newer.py), and beside what
this tree itself has of it."""

from fractions import Fraction

import numpy as np
import pytest

from birefnet_core.video import Clip
from birefnet_core.video.colour import own_alpha, to_rgb
from tests.comfyui.test_video_nodes import put_clip  # noqa: F401 (fixture)
from tests.video.pictures import COUNT, WIDTH, number_of, numbered

av = pytest.importorskip("av")


def saved(name: str, node: str, output: int = 0) -> dict:
    return {"class_type": "ProbeTensor", "inputs": {"tensor": [node, output], "name": f"{name}.npy"}}


@pytest.fixture(scope="module")
def masks(comfyui, put_images):
    """Name -> mask of two pictures: Segment's, the newest Remove Background's at its default and at a size chosen."""
    put_images("newer.npy", count=2)
    picture = {"image": ["image", 0]}
    prompt = {
        "image": {"class_type": "ProbeImage", "inputs": {"name": "newer.npy"}},
        "load": {"class_type": "LoadBiRefNet", "inputs": {"model": "bundled"}},
        "own": {"class_type": "BiRefNetSegment", "inputs": {"model": ["load", 0], **picture}},
        "small": {"class_type": "BiRefNetSegment", "inputs": {"model": ["load", 0], **picture, "width": 256}},
        "node": {"class_type": "NewRemoveBackground", "inputs": {"bg_removal_model": ["load", 0], **picture}},
        "node-small": {
            "class_type": "NewRemoveBackground",
            "inputs": {"bg_removal_model": ["load", 0], **picture, "resolution": 256},
        },
        "native": {"class_type": "NewNativeModel", "inputs": {}},
        "native-own": {"class_type": "BiRefNetSegment", "inputs": {"model": ["native", 0], **picture}},
        "native-32": {"class_type": "BiRefNetSegment", "inputs": {"model": ["native", 0], **picture, "width": 32}},
    }
    for name in ("own", "small", "node", "node-small", "native-own", "native-32"):
        prompt[f"save {name}"] = saved(f"newer-{name}", name)
    comfyui.run(prompt)
    return lambda name: np.load(comfyui.base / "output" / f"newer-{name}.npy")


def test_the_newest_remove_background_gives_segments_mask(masks):
    assert masks("own").shape == (2, 80, 120) and masks("own").std() > 0.01
    np.testing.assert_allclose(masks("node"), masks("own"), atol=1e-4)


def test_a_size_chosen_there_is_taken_and_told(comfyui, masks):
    np.testing.assert_allclose(masks("node-small"), masks("small"), atol=1e-4)
    assert np.abs(masks("small") - masks("own")).max() > 1e-3
    said = "".join(comfyui.log)
    assert "runs at 256 x 256, as asked for" in said
    assert "its own size: 1024 means that no size was chosen" in said


def test_todays_native_model_takes_segments_size(masks):
    own, coarse = masks("native-own"), masks("native-32")
    assert len(np.unique(coarse[0])) <= 32 * 32 < len(np.unique(own[0]))


def edited(name: str, **edits) -> dict:
    return {"edited": {"class_type": "EditedClip", "inputs": {"name": name, **edits}}}


EDITS = {"x": 0, "y": 0, "width": 64, "height": 24, "start": 0.5, "duration": 1.0}


def test_video_frames_gives_the_edited_frames(comfyui, put_clip):  # noqa: F811
    prompt = edited(put_clip("crop.mp4"), **EDITS, scale=2)
    inputs = {"file": "(the video input)", "video": ["edited", 0], "start": 1, "start_unit": "frames"}
    prompt["frames"] = {"class_type": "BiRefNetVideoFrames", "inputs": inputs}
    prompt["save"] = saved("cropped-frames", "frames")
    comfyui.run(prompt)
    frames = np.load(comfyui.base / "output" / "cropped-frames.npy")
    assert frames.shape == (11, 48, 128, 3) and [number_of(frame) for frame in frames] == list(range(7, 18))
    assert any("crop.mp4: ComfyUI encoded its frames again with their edits" in line for line in comfyui.log)


def test_matte_video_mattes_the_edited_frames(comfyui, put_clip):  # noqa: F811
    prompt = edited(put_clip("crop-matte.mp4"), **EDITS)
    prompt["load"] = {"class_type": "LoadBiRefNet", "inputs": {"model": "bundled"}}
    inputs = {"video": ["edited", 0], "model": ["load", 0], "size": 64, "filename_prefix": "edited"}
    prompt["matte"] = {"class_type": "BiRefNetMatteVideo", "inputs": inputs}
    comfyui.run(prompt)
    clip = Clip(comfyui.base / "output" / "edited_00001_.mov")
    assert (clip.info.width, clip.info.height) == (64, 24)
    assert [number_of(to_rgb(frame.picture)) for frame in clip.frames()] == list(range(6, 18))


def test_the_transparency_of_an_edited_clip_is_kept(comfyui):
    with av.open(str(comfyui.base / "input" / "alpha.mov"), "w") as container:
        stream = container.add_stream("png", rate=12)
        stream.width, stream.height, stream.pix_fmt = WIDTH, 48, "rgba"
        for index in range(4):
            alpha = np.full((48, WIDTH, 1), 200, np.uint8)
            alpha[:, :32] = 0
            frame = av.VideoFrame.from_ndarray(np.concatenate([numbered(index), alpha], 2), format="rgba")
            frame.pts, frame.time_base = index, Fraction(1, 12)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    prompt = edited("alpha.mov", x=16, y=0, width=32, height=24)
    inputs = {"file": "(the video input)", "video": ["edited", 0]}
    prompt["frames"] = {"class_type": "BiRefNetVideoFrames", "inputs": inputs}
    prompt["save mask"] = saved("alpha-mask", "frames", 1)
    prompt["load"] = {"class_type": "LoadBiRefNet", "inputs": {"model": "bundled"}}
    inputs = {"video": ["edited", 0], "model": ["load", 0], "size": 64, "filename_prefix": "edited-alpha"}
    prompt["matte"] = {"class_type": "BiRefNetMatteVideo", "inputs": inputs}
    comfyui.run(prompt)
    mask = np.load(comfyui.base / "output" / "alpha-mask.npy")
    assert mask.shape == (4, 24, 32)
    np.testing.assert_allclose(mask, np.where(np.arange(32) < 16, 0, 200 / 255) * np.ones((4, 24, 1)), atol=1e-4)
    assert len(list(Clip(comfyui.base / "output" / "edited-alpha_00001_.mov").frames())) == 4


def test_boxes_of_create_bounding_boxes_say_which_part_of_a_clip(comfyui, put_clip):  # noqa: F811
    if "CreateBoundingBoxes" not in comfyui.get("/object_info"):
        pytest.skip("this ComfyUI has no boxes")
    box = {"x": 0, "y": 0, "width": WIDTH // 2, "height": 48}
    prompt = {
        "clip": {"class_type": "LoadVideo", "inputs": {"file": put_clip("boxed.mp4")}},
        "load": {"class_type": "LoadBiRefNet", "inputs": {"model": "bundled"}},
        "boxes": {
            "class_type": "CreateBoundingBoxes",
            "inputs": {"width": 64, "height": 64, "editor_state": {"__value__": [box]}},
        },
        "matte": {
            "class_type": "BiRefNetMatteVideo",
            "inputs": {
                "video": ["clip", 0],
                "model": ["load", 0],
                "boxes": ["boxes", 1],
                "size": 64,
                "filename_prefix": "boxed",
            },
        },
    }
    comfyui.run(prompt)
    [alpha, *_] = [own_alpha(frame.picture) for frame in Clip(comfyui.base / "output" / "boxed_00001_.mov").frames()]
    assert alpha.shape == (48, WIDTH) and alpha[:, WIDTH * 3 // 4 :].max() < 0.02


@pytest.mark.parametrize("window", [(0.5, 0.5), (1.0, 0.0)])
def test_this_versions_own_trim_is_read_within_the_file(comfyui, put_clip, window):  # noqa: F811
    if "Video Slice" not in comfyui.get("/object_info"):
        pytest.skip("this ComfyUI has no node that trims a video")
    start, duration = window
    inputs = {"video": ["clip", 0], "start_time": start, "duration": duration, "strict_duration": False}
    prompt = {
        "clip": {"class_type": "LoadVideo", "inputs": {"file": put_clip("slice.mp4")}},
        "slice": {"class_type": "Video Slice", "inputs": inputs},
        "frames": {
            "class_type": "BiRefNetVideoFrames",
            "inputs": {"file": "(the video input)", "video": ["slice", 0]},
        },
        "save": saved("sliced", "frames"),
    }
    before = len([line for line in comfyui.log if "encoded its frames again" in line])
    comfyui.run(prompt)
    end = start + duration if duration else COUNT
    frames = np.load(comfyui.base / "output" / "sliced.npy")
    assert [number_of(frame) for frame in frames] == [i for i in range(COUNT) if start <= i / 12 < end]
    assert len([line for line in comfyui.log if "encoded its frames again" in line]) == before


def test_frames_of_create_video_come_back_as_they_were(comfyui):
    pictures = np.stack([numbered(index) for index in range(5)]).astype(np.float32) / 255
    np.save(comfyui.base / "input" / "made.npy", pictures)
    prompt = {
        "image": {"class_type": "ProbeImage", "inputs": {"name": "made.npy"}},
        "made": {"class_type": "CreateVideo", "inputs": {"images": ["image", 0], "fps": 12.0}},
        "frames": {"class_type": "BiRefNetVideoFrames", "inputs": {"file": "(the video input)", "video": ["made", 0]}},
        "save": saved("made-again", "frames"),
    }
    comfyui.run(prompt)
    np.testing.assert_allclose(np.load(comfyui.base / "output" / "made-again.npy"), pictures, atol=1e-4)


def test_every_value_of_the_pickers_is_taken(comfyui, put_clip):  # noqa: F811
    data = (comfyui.base / "input" / put_clip("picked.mp4")).read_bytes()
    for place in ("input/sub/picked.mp4", "output/done.mp4", "output/video/done2.mp4", "input/._picked.mp4"):
        (comfyui.base / place).parent.mkdir(parents=True, exist_ok=True)
        (comfyui.base / place).write_bytes(data)
    names = ["picked.mp4 [input]", "sub/picked.mp4", "done.mp4 [output]", "video/done2.mp4 [output]"]
    for index, name in enumerate(names):
        prompt = {
            "frames": {"class_type": "BiRefNetVideoFrames", "inputs": {"file": name, "count": 1}},
            "save": saved(f"picked{index}", "frames"),
        }
        comfyui.run(prompt)
        assert number_of(np.load(comfyui.base / "output" / f"picked{index}.npy")[0]) == 0
    offered = comfyui.get("/object_info/BiRefNetVideoFrames")["BiRefNetVideoFrames"]["input"]["required"]["file"][0]
    assert "picked.mp4" in offered and not [name for name in offered if name.startswith(".")]


def test_a_gpu_of_another_machine_is_no_error(comfyui, put_images):
    put_images("gpu.npy")
    prompt = {
        "load": {"class_type": "LoadBiRefNet", "inputs": {"model": "bundled", "device": "gpu:7"}},
        "image": {"class_type": "ProbeImage", "inputs": {"name": "gpu.npy"}},
        "segment": {"class_type": "BiRefNetSegment", "inputs": {"model": ["load", 0], "image": ["image", 0]}},
        "save": saved("gpu", "segment"),
    }
    comfyui.run(prompt)
    assert any("there is no gpu:7 here" in line for line in comfyui.log)
