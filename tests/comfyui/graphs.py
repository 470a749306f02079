"""What the example workflows consist of. `make_workflows` has the real frontend lay them out and write them down."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

HUB = "https://huggingface.co"
SD15 = {
    "name": "v1-5-pruned-emaonly-fp16.safetensors",
    "url": f"{HUB}/Comfy-Org/stable-diffusion-v1-5-archive/resolve/main/v1-5-pruned-emaonly-fp16.safetensors",
    "directory": "checkpoints",
}
SAM3 = {
    "name": "sam3.1_multiplex_fp16.safetensors",
    "url": f"{HUB}/Comfy-Org/sam3.1/resolve/main/checkpoints/sam3.1_multiplex_fp16.safetensors",
    "directory": "checkpoints",
}
CLIP = "clip.mp4"  # demo/clip.mp4, or the user's own
TWO = "two.webp"  # demo/two.webp, or the user's own
TWO_CLIP = "two.mp4"  # demo/two.mp4, which begins nearly with that picture
PORTRAIT = {
    "name": "BiRefNet-portrait.safetensors",
    "url": f"{HUB}/ZhengPeng7/BiRefNet-portrait/resolve/main/model.safetensors",
    "directory": "background_removal",
}


@dataclass(frozen=True)
class Node:
    """type: node id. inputs: input -> "node.OUTPUT" of another one. widgets: value of each that is not the default.
    models: files the frontend offers to download when they are missing. size: (width, height), None for the node's own.
    """

    type: str
    inputs: dict[str, str] = field(default_factory=dict)
    widgets: dict[str, Any] = field(default_factory=dict)
    title: str | None = None
    size: tuple[int, int] | None = None
    models: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True)
class Column:
    """Nodes below each other, with a frame and a title around them."""

    title: str
    nodes: dict[str, Node]
    colour: str = "#3f789e"


def note(text: str, height: int) -> Node:
    """A note in Markdown. Line breaks inside a paragraph are taken out: the page would show them."""
    text = re.sub(r"(?<=\S)\n(?![\n#\d-])", " ", text.strip())
    return Node("MarkdownNote", widgets={"text": text}, title="Read me", size=(340, height))


def photograph(file: str = "example.png") -> Node:
    return Node("LoadImage", widgets={"image": file}, size=(340, 360))


def load(model: str = "bundled", **options) -> Node:
    return Node(
        "LoadBiRefNet", widgets={"model": model}, size=(340, 240), **options
    )  # room for what it says after a run


def clip(file: str = CLIP) -> Node:
    return Node("LoadVideo", widgets={"file": file}, size=(340, 340))


def matte(prefix: str, *, behind: str | None = None, hint: str | None = None, **widgets) -> Node:
    inputs = {"video": "clip.VIDEO", "model": "load.model", "background_image": behind, "hint": hint}
    inputs = {name: source for name, source in inputs.items() if source}
    widgets = {"stabilise": 0.8, "filename_prefix": f"BiRefNet/{prefix}", **widgets}
    return Node("BiRefNetMatteVideo", inputs, widgets, size=(420, 860))  # room for the clip it shows


def segment(image: str, *, hint: str | None = None) -> Node:
    inputs = {"model": "load.model", "image": image, **({"hint": hint} if hint else {})}
    return Node("BiRefNetSegment", inputs, size=(340, 240 if hint else 170))


def apply(image: str, *, scene: str | None = None, **widgets) -> Node:
    inputs = {"image": image, "mask": "segment.mask"}
    if scene:
        inputs["background_image"] = scene
        widgets["background"] = "image"
    return Node("BiRefNetApplyMask", inputs, widgets, size=(320, 330))


def save(image: str, prefix: str) -> Node:
    return Node("SaveImage", {"images": image}, {"filename_prefix": f"BiRefNet/{prefix}"}, size=(400, 420))


def text(prompt: str, title: str) -> Node:
    return Node("CLIPTextEncode", {"clip": "checkpoint.CLIP"}, {"text": prompt}, title=title, size=(340, 130))


def checkpoint(file: dict[str, str] = SD15) -> Node:
    return Node("CheckpointLoaderSimple", widgets={"ckpt_name": file["name"]}, size=(340, 110), models=(file,))


def mask_preview(mask: str, title: str | None = None) -> Node:
    return Node("MaskPreview", {"mask": mask}, title=title, size=(340, 300))


def sampler(latent: str) -> Node:
    inputs = {"model": "checkpoint.MODEL", "positive": "wanted.CONDITIONING", "negative": "unwanted.CONDITIONING"}
    widgets = {"seed": 7, "steps": 25, "cfg": 7, "sampler_name": "dpmpp_2m", "scheduler": "karras"}
    return Node("KSampler", {**inputs, "latent_image": latent}, widgets, size=(300, 270))


def decode() -> Node:
    return Node("VAEDecode", {"samples": "sampler.LATENT", "vae": "checkpoint.VAE"}, size=(300, 50))


def half_megapixel() -> Node:
    widgets = {"upscale_method": "lanczos", "megapixels": 0.4, "resolution_steps": 8}
    return Node("ImageScaleToTotalPixels", {"image": "photo.IMAGE"}, widgets, size=(340, 110))


OWN_PICTURE = """
To begin, press **Run**: `example.png` comes with ComfyUI. Then drop a photograph of your own on **Load Image**; one to
try is in this pack's folder, `demo/photograph.jpg`.
"""
OWN_CLIP = """
Upload a clip of your own in **{node}**, then press **Run**. One to try is in this pack's folder: `demo/clip.mp4`.
"""
SD_SIZE = "Stable Diffusion 1.5 works at about 0.4 megapixels; for an SDXL checkpoint set **megapixels** to 1."

WORKFLOWS: dict[str, list[Column]] = {
    "1-cut-out": [
        Column(
            "1  Photograph",
            {
                "note": note(
                    f"""
