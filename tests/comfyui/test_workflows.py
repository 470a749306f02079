"""The example workflows run to the end on a real server, on a CPU, in the form in which the frontend sends them.

Stable Diffusion and the portrait model have random weights of the right layout: what is looked at is how pictures and
masks pass through the graph, not what they show.
"""

import json
import shutil
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image, ImageOps

from birefnet_core.video import Clip
from birefnet_core.video.colour import own_alpha, to_rgb
from tests.comfyui import random_checkpoint
from tests.comfyui.graphs import CLIP, PORTRAIT, SD15, TWO, TWO_CLIP
from tests.comfyui.make_pictures import BOXES
from tests.comfyui.server import ROOT, Refused
from tests.video.pictures import tone

av = pytest.importorskip("av")

SMALL = {
    "KSampler": {"steps": 2},
    "ImageScaleToTotalPixels": {"megapixels": 0.03},
    "BiRefNetSegment": {"width": 256},
    "BiRefNetMatteVideo": {"size": 256},
    "BiRefNetVideoFrames": {"count": 4, "every_nth": 12, "longest_side": 192},
}
FOLDER = ((90, 200), (130, 130), (160, 120))  # sizes of the pictures in the folder of workflow 5
OF_EIGHT_BITS = 1.01 / 255
SOLID = 0.97  # of the mask; the bundled model is seldom surer
OF_SOLID = 0.06  # what shines through there, and the colour that is cleaned out of it


@pytest.fixture(scope="module")
def stocked(comfyui):
    """The server, with every file that the workflows name."""
    if not comfyui.has_native_background_removal:
        pytest.skip("the workflows use nodes of ComfyUI 0.25")
    inputs, models = comfyui.base / "input", comfyui.base / "models"
    checkpoint = models / "checkpoints" / SD15["name"]
    portrait = models / "background_removal" / PORTRAIT["name"]
    for folder in (checkpoint.parent, inputs / "photographs"):
        folder.mkdir(parents=True, exist_ok=True)
    random_checkpoint.make(comfyui.tree, checkpoint, comfyui.python)
    write_portrait_weights(portrait)
    for path in (comfyui.tree / "input" / "example.png", ROOT / "demo" / TWO, ROOT / "demo" / TWO_CLIP):
        shutil.copy(path, inputs)
    picture = Image.open(ROOT / "demo" / "photograph.jpg")
    with_sound(ROOT / "demo" / "clip.mp4", inputs / CLIP)
    for width, height in FOLDER:
        picture.resize((width, height)).save(inputs / "photographs" / f"{width}.jpg")
    yield comfyui
    for path in (checkpoint, portrait):  # a gigabyte that pytest would keep
        path.unlink()


def write_portrait_weights(path):
    import torch
    from safetensors.torch import save_file

    import birefnet_core as bc

    torch.manual_seed(0)
    weights = bc.export_published(bc.build_network("swin_v1_l"), patch_order="2024")
    save_file({key: value.half().contiguous() for key, value in weights.items()}, path)


def with_sound(source, target):
    """The clip's pictures as they are, and clicks."""
    info = Clip(source).info
    with av.open(str(source)) as container, av.open(str(target), "w") as made:
        pictures = container.streams.video[0]
        stream, speaker = made.add_stream_from_template(pictures), made.add_stream("aac", rate=48_000, layout="mono")
        for packet in container.demux(pictures):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
        sound = av.AudioFrame.from_ndarray(tone(info.duration)[None], format="fltp", layout="mono")
        sound.sample_rate, sound.time_base, sound.pts = 48_000, Fraction(1, 48_000), 0
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=48_000, frame_size=1024)
        for piece in [*resampler.resample(sound), *resampler.resample(None), None]:
            made.mux(speaker.encode(piece))


def twin(name: str) -> dict:
    return json.loads((ROOT / "tests" / "workflows_api" / f"{name}.json").read_text(encoding="utf-8"))


