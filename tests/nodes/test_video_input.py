"""VIDEOs with edits, and of unknown classes, into both video nodes: never the unedited frames in silence."""

import gc
import io
import logging
from fractions import Fraction

import numpy as np
import pytest
import torch

from birefnet_core.video import Clip
from birefnet_core.video.colour import to_rgb
from tests.comfyui.edited_video import EditedVideo, StrungVideo, cropped, resized
from tests.nodes.test_video_nodes import Model, folders  # noqa: F401 (fixture)
from tests.video.conftest import make_clip  # noqa: F401 (fixture)
from tests.video.pictures import COUNT, HEIGHT, WIDTH, number_of, numbered

TOP = cropped(8, 0, 56, 24)  # which keeps the patches that number the frames, but for the first
FULL_TOP = cropped(0, 0, 64, 24)


@pytest.fixture
def source(make_clip, folders):  # noqa: F811
    return make_clip("clip.mkv", codec="ffv1", pixels="yuv444p", sound="aac")


@pytest.fixture
def temp(folders, module, monkeypatch):  # noqa: F811
    monkeypatch.setattr(module("nodes.host"), "temp_folder", lambda: folders / "temp")
    return folders / "temp"


@pytest.fixture
def frames(node, temp):
    """frames(video, ...) -> what Video Frames gives."""
    return lambda video, **inputs: node("BiRefNetVideoFrames")().read("(the video input)", video=video, **inputs)


@pytest.fixture
def matte(node, temp):
    return lambda video, **inputs: node("BiRefNetMatteVideo")().matte(video, Model(), **inputs)["result"][0]


def numbers(pictures) -> list[int]:
    return [number_of(np.asarray(picture)) for picture in pictures]


def test_a_crop_and_a_trim_come_out_of_video_frames(frames, source, caplog):
    video = EditedVideo(str(source), 0.5, 1.0, (FULL_TOP,))
    with caplog.at_level(logging.WARNING, "birefnet-suite"):
        images, mask, fps, count, audio = frames(video)
    assert images.shape == (12, 24, 64, 3) and mask.shape == (12, 24, 64) and (mask == 1).all()
    assert numbers(images) == list(range(6, 18)) and count == 12
    assert fps == pytest.approx(12, rel=1e-3)
    assert np.abs(images[0].numpy()[14:] * 255 - numbered(6)[14:24]).max() <= 4  # below the patches: 4:2:0 shows there
    assert audio["waveform"].shape[2] == pytest.approx(48_000, abs=3000)
    assert caplog.text.count("clip.mkv: ComfyUI encoded its frames again with their edits for this node") == 1
    assert numbers(frames(video, start=2, start_unit="frames", count=3)[0]) == [8, 9, 10]


def test_a_crop_and_a_trim_come_out_of_matte_video(matte, source, caplog):
    path = matte(EditedVideo(io.BytesIO(source.read_bytes()), 0.5, 1.0, (FULL_TOP,)))
    done = list(Clip(path).frames())
    assert numbers(to_rgb(frame.picture) for frame in done) == list(range(6, 18))
    assert (Clip(path).info.width, Clip(path).info.height) == (64, 24)
    assert Clip(path).info.has_audio
    assert caplog.text.count("encoded its frames again") == 1


def test_edits_are_done_in_their_order(frames, source):
    video = EditedVideo(str(source), edits=(FULL_TOP, resized(32, 12), resized(128, 48)))
    images = frames(video, count=3)[0]
    assert images.shape == (3, 48, 128, 3) and numbers(images) == [0, 1, 2]


def test_a_size_that_is_the_files_own_again_is_still_an_edit(frames, source):
    images = frames(EditedVideo(str(source), edits=(cropped(0, 24, 64, 24), resized(64, 48))))[0]
    assert images.shape == (COUNT, 48, 64, 3)
    assert images[:, :12].std((1, 2)).mean() < 0.05  # the lower half is smooth, the patches are gone


def test_an_odd_size_loses_a_line_to_the_encoder(frames, source):
    assert frames(EditedVideo(str(source), edits=(cropped(0, 0, 63, 25),)))[0].shape[1:] == (24, 62, 3)


def test_uneven_times_are_kept(matte, make_clip):  # noqa: F811
    times = [0, 3, 10, 11, 30, 31]
    source = make_clip("uneven.mkv", count=6, times=times, time_base=Fraction(1, 12))
    clip = Clip(matte(EditedVideo(str(source), edits=(FULL_TOP,))))
    assert [round(time * clip.info.time_base * 12) for time in clip.times()] == times


