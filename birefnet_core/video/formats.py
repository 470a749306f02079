"""What clips can become: one row a format."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..matting.outputs import PREMULTIPLIED, STRAIGHT


@dataclass(frozen=True)
class Format:
    """A kind of output.

    shows: "cutout" (colours and alpha, straight), "composite" (on a background), "alpha" (grey) or "side-by-side".
    muxer: FFmpeg's name of the container; None: a folder of numbered pictures. pixels: FFmpeg's pixel format. even: the
    sides must be even, odd pictures grow by one repeated line. copies: audio codecs that go into the container as they
    are; others become `audio`. fields: the encoder's options for interlaced frames, by field order; empty where the
    format cannot hold any. alphas: how colours may go with alpha, "straight" or "premultiplied", by default the first.
    dynamic: holds high dynamic range (PQ, HLG) as it is. linear: in linear light, numbered as compositors count.
    animation: an animated picture, whose pixels are square and which is made in one go.
    """

    name: str
    label: str
    suffix: str
    shows: str
    muxer: str | None
    codec: str
    pixels: str
    options: dict[str, str] = field(default_factory=dict)
    even: bool = False
    muxer_options: dict[str, str] = field(default_factory=dict)
    copies: tuple[str, ...] = ()
    audio: str | None = None
    fields: dict[str, dict[str, str]] = field(default_factory=dict)
    alphas: tuple[str, ...] = (STRAIGHT,)
    dynamic: bool = False
    linear: bool = False
    animation: bool = False


_ANY_TAG = {"movflags": "use_metadata_tags"}  # without it MOV and MP4 take tags of known names only
_X264 = {"crf": "16", "preset": "medium"}
_FIELDS = {"top": {"flags": "+ildct", "field_order": "tt"}, "bottom": {"flags": "+ildct", "field_order": "bb"}}
_X264_FIELDS = {
    "top": {"flags": "+ildct", "x264-params": "tff=1"},
    "bottom": {"flags": "+ildct", "x264-params": "bff=1"},
}
_MP4_AUDIO = ("aac", "mp3", "ac3", "eac3", "alac")
_MOV_PCM = tuple(f"pcm_{kind}" for kind in ("u8", "s8", "alaw", "mulaw")) + tuple(
    f"pcm_{kind}{order}" for kind in ("s16", "s24", "s32", "f32", "f64") for order in ("le", "be")
)
_MP4 = {
    "suffix": ".mp4",
    "muxer": "mp4",
    "codec": "libx264",
    "pixels": "yuv420p",
    "even": True,
    "options": _X264,
    "muxer_options": _ANY_TAG,
    "copies": _MP4_AUDIO,
    "audio": "aac",
    "fields": _X264_FIELDS,
}

FORMATS = {
    row.name: row
    for row in (
        Format(
            name="prores",
            label="ProRes 4444 with alpha (.mov)",
            suffix=".mov",
            shows="cutout",
            muxer="mov",
            codec="prores_ks",
            pixels="yuva444p10le",
            options={"profile": "4444", "alpha_bits": "16", "vendor": "apl0"},
            muxer_options=_ANY_TAG,
            copies=(*_MP4_AUDIO, *_MOV_PCM),
            audio="aac",
            fields=_FIELDS,
            alphas=(STRAIGHT, PREMULTIPLIED),
            dynamic=True,
        ),
        Format(
            name="webm",
            label="VP9 with alpha (.webm)",
            suffix=".webm",
            shows="cutout",
            muxer="webm",
            codec="libvpx-vp9",
            pixels="yuva420p",
            # auto-alt-ref: its hidden frames do not go with an alpha plane.
            options={"crf": "20", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1", "auto-alt-ref": "0"},
            copies=("opus", "vorbis"),
            audio="libopus",
        ),
        Format(
            name="png",
            label="PNG pictures with alpha (folder)",
            suffix="",
            shows="cutout",
            muxer=None,
            codec="png",
            pixels="rgba",
            # A 1080p frame takes 80 ms of a CPU at level 1 and 450 at the default 6, for 2.4 MB in place of 1.9.
            options={"compression_level": "1"},
        ),
        Format(
            name="png16",
            label="PNG pictures of 16 bits with alpha (folder)",
            suffix="",
            shows="cutout",
            muxer=None,
            codec="png",
            pixels="rgba64be",
            options={"compression_level": "1"},
            dynamic=True,
        ),
        Format(
            name="exr",
            label="EXR pictures in linear light with alpha (folder)",
            suffix="",
            shows="cutout",
            muxer=None,
            codec="exr",
            pixels="gbrapf32le",
            options={"format": "half", "compression": "zip16"},
            alphas=(PREMULTIPLIED, STRAIGHT),
            dynamic=True,
            linear=True,
        ),
        Format(
            name="webp",
            label="animated WebP with alpha (.webp)",
            suffix=".webp",
            shows="cutout",
            muxer="webp",
            codec="libwebp_anim",
            pixels="bgra",
            options={"quality": "90"},
            muxer_options={"loop": "0"},
            animation=True,
        ),
        Format(
            name="apng",
            label="animated PNG with alpha (.apng)",
            suffix=".apng",
            shows="cutout",
            muxer="apng",
            codec="apng",
            pixels="rgba",
            muxer_options={"plays": "0"},
            animation=True,
        ),
        Format(name="h264", label="H.264 on a background (.mp4)", shows="composite", **_MP4),
        Format(name="mask", label="H.264 of the mask (.mp4)", shows="alpha", **_MP4),
        Format(
            name="side-by-side",
            label="H.264 of source, mask and cut-out side by side (.mp4)",
            shows="side-by-side",
            **_MP4,
        ),
    )
}


def find_format(name: str) -> Format:
    """ValueError for a name that is not in FORMATS."""
    if name not in FORMATS:
        raise ValueError(f"there is no video format {name!r}: choose one of {', '.join(FORMATS)}")
    return FORMATS[name]