def small(prompt: dict) -> dict:
    """The prompt with few steps and few pixels."""
    for node in prompt.values():
        for widget, value in SMALL.get(node["class_type"], {}).items():
            assert widget in node["inputs"]
            node["inputs"][widget] = value
    return prompt


def find(prompt: dict, kind: str) -> str:
    """The id of the only node of a kind."""
    [found] = [key for key, node in prompt.items() if node["class_type"] == kind]
    return found


def run(server, prompt: dict, **watched) -> tuple[list[Image.Image], dict[str, np.ndarray]]:
    """Runs a prompt. watched: name -> [node id, output]. Returns the saved pictures and the watched tensors."""
    for name, link in watched.items():
        prompt[name] = {"class_type": "ProbeTensor", "inputs": {"tensor": link, "name": f"{name}.npy"}}
    entry = server.run(prompt)
    pictures = [
        Image.open(server.base / "output" / image["subfolder"] / image["filename"])
        for key, node in prompt.items()
        if node["class_type"] == "SaveImage"
        for image in entry["outputs"][key]["images"]
    ]
    return pictures, {name: np.load(server.base / "output" / f"{name}.npy") for name in watched}


def test_a_subject_is_cut_out(stocked):
    prompt = twin("1-cut-out")
    apply, photo = find(prompt, "BiRefNetApplyMask"), find(prompt, "LoadImage")
    [picture], seen = run(stocked, prompt, mask=[apply, 3], photo=[photo, 0])
    assert picture.mode == "RGBA" and picture.size == seen["photo"].shape[2:0:-1]
    pixels = np.asarray(picture) / 255
    np.testing.assert_allclose(pixels[..., 3], seen["mask"][0], atol=OF_EIGHT_BITS)
    subject, background = seen["mask"][0] > SOLID, seen["mask"][0] < 1 - SOLID
    assert subject.mean() > 0.02 and background.mean() > 0.02
    np.testing.assert_allclose(pixels[subject][:, :3], seen["photo"][0][subject], atol=OF_SOLID)


@pytest.mark.parametrize("name", ["2-new-background", "3-generated-scene"])
def test_the_subject_is_put_over_what_was_painted(stocked, name):
    prompt = small(twin(name))
    apply, scale, decode = (
        find(prompt, "BiRefNetApplyMask"),
        find(prompt, "ImageScaleToTotalPixels"),
        find(prompt, "VAEDecode"),
    )
    [picture], seen = run(
        stocked, prompt, mask=[apply, 3], photo=[scale, 0], painted=[decode, 0], foreground=[apply, 2]
    )
    assert picture.mode == "RGB" and seen["painted"].shape == seen["photo"].shape
    assert np.abs(seen["painted"] - seen["photo"]).mean() > 0.02
    pixels, mask = np.asarray(picture) / 255, seen["mask"][0][..., None]
    expected = seen["foreground"][0] * mask + seen["painted"][0] * (1 - mask)
    np.testing.assert_allclose(pixels, expected, atol=OF_EIGHT_BITS)
    subject = mask[..., 0] > SOLID
    assert subject.mean() > 0.02
    np.testing.assert_allclose(pixels[subject], seen["photo"][0][subject], atol=OF_SOLID)


def test_only_the_background_is_repainted(stocked):
    prompt = small(twin("2-new-background"))
    encode, sampler, grow = find(prompt, "VAEEncode"), find(prompt, "KSampler"), find(prompt, "GrowMask")
    # A mask without soft values, so that latents are either kept or painted.
    segmented = prompt[grow]["inputs"]["mask"]
    prompt["hard"] = {"class_type": "ThresholdMask", "inputs": {"mask": segmented, "value": 0.5}}
    prompt[grow]["inputs"]["mask"] = ["hard", 0]
    subject = [find(prompt, "BiRefNetSegment"), 0]
    _, seen = run(stocked, prompt, before=[encode, 0], after=[sampler, 0], repaint=[grow, 0], subject=subject)
    repaint, subject = seen["repaint"][0], seen["subject"][0]
    assert (repaint[subject < 0.49] == 1).all() and (repaint[subject > 0.51] == 0).mean() > 0.2
    height, width = seen["after"].shape[2:]
    cells = repaint.reshape(height, 8, width, 8)
    kept, painted = cells.max((1, 3)) == 0, cells.min((1, 3)) == 1
    change = np.abs(seen["after"] - seen["before"])[0]
    assert kept.any() and painted.any()
    assert change[:, kept].max() < 1e-3 < change[:, painted].mean()