# Cut out a subject
{OWN_PICTURE}
The saved PNG is transparent around the subject (output **cutout**, straight alpha).

The bundled model is small and works offline. For hair and fine detail choose a published model in **Load BiRefNet**:
it is downloaded when it is first used.
""",
                    240,
                ),
                "photo": photograph(),
            },
        ),
        Column("2  Find the subject", {"load": load(), "segment": segment("photo.IMAGE")}),
        Column(
            "3  Cut it out",
            {"apply": apply("photo.IMAGE"), "mask": Node("MaskPreview", {"mask": "apply.mask"}, size=(320, 300))},
        ),
        Column("4  Result", {"save": save("apply.cutout", "cut-out")}),
    ],
    "2-new-background": [
        Column(
            "1  Photograph",
            {
                "note": note(
                    f"""
# Repaint the background
{OWN_PICTURE}
Stable Diffusion repaints what the **inverted mask** marks: the background. Then the subject's own pixels are put back,
with the old background's colour taken out of their edges (**clean_foreground**).

{SD_SIZE}
""",
                    330,
                ),
                "photo": photograph(),
                "scale": half_megapixel(),
            },
        ),
        Column(
            "2  Find the subject",
            {
                "load": load(),
                "segment": segment("scale.IMAGE"),
                "grow": Node(
                    "GrowMask",
                    {"mask": "segment.inverted_mask"},
                    {"expand": 6},
                    title="Repaint up to the subject's edge",
                    size=(340, 90),
                ),
                "area": Node("MaskPreview", {"mask": "grow.MASK"}, title="White is repainted", size=(340, 300)),
            },
        ),
        Column(
            "3  What to paint",
            {
                "checkpoint": checkpoint(),
                "wanted": text(
                    "a quiet garden after rain, flowering shrubs, soft morning light, photograph",
                    "Background you want",
                ),
                "unwanted": text("person, animal, text, watermark, frame, blurry", "Background you do not want"),
            },
        ),
        Column(
            "4  Repaint",
            {
                "encode": Node("VAEEncode", {"pixels": "scale.IMAGE", "vae": "checkpoint.VAE"}, size=(300, 50)),
                "noise": Node("SetLatentNoiseMask", {"samples": "encode.LATENT", "mask": "grow.MASK"}, size=(300, 50)),
                "sampler": sampler("noise.LATENT"),
                "decode": decode(),
            },
        ),
        Column("5  Put the subject back", {"apply": apply("scale.IMAGE", scene="decode.IMAGE")}),
        Column("6  Result", {"save": save("apply.composite", "new-background")}),
    ],
    "3-generated-scene": [
        Column(
            "1  Photograph",
            {
                "note": note(
                    f"""