def test_rotation_is_in_the_frames(frames, matte, make_clip):  # noqa: F811
    source = make_clip("turned.mp4", rotation=90, count=4)
    (upright, *_) = frames(str(source))
    video = EditedVideo(str(source), edits=(cropped(0, 8, 48, 32),))
    images = frames(video)[0]
    assert images.shape == (4, 32, 48, 3)
    assert (images - upright[:, 8:40]).abs().mean() < 0.02
    assert (Clip(matte(video)).info.width, Clip(matte(video)).info.height) == (48, 32)


def _half_transparent(index, width, height):
    alpha = np.full((height, width), 200, np.uint8)
    alpha[:, : width // 2] = 0
    return np.dstack([numbered(index, width, height), alpha])


def test_transparency_is_kept_though_it_cannot_be_saved(frames, matte, make_clip, caplog):  # noqa: F811
    source = make_clip("alpha.mov", codec="png", pixels="rgba", count=4, frame=_half_transparent, sound="aac")
    video = EditedVideo(str(source), edits=(cropped(8, 0, 48, 24),))
    with caplog.at_level(logging.WARNING, "birefnet-suite"):
        images, mask, _, _, audio = frames(video)
    assert video.asked == ["get_components"] and "held in memory at once with their edits" in caplog.text
    expected = torch.from_numpy(np.stack([_half_transparent(i, WIDTH, HEIGHT)[:24, 8:56] for i in range(4)])) / 255
    assert torch.allclose(mask, expected[..., 3], atol=1e-4)
    assert torch.allclose(images, expected[..., :3], atol=1e-4)
    assert audio["waveform"].shape[2] == pytest.approx(16_000, abs=1100)
    assert Clip(matte(video)).info.has_alpha


def test_frames_too_many_to_hold_are_refused(frames, make_clip, module, monkeypatch):  # noqa: F811
    source = make_clip("alpha.mov", codec="png", pixels="rgba", count=4, frame=_half_transparent)
    monkeypatch.setattr(module("birefnet_core.memory"), "free_memory", lambda: 1000)
    with pytest.raises(MemoryError, match=r"^alpha.mov: ComfyUI gives its edited frames with transparency only all"):
        frames(EditedVideo(str(source), edits=(FULL_TOP,)))


class Unannounced(EditedVideo):
    """As Crop Video's of versions that knew the crop but not yet the word for it."""

    has_pending_frame_edits = None


class Faster(EditedVideo):
    """An edit of the times that nobody has thought of yet."""

    def get_frame_rate(self):
        return super().get_frame_rate() * 2


class Shorter(EditedVideo):
    def get_duration(self):
        return 0.7

    def as_saved(self):
        return self


class FutureEdit(EditedVideo):
    has_pending_colour_edits = True


@pytest.mark.parametrize("kind", [Unannounced, Faster, Shorter, FutureEdit])
def test_edits_of_a_kind_unknown_are_not_ignored(frames, source, kind):
    video = kind(str(source), edits=(FULL_TOP,))
    if kind is not Unannounced:
        video.has_pending_frame_edits = lambda: False
    assert frames(video)[0].shape[1:3] == (24, 64)
    assert video.asked == ["save_to"]


def test_a_source_that_is_trimmed_already_is_not_trimmed_again(frames, source):
    class Trimmed(EditedVideo):
        def get_active_trim_window(self):
            return 0.5, 2.0

    assert numbers(frames(Trimmed(str(source)))[0]) == list(range(COUNT))


@pytest.mark.parametrize("window", [(0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.0, 0.75), (0.04, 0.0), (1.5, 9.0)])
def test_a_trim_alone_is_read_from_the_file(frames, source, window):
    video = EditedVideo(str(source), *window)
    end = window[0] + window[1] if window[1] else 99
    expected = [i for i in range(COUNT) if window[0] <= i / 12 + 1e-3 and i / 12 < end]
    assert numbers(frames(video)[0]) == expected and video.asked == []


def test_a_video_without_a_file_gives_its_frames(frames, matte, caplog):
    class Generated:
        """A class of another pack: frames on demand, with transparency."""

        def get_components(self):
            pictures = torch.from_numpy(np.stack([_half_transparent(i, WIDTH, HEIGHT) for i in range(5)])) / 255
            wave = torch.linspace(-1, 1, 20_000).repeat(1, 2, 1)
            sound = {"waveform": wave, "sample_rate": 48_000}
            parts = {"images": pictures[..., :3], "alpha": pictures[..., 3], "audio": sound}
            return type("Components", (), {**parts, "frame_rate": Fraction(12)})

    images, mask, fps, _, audio = frames(Generated())
    assert numbers(images) == list(range(5)) and fps == 12
    assert torch.allclose(mask[:, :, :32], torch.zeros(1)) and torch.allclose(mask[:, :, 32:], torch.tensor(200 / 255))
    assert torch.allclose(audio["waveform"][0, 0], torch.linspace(-1, 1, 20_000), atol=1e-6)
    assert len(list(Clip(matte(Generated(), sound=False)).frames())) == 5


@pytest.mark.parametrize("pixels", ["yuv420p", "bgra"])
def test_videos_strung_together_lose_nothing(frames, make_clip, pixels, caplog):  # noqa: F811
    """Their stream is encoded with loss where one of them is trimmed, and has no transparency."""

    def noisy(index, width, height):
        grey = np.random.default_rng(index).integers(0, 256, (height, width, 1), np.uint8)
        return np.concatenate([grey] * 3 + [grey] * (pixels == "bgra"), axis=2)

    path = str(make_clip("a.mkv", codec="ffv1", pixels=pixels, count=24, rate=12, frame=noisy))
    first, second = EditedVideo(path, start=0.5, duration=0.5), EditedVideo(path, start=1.0, duration=1.0)
    video = StrungVideo([first, second])
    pictures, mask, fps, count, _ = frames(video)
    expected, own, *_ = frames(path)
    chosen = [*range(6, 12), *range(12, 24)]
    assert count == 18 and fps == pytest.approx(12, abs=0.01)  # Matroska rounds times
    assert (pictures - expected[chosen]).abs().mean() < 1 / 255
    assert (mask - own[chosen]).abs().max() < 1 / 255
    assert video.asked == ["get_components" if pixels == "bgra" else "save_to"]
    assert "for this node" in caplog.text


def test_transparency_of_a_part_of_a_part_is_seen(frames, make_clip, module):  # noqa: F811
    """And what no file tells of may have some. No stream is asked for, as it would have to be encoded."""
    paths = [
        str(make_clip(name, codec="ffv1", pixels=pixels)) for name, pixels in (("a.mkv", "yuv420p"), ("b.mkv", "bgra"))
    ]
    plain, clear = map(EditedVideo, paths)
    has_alpha = module("nodes.video_input")._has_alpha
    inner = StrungVideo([plain, clear])
    assert has_alpha(StrungVideo([plain, inner])) and not has_alpha(StrungVideo([plain, StrungVideo([plain])]))
    assert has_alpha(StrungVideo([plain, object()])) and inner.asked == []


def test_strung_videos_too_long_to_hold_are_refused(frames, make_clip, module, monkeypatch):  # noqa: F811
    path = str(make_clip("a.mkv", codec="ffv1", pixels="bgra"))
    monkeypatch.setattr(module("birefnet_core.memory"), "free_memory", lambda: 1000)
    with pytest.raises(MemoryError, match=r"^the video: ComfyUI gives its edited frames with transparency only all"):
        frames(StrungVideo([EditedVideo(path), EditedVideo(path)]))


def test_edits_that_cannot_be_had_are_one_sentence(frames, matte, source):
    class Broken(EditedVideo):
        get_components = None

        def save_to(self, path, **options):
            raise RuntimeError("Video resolution changes\nmid-stream")

    class Ignoring(EditedVideo):
        def save_to(self, path, **options):
            EditedVideo(self._file).save_to(path)

        def get_components(self):
            return EditedVideo(self._file).get_components()

    class Bare(EditedVideo):
        save_to = get_components = None

    for kind, words in (
        (Broken, "Video resolution changes mid-stream"),
        (Ignoring, "they came as 64 x 48 where the video says 64 x 24"),
        (Bare, "Bare has no save_to and no get_components"),
    ):
        for run in (frames, matte):
            with pytest.raises(ValueError, match=words) as caught:
                run(kind(str(source), edits=(FULL_TOP,)))
            assert str(caught.value).startswith("clip.mkv: its frames with their edits cannot be had")
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize("video", [torch.zeros(2, 4, 4, 3), {"samples": 1}, 7])
def test_what_is_no_video_is_told(frames, video):
    with pytest.raises(ValueError, match="is not a VIDEO: connect Load Video"):
        frames(video)


def test_copies_go_when_they_are_done_with(frames, matte, source, temp):
    frames(EditedVideo(str(source), edits=(FULL_TOP,)))
    matte(EditedVideo(str(source), edits=(FULL_TOP,)), format="mask")
    with pytest.raises(ValueError):
        frames(EditedVideo(str(source), edits=(lambda picture: picture[:0],)))
    gc.collect()
    assert not [path for path in temp.rglob("*") if path.is_file()]