def test_a_portrait_gets_a_plain_background(stocked):
    prompt = small(twin("4-portrait"))
    apply = find(prompt, "BiRefNetApplyMask")
    pictures, seen = run(stocked, prompt, mask=[apply, 3], foreground=[apply, 2])
    assert sorted(picture.mode for picture in pictures) == ["RGB", "RGBA"]
    colour = np.frombuffer(bytes.fromhex(prompt[apply]["inputs"]["colour"][1:]), np.uint8) / 255
    mask = seen["mask"][0][..., None]
    composite = next(np.asarray(picture) for picture in pictures if picture.mode == "RGB") / 255
    np.testing.assert_allclose(composite, seen["foreground"][0] * mask + colour * (1 - mask), atol=OF_EIGHT_BITS)


def test_every_picture_of_a_folder_is_cut_out(stocked):
    pictures, _ = run(stocked, twin("5-folder-to-cut-outs"))
    assert sorted(picture.size for picture in pictures) == list(FOLDER)
    for picture in pictures:
        alpha = np.asarray(picture)[..., 3]
        assert picture.mode == "RGBA" and alpha.min() < 20 and alpha.max() > 235


def film(path) -> tuple[np.ndarray, list[float]]:
    """A clip's frames [T, H, W, 4] 0..1, opaque where it has no alpha, and their times in seconds."""
    clip = Clip(path)
    pictures, times = [], []
    for frame in clip.frames():
        rgb, alpha = to_rgb(frame.picture) / 255, own_alpha(frame.picture)
        pictures.append(np.dstack([rgb, np.ones(rgb.shape[:2]) if alpha is None else alpha]))
        times.append(float(frame.pts * clip.info.time_base))
    return np.stack(pictures), times


def made(server, pattern: str):
    """The newest: tests of the frontend run the same workflows."""
    return max((server.base / "output" / "BiRefNet").glob(pattern), key=lambda path: path.stat().st_mtime_ns)


def sound_of(path) -> float:
    """How many seconds of sound a file has."""
    with av.open(str(path)) as container:
        [stream] = container.streams.audio
        return sum(frame.samples for frame in container.decode(stream)) / stream.codec_context.sample_rate


def test_a_clip_is_cut_out_with_its_sound(stocked):
    prompt = small(twin("6-clip-to-alpha"))
    entry = stocked.run(prompt)
    path = made(stocked, "clip-alpha_*.mov")
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.pix_fmt.startswith("yuva444p1")
    pictures, times = film(path)
    source, source_times = film(stocked.base / "input" / CLIP)
    assert times == pytest.approx(source_times, abs=1e-3)
    assert sound_of(path) == pytest.approx(sound_of(stocked.base / "input" / CLIP), abs=0.05)
    for picture, original in zip(pictures, source, strict=True):
        subject = picture[..., 3] > SOLID
        assert 0.05 < subject.mean() < 0.6 and (picture[..., 3] < 1 - SOLID).mean() > 0.3
        assert np.abs(picture[subject] - original[subject]).mean() < 2 / 255
    [shown] = entry["outputs"][find(prompt, "BiRefNetMatteVideo")]["images"]
    preview, _ = film(stocked.base / "temp" / shown["subfolder"] / shown["filename"])
    assert shown["type"] == "temp" and len(preview) == len(source)