# Put a subject into a generated scene
{OWN_PICTURE}
The scene is painted from the text alone, in the photograph's shape. The subject goes on top, its edge feathered by a
pixel and freed of the old background's colour.

{SD_SIZE}
""",
                    310,
                ),
                "photo": photograph(),
                "scale": half_megapixel(),
            },
        ),
        Column("2  Find the subject", {"load": load(), "segment": segment("scale.IMAGE")}),
        Column(
            "3  What to paint",
            {
                "checkpoint": checkpoint(),
                "wanted": text(
                    "wide empty beach at sunset, low golden light, gentle waves, shallow depth of field, photograph",
                    "Scene you want",
                ),
                "unwanted": text("person, animal, text, watermark, frame", "Scene you do not want"),
            },
        ),
        Column(
            "4  Paint the scene",
            {
                "size": Node("GetImageSize", {"image": "scale.IMAGE"}, size=(300, 130)),
                "empty": Node("EmptyLatentImage", {"width": "size.width", "height": "size.height"}, size=(300, 110)),
                "sampler": sampler("empty.LATENT"),
                "decode": decode(),
            },
        ),
        Column("5  Put the subject in", {"apply": apply("scale.IMAGE", scene="decode.IMAGE", feather=1.0)}),
        Column("6  Result", {"save": save("apply.composite", "generated-scene")}),
    ],
    "4-portrait": [
        Column(
            "1  Photograph",
            {
                "note": note(
                    f"""
# Portrait on a plain background
{OWN_PICTURE}
Uses the published **BiRefNet-portrait** weights, about 0.9 GB. Press **Run** and Load BiRefNet downloads and checks
them, if they are not there yet; or put the file there yourself:
`models/background_removal/BiRefNet-portrait.safetensors`.

No download wanted? Choose **bundled** in Load BiRefNet.
""",
                    330,
                ),
                "photo": photograph(),
            },
        ),
        Column(
            "2  Find the person",
            {"load": load("BiRefNet-portrait", models=(PORTRAIT,)), "segment": segment("photo.IMAGE")},
        ),
        Column("3  Plain background", {"apply": apply("photo.IMAGE", background="colour", colour="#d8dde3")}),
        Column(
            "4  Results",
            {"save": save("apply.composite", "portrait"), "save cut-out": save("apply.cutout", "portrait-cut-out")},
        ),
    ],
    "5-folder-to-cut-outs": [
        Column(
            "1  Photographs",
            {
                "note": note(
                    """
# Cut out a whole folder
1. Make a folder `photographs` in ComfyUI's `input` folder and put your pictures into it.
2. Press **R**, so that ComfyUI sees it, and choose it below.
3. Press **Run**. The cut-outs are in `output/BiRefNet/folder/`, transparent PNGs, numbered.

Pictures may differ in size; each is worked on by itself, but all are held in memory. ComfyUI remembers what it read:
after adding pictures to the folder choose *Unload Models and Execution Cache* from the menu and run again.

For thousands of pictures, or to keep their names, use the command line:
`python -m birefnet_core matte photographs/ -o cut-outs/`
""",
                    430,
                ),
                "photos": Node("LoadImageDataSetFromFolder", widgets={"folder": "photographs"}, size=(340, 60)),
            },
        ),
        Column("2  Find the subjects", {"load": load(), "segment": segment("photos.images")}),
        Column("3  Cut them out", {"apply": apply("photos.images")}),
        Column("4  Results", {"save": save("apply.cutout", "folder/cut-out")}),
    ],
    "6-clip-to-alpha": [
        Column(
            "1  Clip",
            {
                "note": note(
                    f"""
# Cut a subject out of a clip
{OWN_CLIP.format(node="Load Video")}
**Matte Video** writes a ProRes 4444 file with alpha and the clip's sound into `output/BiRefNet/` while it runs: the
clip may be as long as you like. What it shows is a small copy on a checkerboard.

