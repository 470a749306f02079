"""Video Frames and Matte Video: the real node classes on real clips."""

import io
import json
import os
import re
from datetime import datetime
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image

from birefnet_core.video import Clip
from birefnet_core.video.colour import own_alpha, to_rgb
from tests.video.conftest import BAD, bad_clips, make_clip  # noqa: F401 (fixtures)
from tests.video.pictures import COUNT, HEIGHT, WIDTH, number_of, numbered


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Without ComfyUI clips lie in input/ and go to output/ of the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input").mkdir()
    return tmp_path


@pytest.fixture
def clip(make_clip, folders):  # noqa: F811
    return make_clip("input/clip.mkv", codec="ffv1", pixels="yuv444p", sound="aac")


class Video:
    """What ComfyUI's VIDEO wires bring, as far as our nodes use it."""

    def __init__(self, source, start=0.0, duration=0.0):
        self.source, self.window = source, (start, duration)

    def get_stream_source(self):
        return self.source

    def get_active_trim_window(self):
        return self.window


class Model:
    """Stands in for a loaded model: foreground where the picture's lower part is, which `numbered` leaves smooth."""

    def __init__(self):
        self.seen = []

    def encode_image(self, image):
        assert image.dtype == torch.float32
        assert image.max() <= 1
        self.seen.append(number_of(image[0].numpy()))
        mask = torch.zeros(image.shape[:3])
        mask[:, image.shape[1] // 2 :] = 1
        return mask


@pytest.fixture
def frames(node):
    return node("BiRefNetVideoFrames")().read


@pytest.fixture
def matte(node):
    return node("BiRefNetMatteVideo")().matte


def test_the_list_holds_the_clips_of_the_input_folder(node, clip, folders):
    (folders / "input" / "photo.png").write_bytes(b"")
    (folders / "input" / "b.mp4").write_bytes(b"")
    (folders / "input" / "gone.mp4").symlink_to(folders / "nowhere.mp4")
    listed = node("BiRefNetVideoFrames").INPUT_TYPES()["required"]["file"][0]
    assert listed == ["(the video input)", "b.mp4", "clip.mkv"]


def test_a_link_that_the_user_made_is_followed(node, frames, clip, folders):
    """Footage lies on other disks; a workflow cannot make links."""
    clip.rename(folders / "elsewhere.mkv")
    (folders / "input" / "link.mkv").symlink_to(folders / "elsewhere.mkv")
    assert node("BiRefNetVideoFrames").INPUT_TYPES()["required"]["file"][0] == ["(the video input)", "link.mkv"]
    assert frames("link.mkv", count=2)[3] == 2


def test_frames_come_exactly_as_asked(frames, clip):
    images, mask, fps, count, audio = frames("clip.mkv", start=7, start_unit="frames", count=4, every_nth=3)
    assert [number_of(image.numpy()) for image in images] == [7, 10, 13, 16]
    assert images.shape == (4, HEIGHT, WIDTH, 3)
    assert images.dtype == torch.float32
    assert np.abs(images[0].numpy() * 255 - numbered(7)).max() <= 3
    assert mask.shape == (4, HEIGHT, WIDTH)
    assert (mask == 1).all()
    assert (fps, count) == (4.0, 4)
    assert audio["sample_rate"] == 48_000
    assert audio["waveform"].shape[:2] == (1, 1)
    assert audio["waveform"].shape[2] == pytest.approx(48_000, abs=48 * 2)


def test_seconds_and_a_longest_side(frames, clip):
    images, mask, fps, count, _ = frames("clip.mkv", start=1.5, longest_side=32)
    assert [number_of(image.numpy()) for image in images] == list(range(18, COUNT))
    assert images.shape[1:] == (24, 32, 3)
    assert mask.shape[1:] == (24, 32)
    assert (fps, count) == (12.0, 6)


def test_pixels_that_are_not_square(frames, make_clip, folders, caplog):  # noqa: F811
    make_clip("input/dv.mp4", size=(180, 120), count=2, pixel_aspect=Fraction(32, 27))
    assert frames("dv.mp4")[0].shape[1:] == (120, 180, 3)
    assert "its pixels are 1.185 times as wide as high (32:27); square_pixels makes its frames 214 x 120" in caplog.text
    caplog.clear()
    images, mask, *_ = frames("dv.mp4", square_pixels=True)
    assert images.shape[1:] == (120, 214, 3) and mask.shape[1:] == (120, 214)
    assert "pixels" not in caplog.text


def test_matte_video_makes_pixels_square_by_choice(matte, make_clip, folders):  # noqa: F811
    source = make_clip("input/dv.mp4", size=(180, 120), count=2, pixel_aspect=Fraction(32, 27))
    for square, shown in ((False, (180, 120, Fraction(32, 27))), (True, (214, 120, 1))):
        result = matte(Video(source), Model(), format="h264", square_pixels=square)
        info = Clip(result["result"][0]).info
        assert (info.width, info.height, info.pixel_aspect) == shown


def test_boxes_count_the_pixels_that_are_written(matte, make_clip, folders):  # noqa: F811
    source = make_clip("input/wide.mp4", size=(64, 48), count=2, pixel_aspect=2)
    right = [[64, 0, 64, 48]]  # outside, but for square pixels
    for format in ("prores", "apng"):
        path = matte(Video(source), Model(), format=format, square_pixels=format == "prores", boxes=right)["result"][0]
        assert Clip(path).info.width == 128
    with pytest.raises(ValueError, match="lies outside the 64 x 48 picture"):
        matte(Video(source), Model(), boxes=right)


def test_a_longest_side_below_nothing_is_named(frames, make_clip, folders):  # noqa: F811
    make_clip("input/a.mp4", count=1)
    with pytest.raises(ValueError, match="longest_side must be a whole number from 0 to 16384, not -1"):
        frames("a.mp4", longest_side=-1)


def test_a_shrunk_clip_has_even_sides_as_h264_wants_them(frames, make_clip, folders):  # noqa: F811
    make_clip("input/wide.mkv", codec="ffv1", pixels="yuv444p", size=(96, 64), count=1)
    assert frames("wide.mkv", longest_side=80)[0].shape[1:] == (54, 80, 3)
    assert frames("wide.mkv", longest_side=96)[0].shape[1:] == (64, 96, 3)


def test_transparency_comes_as_a_mask(frames, make_clip, folders):  # noqa: F811
    def half(index, width, height):
        alpha = np.zeros((height, width), np.uint8)
        alpha[:, : width // 2] = 200
        return np.dstack([numbered(index, width, height), alpha])

    make_clip("input/a.mov", codec="png", pixels="rgba", frame=half, count=3)
    images, mask, _, _, audio = frames("a.mov")
    assert images.shape == (3, HEIGHT, WIDTH, 3)
    assert torch.allclose(mask[:, :, : WIDTH // 2], torch.tensor(200 / 255))
    assert (mask[:, :, WIDTH // 2 :] == 0).all()
    assert audio is None


def test_a_connected_video_is_read_within_its_trim(frames, clip):
    for source in (str(clip), io.BytesIO(clip.read_bytes())):
        images, *_ = frames("(the video input)", video=Video(source, 0.5, 0.5))
        assert [number_of(image.numpy()) for image in images] == list(range(6, 12))
        images, *_ = frames("(the video input)", video=Video(source, 0.5, 0.5), start=2, start_unit="frames", count=9)
        assert [number_of(image.numpy()) for image in images] == list(range(8, 12))


def test_a_file_that_is_not_there_is_no_matter_beside_a_video(node, clip):
    assert node("BiRefNetVideoFrames").VALIDATE_INPUTS(file="somebody-elses.mp4") is True
    images, *_ = node("BiRefNetVideoFrames")().read("somebody-elses.mp4", video=Video(str(clip)), count=1)
    assert len(images) == 1


def test_a_video_that_cannot_be_had_as_bytes_is_saved(frames, clip, tmp_path, module, monkeypatch):
    class Made(Video):  # as Create Video's of ComfyUI 0.3.64
        def get_stream_source(self):
            raise ValueError("Could not determine output format")

        def save_to(self, path):
            (tmp_path / path).write_bytes(clip.read_bytes())

    monkeypatch.setattr(module("nodes.host"), "temp_folder", lambda: tmp_path / "temp")
    assert len(frames("(the video input)", video=Made(None), count=2)[0]) == 2


@pytest.mark.parametrize("name", ["../secret.mkv", "/etc/passwd", "missing.mkv", "(the video input)", ""])
def test_no_other_file_can_be_named(frames, clip, folders, name):
    (folders / "secret.mkv").write_bytes(clip.read_bytes())
    with pytest.raises(ValueError, match=r"there is no clip|connect a video"):
        frames(name)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("clip.mkv [input]", "input/clip.mkv"),
        ("shots/day 1/clip.mkv", "input/shots/day 1/clip.mkv"),
        ("done.mkv [output]", "output/done.mkv"),
        ("video/done.mkv [output]", "output/video/done.mkv"),
        ("shown.mkv [temp]", "temp/shown.mkv"),
        ("odd [1] 10:30.mkv", "input/odd [1] 10:30.mkv"),
    ],
)
def test_every_value_of_comfyuis_pickers_is_taken(node, frames, make_clip, folders, module, monkeypatch, name, place):  # noqa: F811
    monkeypatch.setattr(module("nodes.host"), "temp_folder", lambda: folders / "temp")
    path = make_clip(place, codec="ffv1", pixels="yuv444p", count=2)
    assert frames(name)[3] == 2
    before = node("BiRefNetVideoFrames").IS_CHANGED(file=name)
    path.write_bytes(b"other")
    assert node("BiRefNetVideoFrames").IS_CHANGED(file=name) != before != ""


@pytest.mark.parametrize(
    "name",
    [
        "../secret.mkv [output]",
        "shots/../../secret.mkv",
        "/secret.mkv [temp]",
        "secret.mkv [output] [input]",
        "secret.mkv [models]",
        "._clip.mkv",
        ".thumbnails/clip.mkv",
        "shots/._clip.mkv [output]",
        "shots",
        " [output]",
    ],
)
def test_no_other_folder_is_reached_and_nothing_hidden(frames, clip, folders, name):
    for place in ("secret.mkv", "input/._clip.mkv", "input/.thumbnails/clip.mkv", "output/shots/._clip.mkv"):
        (folders / place).parent.mkdir(parents=True, exist_ok=True)
        (folders / place).write_bytes(clip.read_bytes())
    with pytest.raises(ValueError, match="there is no clip"):
        frames(name)


def test_hidden_files_are_not_offered(node, clip, folders):
    for name in ("._clip.mkv", ".hidden.mp4", ".a.gif"):
        (folders / "input" / name).write_bytes(b"")
    file = node("BiRefNetVideoFrames").INPUT_TYPES()["required"]["file"]
    assert file[0] == ["(the video input)", "clip.mkv"] and file[1]["default"] == "clip.mkv"
    clip.unlink()
    assert node("BiRefNetVideoFrames").INPUT_TYPES()["required"]["file"][1]["default"] == "(the video input)"


def test_bad_clips_are_told_and_leave_nothing(frames, matte, bad_clips, folders):  # noqa: F811
    (folders / "output" / "video").mkdir(parents=True)
    (folders / "output" / "video" / "BiRefNet_00001_.mov").write_bytes(b"before")
    bad_clips(folders / "input")
    for name, words in BAD.items():
        for run in (lambda name: frames(name), lambda name: matte(Video(str(folders / "input" / name)), Model())):
            with pytest.raises(ValueError) as caught:
                run(name)
            text = str(caught.value)
            assert text.startswith(name) and words in text and "\n" not in text
    (left,) = (folders / "output" / "video").iterdir()
    assert left.read_bytes() == b"before"


def test_a_cut_off_clip_gives_the_frames_it_has(frames, matte, make_clip, folders):  # noqa: F811
    path = make_clip("input/cut.avi", codec="mjpeg", pixels="yuvj420p", count=40)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 7 // 10])
    assert len(frames("cut.avi", count=10)[0]) == 10
    with pytest.raises(ValueError, match=r"^cut.avi is cut off"):
        frames("cut.avi")
    with pytest.raises(RuntimeError, match=r"^cut.avi is cut off.* frames done are in .*partial.mov"):
        matte(Video(str(path)), Model())
    (partial,) = (folders / "output" / "video").iterdir()
    done = [number_of(to_rgb(frame.picture)) for frame in Clip(partial).frames()]
    assert len(done) > 10 and done == list(range(len(done)))


def test_what_does_not_fit_is_told_before_decoding(frames, clip, module, monkeypatch):
    monkeypatch.setattr(module("birefnet_core.video.batch"), "free_memory", lambda: 300_000)
    with pytest.raises(MemoryError, match=r"24 frames of 64 x 48 from clip.mkv take 0.0 GiB .* fewer frames"):
        frames("clip.mkv")
    assert len(frames("clip.mkv", count=5)[0]) == 5


def test_a_replaced_file_is_read_again(node, clip, folders):
    changed = node("BiRefNetVideoFrames").IS_CHANGED
    before = changed(file="clip.mkv")
    (folders / "input" / "clip.mkv").write_bytes(b"other")
    assert changed(file="clip.mkv") != before
    assert changed(file="missing.mkv", start=1.0) == ""


def test_matte_video_streams_to_prores(matte, clip, folders):
    model = Model()
    result = matte(Video(str(clip), 0.5, 1.0), model, stabilise=0)
    path, video = result["result"]
    assert path == str(folders / "output" / "video" / "BiRefNet_00001_.mov")
    assert video is None
    assert model.seen == list(range(6, 18))
    done = list(Clip(path).frames())
    assert len(done) == 12
    alpha = own_alpha(done[3].picture)
    assert (alpha[: HEIGHT // 2] < 0.01).all()
    assert (alpha[HEIGHT // 2 :] > 0.99).all()
    assert number_of(to_rgb(done[3].picture)) == 9
    with av.open(path) as container:
        assert container.streams.audio
    (shown,) = result["ui"]["images"]
    assert shown["type"] == "temp"
    assert shown["filename"].endswith(".mp4")
    file = {"filename": "BiRefNet_00001_.mov", "subfolder": "video", "type": "output"}
    assert result["ui"]["files"] == [file]  # for ComfyUI's assets; not shown


@pytest.mark.parametrize("pixels", ["yuv420p", "yuva420p"])
@pytest.mark.parametrize("clean", [False, True])
def test_under_inference_mode_as_comfyui_runs_it(matte, make_clip, folders, pixels, clean):  # noqa: F811
    """The encoder's thread is outside of it, and may change no tensor of the network's in place."""
    source = make_clip("input/a.mkv", codec="ffv1", pixels=pixels, count=3)
    with torch.inference_mode():
        path, _ = matte(Video(str(source)), Model(), clean_foreground=clean)["result"]
    assert len(list(Clip(path).frames())) == 3


@pytest.mark.parametrize(
    ("prefix", "filled"),
    [
        ("video/%date:yyyy-MM-dd%/%date:hhmmss%_a", "video/2026-03-04/150607_a"),
        ("%date:yy-M-d h:m:s%", "26-3-4 15:6:7"),
        ("%date:y d%", "y 4"),
        ("%width%/%date%/%year%", "%width%/%date%/%year%"),
        ("day/dd", "day/dd"),
    ],
)
def test_dates_in_a_prefix_are_filled_in_as_of_save_video(module, prefix, filled):
    assert module("nodes.host").with_dates(prefix, datetime(2026, 3, 4, 15, 6, 7)) == filled


def test_of_a_list_of_clips_each_is_listed(matte, clip, folders, module, monkeypatch):
    """ComfyUI joins what they give by the keys of the first."""
    monkeypatch.setattr(module("nodes.host"), "temp_folder", lambda: folders / "temp")
    given = [matte(Video(str(clip)), Model(), format=format)["ui"] for format in ("h264", "prores", "mask")]
    (folders / "temp" / "none").write_bytes(b"no folder")
    monkeypatch.setattr(module("nodes.host"), "temp_folder", lambda: folders / "temp" / "none")
    given.append(matte(Video(str(clip)), Model(), format="webm")["ui"])
    given.append(matte(Video(str(clip)), Model(), format="prores")["ui"])  # without a preview
    for first in given:
        joined = {key: [each for ui in given for each in ui[key]] for key in first}
        names = {each["filename"].rsplit("_.")[-1] for each in joined["images"] + joined["files"]}
        assert {"mp4", "mov", "webm"} <= names
        assert len(joined["images"]) == len(joined["animated"]) == 4 and len(joined["files"]) == 2


def test_a_preview_that_cannot_be_written_stops_nothing(matte, clip, folders, module, monkeypatch):
    said = []
    (folders / "temp").write_bytes(b"no folder")
    monkeypatch.setattr(module("nodes.host"), "temp_folder", lambda: folders / "temp")
    monkeypatch.setattr(module("nodes.host"), "say", lambda text, *level: said.append(text))
    result = matte(Video(str(clip)), Model(), format="prores")
    assert len(list(Clip(result["result"][0]).frames())) == COUNT
    assert "no preview of the clip" in "".join(said) and not result["ui"].get("images")


@pytest.mark.parametrize("format", ["webm", "png", "h264", "mask", "side-by-side"])
def test_every_format_is_written_and_shown(matte, clip, folders, module, monkeypatch, format):
    monkeypatch.setattr(module("nodes.host"), "temp_folder", lambda: folders / "temp")
    result = matte(Video(str(clip)), Model(), format=format, background_image=torch.zeros(1, 4, 4, 3), sound=False)
    path, video = result["result"]
    (shown,) = result["ui"]["images"]
    if format == "png":
        assert len(list((folders / "output" / "video" / "BiRefNet_00001_").iterdir())) == COUNT + 1
        preview = Clip(folders / "temp" / shown["subfolder"] / shown["filename"])
        assert len(list(preview.frames())) == COUNT
        (first,) = result["ui"]["files"]
        pictures = [name for name in os.listdir(path) if name.endswith(".png")]
        assert first == {"filename": min(pictures), "subfolder": "video/BiRefNet_00001_", "type": "output"}
        return
    assert result["ui"]["files"] == []
    assert shown == {"filename": path.rsplit("/", 1)[1], "subfolder": "video", "type": "output"}
    assert len(list(Clip(path).frames())) == COUNT
    assert (video is None) == (format == "webm")
    if format == "h264":
        rgb = to_rgb(next(Clip(path).frames()).picture)
        assert rgb[: HEIGHT // 2 - 4].max() < 12
        assert rgb[HEIGHT // 2 + 4 :].mean() > 60


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (torch.zeros(0, 4, 4, 3), "background_image is an empty batch"),
        (torch.zeros(4, 4, 3), r"background_image: images must be \[B, H, W, 3\], not \[4, 4, 3\]"),
        (torch.full((1, 4, 4, 3), 255.0), "background_image: .*looks like 0..255"),
    ],
)
def test_a_background_that_is_none_is_refused(matte, clip, folders, image, words):
    with pytest.raises(ValueError, match=words):
        matte(Video(str(clip)), Model(), format="h264", background_image=image)
    assert not (folders / "output").exists()


def test_a_video_behind_the_subject_starts_over(matte, clip, folders, make_clip):  # noqa: F811
    def shades(index, width, height):
        return np.full((height, width, 3), 40 + 80 * index, np.uint8)

    behind = make_clip("behind.mkv", codec="ffv1", pixels="bgr0", count=3, rate=12, frame=shades)
    path, _ = matte(Video(str(clip)), Model(), format="h264", background_video=Video(str(behind)), sound=False)[
        "result"
    ]
    shown = [to_rgb(frame.picture)[4, 4].mean() for frame in Clip(path).frames()]
    assert np.abs(shown - np.array([40 + 80 * (index % 3) for index in range(COUNT)])).max() < 6
    both = {"background_image": torch.zeros(1, 4, 4, 3), "background_video": Video(str(behind))}
    with pytest.raises(ValueError, match="both connected"):
        matte(Video(str(clip)), Model(), format="h264", **both)


def test_alpha_is_premultiplied_by_choice(matte, clip, folders):
    path, _ = matte(Video(str(clip), 0, 0.16), Model(), format="exr", alpha="straight", sound=False)["result"]
    assert sorted(os.listdir(path))[0].endswith(".1001.exr")
    with pytest.raises(ValueError, match="alpha premultiplied: not in VP9"):
        matte(Video(str(clip)), Model(), format="webm", alpha="premultiplied")


def test_names_count_up_and_stay_in_the_output_folder(matte, clip, folders):
    for index in (1, 2):
        path = matte(Video(str(clip), 0, 0.25), Model(), format="mask", filename_prefix="a/b")["result"][0]
        assert path == str(folders / "output" / "a" / f"b_{index:05}_.mp4")
    for prefix in ("../escape", "/tmp/escape"):
        with pytest.raises(ValueError, match="does not name a file inside"):
            matte(Video(str(clip)), Model(), filename_prefix=prefix)


def test_our_own_model_sees_frames_at_its_size(matte, clip, node):
    (model,) = node("LoadBiRefNet")().load("bundled", device="cpu")
    path, _ = matte(Video(str(clip), 0, 0.16), model, format="mask", size=64, stabilise=0, sound=False)["result"]
    source = torch.stack([torch.from_numpy(to_rgb(frame.picture)) for frame in Clip(clip).frames()][:2])
    alpha = model.predict(source, 64).numpy()
    masks = [to_rgb(frame.picture)[..., 1] / 255 for frame in Clip(path).frames()]
    assert len(masks) == 2
    assert np.abs(np.stack(masks) - alpha).mean() < 0.02


def test_edges_are_drawn_within_a_radius(matte, clip):
    made = []
    for radius, edges in ((0, "off"), (1, "drawn"), (24, "drawn")):
        options = {"format": "mask", "edges": edges, "edge_radius": radius, "sound": False}
        path, _ = matte(Video(str(clip), 0, 0.08), Model(), **options)["result"]
        made.append(to_rgb(next(Clip(path).frames()).picture)[..., 1] / 255)
    plain, near, far = made
    assert 0.005 < np.abs(near - plain).mean() < np.abs(far - plain).mean()


def test_stopping_keeps_what_is_done(matte, clip, folders, module, monkeypatch):
    class Stop(BaseException):
        pass

    shown = []

    def check():
        if len(shown) >= 10:
            raise Stop

    report = module("nodes.host").Progress.report

    def watch(self, done, total, preview=None):
        shown.append(preview)
        report(self, done, total, preview)

    monkeypatch.setattr(module("nodes.host"), "check_interrupt", check)
    monkeypatch.setattr(module("nodes.host").Progress, "report", watch)
    with pytest.raises(Stop):
        matte(Video(str(clip)), Model(), stabilise=0)
    (partial,) = (folders / "output" / "video").iterdir()
    assert partial.name == "BiRefNet_00001_.partial.mov"
    assert 9 <= len(list(Clip(partial).frames())) <= 12
    assert isinstance(shown[0], Image.Image)
    assert float(Clip(partial).info.frame_rate) == pytest.approx(12, rel=1e-3)


def test_lack_of_memory_reaches_comfyui_as_such(matte, clip, folders):
    """ComfyUI then frees all models. On a GPU another node's may have taken the room since."""

    class Full(Model):
        def encode_image(self, image):
            if len(self.seen) == 8:
                raise torch.cuda.OutOfMemoryError("not enough memory on cuda for one 64 x 48 picture")
            return super().encode_image(image)

    with pytest.raises(torch.cuda.OutOfMemoryError, match=r"not enough memory on cuda .*; the 8 frames done are in"):
        matte(Video(str(clip)), Full())
    (partial,) = (folders / "output" / "video").iterdir()
    assert len(list(Clip(partial).frames())) == 8


@pytest.mark.parametrize("stabilise", [0.0, 0.8])
def test_stop_is_obeyed_within_one_frame(matte, clip, folders, module, monkeypatch, stabilise):
    class Stop(BaseException):
        pass

    model = Model()

    def check():
        if len(model.seen) >= 9:
            raise Stop

    monkeypatch.setattr(module("nodes.host"), "check_interrupt", check)
    with pytest.raises(Stop):
        matte(Video(str(clip)), model, stabilise=stabilise)
    assert len(model.seen) == 9
    (partial,) = (folders / "output" / "video").iterdir()
    assert len(list(Clip(partial).frames())) == 8  # all but the batch under way


def test_uneven_clips_come_at_an_even_rate_and_say_so(frames, make_clip, folders, module, monkeypatch):  # noqa: F811
    said = []
    monkeypatch.setattr(module("nodes.host"), "say_on_node", said.append)
    times = [33 * index for index in range(12)] + [1000 + 33 * index for index in range(12)]
    make_clip("input/screen.mkv", times=times, time_base=Fraction(1, 1000), rate=30)
    images, _, fps, count, _ = frames("screen.mkv")
    assert (fps, count) == (30, 42)
    assert [number_of(image.numpy()) for image in images[10:32]] == [10] + [11] * 19 + [12, 13]
    assert "given are 30 a second" in said[-1]
    images, _, fps, count, _ = frames("screen.mkv", even_rate=False)
    assert count == 24
    assert [number_of(image.numpy()) for image in images] == list(range(24))
    assert "fps is their average" in said[-1]


def test_memory_is_asked_for_as_many_frames_as_there_will_be(frames, make_clip, folders, module, monkeypatch):  # noqa: F811
    make_clip("input/screen.mkv", times=[*range(12), 600, 601], rate=12, count=14)
    monkeypatch.setattr(module("birefnet_core.video.batch"), "free_memory", lambda: 2_000_000)
    with pytest.raises(MemoryError, match=r"602 frames of 64 x 48"):
        frames("screen.mkv")
    assert len(frames("screen.mkv", even_rate=False)[0]) == 14


def test_animated_webp_is_listed_and_read(node, frames, folders):
    pictures = [Image.fromarray(numbered(index)) for index in range(5)]
    pictures[0].save(folders / "input" / "still.webp")
    pictures[0].save(
        folders / "input" / "moving.webp", save_all=True, append_images=pictures[1:], duration=40, lossless=True
    )
    assert node("BiRefNetVideoFrames").INPUT_TYPES()["required"]["file"][0] == ["(the video input)", "moving.webp"]
    images, _, fps, count, _ = frames("moving.webp")
    assert [number_of(image.numpy()) for image in images] == list(range(5))
    assert (fps, count) == (25, 5)


def lower_half(frames):
    mask = torch.zeros(frames, 12, 16)
    mask[:, 9:, :8] = 1
    return mask


def test_matte_video_takes_a_hint_for_each_frame_or_the_first(matte, clip, folders):
    """The stand-in for a model sees the whole lower half; the hint asks for its left part."""
    for name, hint in (("each", lower_half(COUNT)), ("first", lower_half(1))):
        result = matte(Video(clip), Model(), hint=hint, filename_prefix=name)["result"]
        alphas = [own_alpha(frame.picture) for frame in Clip(result[0]).frames()]
        assert len(alphas) == COUNT
        for alpha in (alphas[0], alphas[-1]):
            assert alpha[-8:, :20].mean() > 0.9
            assert alpha[:, 48:].mean() < 0.1


LEFT = {"x": 0, "y": HEIGHT * 3 // 4, "width": WIDTH // 2, "height": HEIGHT // 4}


@pytest.mark.parametrize(
    "boxes", [LEFT, [LEFT], [[LEFT]] * COUNT, json.dumps([LEFT])], ids=["box", "list", "each", "text"]
)
def test_matte_video_takes_boxes_of_each_frame_or_the_first(matte, clip, folders, boxes):
    result = matte(Video(clip), Model(), boxes=boxes)["result"]
    alphas = [own_alpha(frame.picture) for frame in Clip(result[0]).frames()]
    assert len(alphas) == COUNT
    for alpha in (alphas[0], alphas[-1]):
        assert alpha[-8:, :20].mean() > 0.9
        assert alpha[:, WIDTH * 3 // 4 :].mean() < 0.1


@pytest.mark.parametrize("frames", [1, COUNT])
def test_a_hint_and_boxes_ask_for_what_lies_in_either(matte, clip, folders, frames):
    boxes = [[{**LEFT, "x": WIDTH // 2}]] * frames if frames > 1 else [{**LEFT, "x": WIDTH // 2}]
    for hint in (lower_half(frames), torch.zeros(1, 64, 64)):  # the second is Load Image's empty mask: no hint
        result = matte(Video(clip), Model(), hint=hint, boxes=boxes)["result"]
        alpha = [own_alpha(frame.picture) for frame in Clip(result[0]).frames()][-1]
        assert alpha[-8:, -20:].mean() > 0.9
        assert (alpha[-8:, :20].mean() > 0.9) == bool(hint.any())


def test_no_boxes_at_all_ask_for_nothing(matte, clip, folders, caplog):
    with caplog.at_level("INFO"):
        result = matte(Video(clip), Model(), boxes=[])["result"]
    assert own_alpha(next(Clip(result[0]).frames()).picture).max() < 0.1
    assert "nothing is asked for" in caplog.text


def test_boxes_of_a_frame_in_which_there_are_none_ask_for_nothing_there(matte, clip, folders):
    result = matte(Video(clip), Model(), boxes=[[LEFT]] * (COUNT - 1) + [None])["result"]
    means = [own_alpha(frame.picture).mean() for frame in Clip(result[0]).frames()]
    assert min(means[:-1]) > 0.05 and means[-1] < 0.01


@pytest.mark.parametrize(
    ("boxes", "hint", "words"),
    [
        ([[LEFT]] * 3, None, f"clip.mkv: 3 hints do not go with {COUNT} frames"),
        ([[LEFT]] * (COUNT - 1) + [[{**LEFT, "x": 999}]], None, f"lies outside the {WIDTH} x {HEIGHT} picture"),
        ([{**LEFT, "width": -1}], None, "positive width and height"),
        ("[", None, "boxes is text but no JSON"),
        ([LEFT], torch.ones(COUNT, 4, 4), f"hint has {COUNT} masks and boxes 1 lists of boxes: give one of both"),
        ([[LEFT]] * 2, torch.ones(2, 4, 4) * float("nan"), "the hint has NaN"),
    ],
)
def test_boxes_that_are_none_are_told_before_anything_is_written(matte, clip, folders, boxes, hint, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        matte(Video(clip), Model(), boxes=boxes, hint=hint)
    assert not list((folders / "output").rglob("*.*"))


def test_what_the_hint_became_is_said_on_the_node(matte, make_clip, folders, module, monkeypatch):  # noqa: F811
    said = []
    monkeypatch.setattr(module("nodes.host"), "say_on_node", said.append)
    dark, light = np.full((HEIGHT, WIDTH, 3), 20, np.uint8), np.full((HEIGHT, WIDTH, 3), 230, np.uint8)
    cut = make_clip("input/cut.mkv", codec="ffv1", pixels="yuv444p", count=8, frame=lambda n, *_: (dark, light)[n > 3])
    for after_cut, least in (("nothing", 0), ("everything", 0.4)):
        result = matte(Video(cut), Quiet(), hint=lower_half(1), after_cut=after_cut)["result"]
        last = [own_alpha(frame.picture) for frame in Clip(result[0]).frames()][-1]
        assert last.mean() == pytest.approx(least, abs=0.15)
        assert f"the hint ends at a cut: {after_cut} is matted from there (at 0.33 s)" in said[-1]


def test_inputs_that_do_nothing_are_said_on_the_node(matte, clip, module, monkeypatch):
    said = []
    monkeypatch.setattr(module("nodes.host"), "say_on_node", said.append)
    video, image = Video(str(clip), 0, 0.16), torch.zeros(1, 4, 4, 3)
    idle = {"edges": "off", "edge_radius": 5, "after_cut": "everything", "background_image": image}
    matte(video, Model(), format="mask", sound=False, **idle)
    for words in (
        "an edge radius of 5 does nothing, since edges are off",
        "background_image is not seen in H.264 of the mask (.mp4): choose the format h264",
        "after_cut everything does nothing, since there is no hint",
    ):
        assert words in said[-1]
    said.clear()
    busy = {"edges": "drawn", "edge_radius": 5, "after_cut": "everything", "background_image": image}
    matte(video, Model(), format="h264", sound=False, hint=lower_half(1), **busy)
    assert not any("does nothing" in text or "not seen" in text for text in said)


class Quiet(Model):
    """Of frames without a number."""

    def encode_image(self, image):
        mask = torch.zeros(image.shape[:3])
        mask[:, image.shape[1] // 2 :] = 1
        return mask


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (torch.ones(5, 4, 4), f"clip.mkv: 5 hints do not go with {COUNT} frames: give one for the first frame"),
        (torch.full((1, 4, 4), float("nan")), "the hint has NaN"),
        (torch.full((COUNT, 4, 4), 255.0), "looks like 0..255"),
        ("mask", "a hint must be a tensor"),
    ],
)
def test_a_hint_that_is_none_is_told(matte, clip, folders, hint, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        matte(Video(clip), Model(), hint=hint)
    assert not list((folders / "output").rglob("*.*"))


def test_load_images_empty_mask_is_no_hint(matte, clip, folders, caplog):
    with caplog.at_level("INFO"):
        result = matte(Video(clip), Model(), hint=torch.zeros(1, 64, 64))["result"]
    assert own_alpha(next(Clip(result[0]).frames()).picture).mean() > 0.4
    assert "nothing is painted on it yet" in caplog.text


def test_new_inputs_stand_behind_the_old_ones(node):
    """Workflows name the values of widgets by their place."""
    inputs = list(node("BiRefNetMatteVideo").INPUT_TYPES()["optional"])
    newer = ["square_pixels", "hint", "after_cut", "background_video", "alpha", "edges", "screen", "despill"]
    newer += ["despill_strength", "edge_radius", "boxes"]
    assert inputs[-len(newer) :] == newer