def test_frames_of_a_clip_are_put_over_one_painted_scene(stocked):
    prompt = small(twin("7-clip-in-generated-scene"))
    apply, decode = find(prompt, "BiRefNetApplyMask"), find(prompt, "VAEDecode")
    frames = find(prompt, "BiRefNetVideoFrames")
    watched = {"mask": [apply, 3], "painted": [decode, 0], "frames": [frames, 0], "foreground": [apply, 2]}
    _, seen = run(stocked, prompt, **watched)
    source, _ = film(stocked.base / "input" / CLIP)
    assert seen["frames"].shape == (4, 128, 192, 3) and len(seen["painted"]) == 1
    assert nearest(seen["frames"], source[:, ::2, ::2, :3], size=(64, 96)) == [0, 12, 24, 36]
    path = made(stocked, "clip-scene_*.mp4")
    pictures, times = film(path)
    mask = seen["mask"][..., None]
    expected = seen["foreground"] * mask + seen["painted"] * (1 - mask)
    assert nearest(pictures[..., :3], expected) == [0, 1, 2, 3]
    assert np.abs(blocks(pictures[..., :3]) - blocks(expected)).mean() < 0.01  # H.264 drops most of the noise's colour
    assert (mask > SOLID).mean() > 0.05 and (mask < 1 - SOLID).mean() > 0.3
    assert times == pytest.approx([0, 0.5, 1, 1.5], abs=1e-3)
    assert sound_of(path) == pytest.approx(2, abs=0.05)