- **format** `webm` is for web pages, `png` gives numbered pictures, `side-by-side` is for checking.
- **stabilise** takes flicker out; 0 mattes every frame by itself.
- **clean_foreground** takes the old background's colour out of soft edges; it is slower.
- Stopped early, what was done is kept, with `.partial` in its name.

The bundled model is small and works offline. For hair and fine detail choose a published one in **Load BiRefNet**.
""",
                    410,
                ),
                "clip": clip(),
            },
        ),
        Column("2  Model", {"load": load()}),
        Column("3  Matte and save", {"matte": matte("clip-alpha")}),
    ],
    "7-clip-in-generated-scene": [
        Column(
            "1  Clip",
            {
                "note": note(
                    f"""
# Put a clip's subject into a generated scene
{OWN_CLIP.format(node="Video Frames")}
Two seconds of it become an image batch that any node may change on its way. Stable Diffusion paints one scene, which
stays the same behind all frames; one painted for every frame would flicker. Frame rate and sound go along to the end.

All frames lie in memory at once: **count**, **every_nth** and **longest_side** say how many and how large. For whole
clips use Matte Video, which streams.
""",
                    390,
                ),
                "frames": Node(
                    "BiRefNetVideoFrames",
                    widgets={"file": CLIP, "count": 48, "longest_side": 768},
                    size=(340, 640),
                ),
            },
        ),
        Column("2  Find the subject", {"load": load(), "segment": segment("frames.frames")}),
        Column(
            "3  What to paint",
            {
                "checkpoint": checkpoint(),
                "wanted": text(
                    "moonlit valley, snowy mountains under a starry sky, soft haze, photograph", "Scene you want"
                ),
                "unwanted": text("person, animal, text, watermark, frame", "Scene you do not want"),
            },
        ),
        Column(
            "4  Paint the scene",
            {
                "size": Node("GetImageSize", {"image": "frames.frames"}, size=(300, 130)),
                "empty": Node("EmptyLatentImage", {"width": "size.width", "height": "size.height"}, size=(300, 110)),
                "sampler": sampler("empty.LATENT"),
                "decode": decode(),
            },
        ),
        Column("5  Put the subject in", {"apply": apply("frames.frames", scene="decode.IMAGE", feather=1.0)}),
        Column(
            "6  Result",
            {
                "create": Node(
                    "CreateVideo",
                    {"images": "apply.composite", "fps": "frames.fps", "audio": "frames.audio"},
                    size=(400, 110),
                ),
                "save": Node(
                    "SaveVideo", {"video": "create.VIDEO"}, {"filename_prefix": "BiRefNet/clip-scene"}, size=(400, 400)
                ),
            },
        ),
    ],
    "8-green-screen": [
        Column(
            "1  Clip",
            {
                "note": note(
                    f"""
# Replace a background without a green screen
{OWN_CLIP.format(node="Load Video")}
The subject is put on the picture below, as after keying, whatever was behind it. The result is an H.264 file with the
clip's sound in `output/BiRefNet/`, written while it runs.

Shot before a real green or blue screen? **screen** is `auto`: then hair and motion blur come from the screen's colour.
Without one nothing changes.

**Plain green for an editor that keys?** Select **New background** and press **Ctrl+B** (bypass): then the subject is
put on **background_colour**, `#00b140`, the green of studio screens.

An editor that takes alpha does better with the workflow *6-clip-to-alpha*.
""",
                    400,
                ),
                "clip": clip(),
            },
        ),
        Column(
            "2  Model and background",
            {
                "load": load(),
                "scene": Node("LoadImage", widgets={"image": "example.png"}, title="New background", size=(340, 360)),
            },
        ),
        Column(
            "3  Replace and save",
            {
                "matte": matte(
                    "green-screen",
                    behind="scene.IMAGE",
                    format="h264",
                    background_colour="#00b140",
                    clean_foreground=True,
                    screen="auto",
                )
            },
        ),
    ],
    "9-this-one": [
        Column(
            "1  Paint on the one you want",
            {
                "note": note(
                    """
# This one
1. Drop a picture with several subjects on **Load Image**. One to try is in this pack's folder, `demo/two.webp`; on it
the left animal is painted on already.
2. Right click **Load Image**, choose **Open in MaskEditor**, paint on the one you want and save. A thin stroke is
enough.
3. Press **Run**.

