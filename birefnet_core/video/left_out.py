"""What of a clip does not come along into what it becomes, said once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..matting.coding import CHROMATICITIES, DYNAMIC, UNUSUAL, WIDE
from .colour import Colours
from .formats import FORMATS, Format
from .notes import note
from .source import ClipInfo, Source, audio_streams

if TYPE_CHECKING:
    import av

UNTOLD = ("libwebp_anim",)  # codecs whose pictures do not say what their primaries are
# Side data of frames of high dynamic range, by FFmpeg's names.
OF_DISPLAYS = {
    "MASTERING_DISPLAY_METADATA": "mastering display",
    "CONTENT_LIGHT_LEVEL": "light levels",
    "DYNAMIC_HDR_PLUS": "HDR10+",
    "DOVI_METADATA": "Dolby Vision",
}


def note_left_out(source: Source, format: Format, *, sound: bool) -> None:
    """sound: whether the clip's sound was wanted; what was not wanted need not be said."""
    from av.stream import Disposition

    with source.open() as container:
        streams = container.streams
        moving = [stream for stream in streams.video if not stream.disposition & Disposition.attached_pic]
        tracks = len(streams.audio) if format.audio is None else len(streams.audio) - len(audio_streams(container))
        parts = [
            _counted(len(moving) - 1, "further picture track"),
            _counted(tracks if sound else 0, "sound track" if format.audio is None else "sound track of unknown codec"),
            _counted(len(streams.subtitles), "subtitle track"),
            _counted(len(container.chapters()), "chapter"),
        ]
    if parts := [part for part in parts if part]:
        note(f"{source.name}: left out of {format.label}: {', '.join(parts)}")


def _counted(count: int, what: str) -> str:
    """ "2 chapters"; "" for none."""
    what, _, rest = what.partition(" of ")
    plural = "s" if count > 1 else ""
    return f"{count} {what}{plural}{' of ' + rest if rest else ''}" if count > 0 else ""


def refuse_dynamic(info: ClipInfo, colours: Colours, format: Format) -> None:
    """ValueError for colours of high dynamic range in a format of 8 bits, where they would band; a mask has none."""
    if colours.dynamic and not format.dynamic and format.shows != "alpha":
        able = " or ".join(name for name, row in FORMATS.items() if row.dynamic)
        raise ValueError(
            f"{info.name} is of high dynamic range ({colours.dynamic}), which {format.label} does not hold: "
            f"choose {able}, or convert the clip before"
        )


def note_of_displays(info: ClipInfo, first: av.VideoFrame, format: Format) -> None:
    """What a clip of high dynamic range tells of displays, by its first frame."""
    found = {data.type.name for data in first.side_data}
    told = [what for name, what in OF_DISPLAYS.items() if name in found]
    if told and format.shows != "alpha":
        note(f"{info.name}: left out of {format.label}: what it tells of displays ({', '.join(told)})")


def note_how_shown(info: ClipInfo, format: Format | None, colours: Colours | None = None) -> None:
    """What frames alone do not tell of how they are to be shown. format: None for frames in memory. colours: the
    clip's, where more is known of them than info has."""
    primaries = (colours or info).primaries
    curve, wide = DYNAMIC.get(info.transfer), WIDE.get(primaries)
    if wide and not (curve and format is None) and (format is None or format.codec in UNTOLD):
        where = "frames" if format is None else format.label
        note(f"{info.name} has the primaries of {wide}, which {where} cannot tell: dull where sRGB's are expected")
    if wide and format is not None and format.linear:
        kept = "keeps and tells (chromaticities)" if primaries in CHROMATICITIES else "keeps and cannot tell"
        note(f"{info.name} has the primaries of {wide}, which EXR {kept}: dull where sRGB's are expected")
    if curve and (format is None or format.codec == "png"):
        how = "are given" if format is None else "are kept, in pictures that say so (cICP),"
        note(f"{info.name} is of high dynamic range ({curve}): colours {how} as they are, flat where sRGB is expected")
    if unusual := UNUSUAL.get((colours or info).transfer):
        _note_unusual(info, unusual, format)
    if info.field_order and (format is None or not format.fields):
        where = "frames" if format is None else format.label
        note(
            f"{info.name} is interlaced, {info.field_order} field first, which {where} cannot tell: moving edges show "
            "combs unless it is deinterlaced before"
        )


def _note_unusual(info: ClipInfo, curve: str, format: Format | None) -> None:
    """curve: what its curve of standard range is of. EXR has light, other pictures and clips say which curve it is."""
    if format is None or format.codec == "libwebp_anim":
        where = "frames" if format is None else format.label
        note(f"{info.name} has the curve of {curve}, which {where} cannot tell: wrong where sRGB's is expected")
    elif format.shows in ("composite", "side-by-side"):
        note(
            f"{info.name} has the curve of {curve}, which {format.label} keeps: what is put behind the subject is not "
            "brought to it and looks wrong, convert the clip before"
        )