def blocks(pictures: np.ndarray) -> np.ndarray:
    """Means of 8 x 8 pixels."""
    count, height, width, channels = pictures.shape
    return pictures.reshape(count, height // 8, 8, width // 8, 8, channels).mean((2, 4))


def nearest(pictures: np.ndarray, among: np.ndarray, size: tuple[int, int] | None = None) -> list[int]:
    """For each picture the index of the most similar one. size: (height, width) at which they are compared."""
    if size is not None:
        pictures, among = (
            np.stack([np.asarray(Image.fromarray((p * 255).astype(np.uint8)).resize(size[::-1])) / 255 for p in some])
            for some in (pictures, among)
        )
    return [int(np.abs(among - picture).mean((1, 2, 3)).argmin()) for picture in pictures]


@pytest.mark.parametrize("bypassed", [False, True], ids=["picture", "green"])
def test_a_background_is_replaced(stocked, bypassed):
    prompt = small(twin("8-green-screen"))
    matte = find(prompt, "BiRefNetMatteVideo")
    prompt[matte]["inputs"]["filename_prefix"] += str(bypassed)
    if bypassed:
        del prompt[matte]["inputs"]["background_image"]
    stocked.run(prompt)
    path = made(stocked, f"green-screen{bypassed}_*.mp4")
    pictures, _ = film(path)
    source, _ = film(stocked.base / "input" / CLIP)
    height, width = source.shape[1:3]
    behind = Image.open(stocked.base / "input" / "example.png").convert("RGB")
    if bypassed:
        behind = Image.new("RGB", (width, height), "#00b140")
    behind = np.asarray(ImageOps.fit(behind, (width, height), Image.Resampling.LANCZOS)) / 255
    corner, subject = np.s_[: height // 8, : width // 8], np.s_[height // 3 : height // 2, width * 2 // 5 : width // 2]
    for picture, original in zip(pictures[..., :3], source[..., :3], strict=True):
        assert np.abs(picture[corner] - behind[corner]).mean() < 0.02
        assert np.abs(picture[subject] - original[subject]).mean() < 0.08 < np.abs(picture - behind)[subject].mean()
    assert sound_of(path) == pytest.approx(2, abs=0.05)


def middles(mask: np.ndarray) -> list[bool]:
    """Whether each of the two animals is in a mask [H, W]."""
    return [mask[y + height // 2, x + width // 2] > SOLID for x, y, width, height in (box.values() for box in BOXES)]


@pytest.mark.parametrize("painted", [True, False], ids=["painted", "not"])
def test_only_what_is_painted_on_is_cut_out(stocked, painted):
    prompt = twin("9-this-one")
    photo, apply = find(prompt, "LoadImage"), find(prompt, "BiRefNetApplyMask")
    if not painted:
        Image.open(ROOT / "demo" / "two.jpg").save(stocked.base / "input" / "two.png")
        prompt[photo]["inputs"]["image"] = "two.png"
    [picture], seen = run(stocked, prompt, mask=[apply, 3], photo=[photo, 0], hint=[photo, 1])
    assert seen["hint"].any() == painted and picture.mode == "RGBA"
    assert middles(seen["mask"][0]) == [True, not painted]
    alpha = np.asarray(picture)[..., 3] / 255
    np.testing.assert_allclose(alpha, seen["mask"][0], atol=OF_EIGHT_BITS)
    assert (alpha[:, 390:] < 0.1).mean() > (0.99 if painted else 0.3)


def test_sam_says_what_and_birefnet_draws_the_edge(stocked):
    """A hard mask in blocks stands in for what SAM 3 finds."""
    prompt = twin("10-sam3-says-what")
    photo, apply, detect = (find(prompt, kind) for kind in ("LoadImage", "BiRefNetApplyMask", "SAM3_Detect"))
    found = np.zeros((1, 440, 680, 3), np.float32)
    y, x = np.mgrid[:440, :680] // 8 * 8
    box = BOXES[1]
    across, down = (x - box["x"]) / box["width"] - 0.5, (y - box["y"]) / box["height"] - 0.6
    found[0][np.hypot(across, down * 0.8) < 0.48] = 1
    np.save(stocked.base / "input" / "found.npy", found)
    for key in (find(prompt, "CheckpointLoaderSimple"), find(prompt, "CLIPTextEncode")):
        del prompt[key]
    prompt["found"] = {"class_type": "ProbeImage", "inputs": {"name": "found.npy"}}
    prompt[detect] = {"class_type": "ImageToMask", "inputs": {"image": ["found", 0], "channel": "red"}}
    prompt[photo]["inputs"]["image"] = TWO
    [picture], seen = run(stocked, prompt, mask=[apply, 3], hint=[detect, 0])
    assert middles(seen["mask"][0]) == [False, True]
    assert set(np.unique(seen["hint"])) == {0, 1}
    soft = (seen["mask"][0] > 0.1) & (seen["mask"][0] < 0.9)
    assert 300 < soft.sum() < 20_000
    assert picture.mode == "RGBA" and picture.size == (680, 440)


def test_sam_is_asked_as_it_wants_to_be(stocked):
    """All that its nodes find fault with is that the checkpoint is not there."""
    prompt = twin("10-sam3-says-what")
    with pytest.raises(Refused) as refused:
        stocked.queue(prompt)
    [(node, found)] = refused.value.errors["node_errors"].items()
    assert node == find(prompt, "CheckpointLoaderSimple")
    assert [error["extra_info"]["input_name"] for error in found["errors"]] == ["ckpt_name"]


def test_the_one_that_is_painted_on_in_the_first_frame_is_cut_out_of_a_clip(stocked):
    """Which walks past the other one, to its right."""
    prompt = small(twin("11-this-one-in-a-clip"))
    prompt[find(prompt, "BiRefNetVideoFrames")]["inputs"]["count"] = 1
    stocked.run(prompt)
    pictures, _ = film(made(stocked, "this-one_*.mov"))
    assert len(pictures) == 48
    first, last = (picture[..., 3] for picture in (pictures[0], pictures[-1]))
    assert middles(np.asarray(Image.fromarray(first).resize((680, 440)))) == [True, False]
    left, right = last[:, : last.shape[1] // 3], last[:, last.shape[1] // 2 :]
    assert (right > SOLID).mean() > 0.3
    assert (left > 0.1).mean() < 0.15  # the other one's red fur alone is a fifth of it