What is painted is the **hint**: it says which, and the model draws the edge. With nothing painted on a
picture without transparency it takes everything that stands out.

Boxes do as well: connect *Create Bounding Boxes* (ComfyUI 0.27 and later) to **boxes** of **Segment**. A layer for
each of several subjects: *Split Subjects (BiRefNet)*.
""",
                    340,
                ),
                "photo": photograph(TWO),
            },
        ),
        Column(
            "2  Find only this one",
            {
                "load": load(),
                "segment": segment("photo.IMAGE", hint="photo.MASK"),
                "painted": mask_preview("photo.MASK", "The hint"),
            },
        ),
        Column("3  Cut it out", {"apply": apply("photo.IMAGE"), "mask": mask_preview("apply.mask", "Its mask")}),
        Column("4  Result", {"save": save("apply.cutout", "this-one")}),
    ],
    "10-sam3-says-what": [
        Column(
            "1  Photograph",
            {
                "note": note(
                    f"""
# SAM 3 says what, BiRefNet draws the edge
{OWN_PICTURE}
**SAM 3** finds what the words name: `person`, `dog`, `red car`; `person:3` is at most three of them. Its mask is hard
and rough at the edge. As a **hint** it says which subject is meant, and BiRefNet draws hair and soft edges.

SAM 3 is a checkpoint of about 1.7 GB, which ComfyUI offers to download: `models/checkpoints/{SAM3["name"]}`.

A layer for each of several: switch **individual_masks** on and connect the masks to *Split Subjects (BiRefNet)*.
""",
                    360,
                ),
                "photo": photograph(),
            },
        ),
        Column(
            "2  SAM 3 says what",
            {
                "checkpoint": checkpoint(SAM3),
                "words": text("girl", "What to cut out"),
                "detect": Node(
                    "SAM3_Detect",
                    {"model": "checkpoint.MODEL", "image": "photo.IMAGE", "conditioning": "words.CONDITIONING"},
                    size=(340, 190),
                ),
                "rough": mask_preview("detect.masks", "What SAM 3 found"),
            },
        ),
        Column("3  BiRefNet draws the edge", {"load": load(), "segment": segment("photo.IMAGE", hint="detect.masks")}),
        Column("4  Cut it out", {"apply": apply("photo.IMAGE"), "mask": mask_preview("apply.mask", "BiRefNet's mask")}),
        Column("5  Result", {"save": save("apply.cutout", "sam3")}),
    ],
    "11-this-one-in-a-clip": [
        Column(
            "1  Clip",
            {
                "note": note(
                    """
# This one, in a clip

To try it, upload `demo/two.mp4` of this pack's folder in **Load Video** and `demo/two.webp` in **Load Image**:
nearly the clip's first frame, on which the left animal is painted on already. Then press **Run**: the matte follows it
past the other one.

With a clip of your own:
1. Upload it in **Load Video** and press **Run**. **Preview Image** shows its first frame.
2. Right click that, choose **Copy (Clipspace)**, then right click **Load Image** and choose **Paste (Clipspace)**.
3. Right click **Load Image**, choose **Open in MaskEditor**, paint on the one you want, save, and press **Run**.

Each frame's hint comes from the frames before it. A line on **Matte Video** says where the subject left, and where a
cut ended the hint; **after_cut** chooses what is matted from there.

In place of the painted mask: those of *SAM3_Detect* for the first frame, or of *SAM3_TrackToMask*, one for each frame.
""",
                    520,
                ),
                "clip": clip(TWO_CLIP),
            },
        ),
        Column(
            "2  Paint on the one you want",
            {
                "first": Node(
                    "BiRefNetVideoFrames",
                    {"video": "clip.VIDEO"},
                    {"file": "(the video input)", "count": 1},
                    title="Its first frame",
                    size=(340, 400),
                ),
                "shown": Node("PreviewImage", {"images": "first.frames"}, size=(340, 300)),
                "photo": photograph(TWO),
            },
        ),
        Column("3  Model", {"load": load()}),
        Column("4  Matte and save", {"matte": matte("this-one", hint="photo.MASK")}),
    ],
}
