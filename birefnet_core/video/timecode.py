"""The timecode of a clip's first frame, as editors find takes by it, moved to the first frame that is written."""

from __future__ import annotations

import re
from fractions import Fraction

from .formats import Format
from .notes import note
from .read import Clip
from .source import video_stream

WRITTEN = re.compile(r"(\d\d):(\d\d):(\d\d)([:;.,])(\d{1,3})")  # hours, minutes, seconds, frames; ; where some drop out
UNCOUNTED = 1001  # the first frame's number where nothing counts
HIGHEST = 255  # frames a second; the field in MOV is one byte


def timecode_of(clip: Clip) -> str:
    """The timecode of the clip's first frame as its file says, "" where it says none."""
    with clip.source.open() as container:
        stream = video_stream(container, clip.source)
        places = [stream.metadata, container.metadata, *(other.metadata for other in container.streams)]
    for tags in places:
        for key, value in tags.items():
            if key.lower() == "timecode" and WRITTEN.fullmatch(value):
                return value
    return ""


def with_timecode(
    metadata: dict[str, str] | None, clip: Clip, format: Format, begin: Fraction, every: int
) -> dict[str, str]:
    """A file's tags with the timecode of the frame that is shown `begin` seconds after the clip's first. every: one
    frame of so many is written; then no timecode counts them. Where there can be none, a note says so."""
    code, tags = timecode_of(clip), dict(metadata or {})
    if not code:
        return tags
    moved = later(code, round(begin * clip.info.frame_rate), clip.info.frame_rate)
    if every > 1:
        why = f"it counts frames, and one of {every} is written"
    elif not moved:
        why = f"none counts {float(clip.info.frame_rate):g} frames a second"
    elif format.linear:  # in the numbers of its pictures
        return tags
    elif not format.muxer:
        why = f"{format.label} has no place for it"
    else:
        return tags | {"timecode": moved}
    note(f"{clip.info.name}: its timecode {code} is left out: {why}")
    return tags


def first_number(clip: Clip, format: Format, begin: Fraction, every: int, *, timecode: bool = True) -> int:
    """The number of the first of a folder's pictures, which is shown `begin` seconds after the clip's first frame: in
    linear formats the frame that the clip's timecode counts, if `timecode` is wanted, else 1001 as compositors have it;
    in others 1."""
    if not format.linear:
        return 1
    code, rate = timecode_of(clip) if timecode else "", clip.info.frame_rate
    counted = _count(code, round(rate)) if code and every == 1 and 1 <= round(rate) <= HIGHEST else None
    return UNCOUNTED if counted is None else counted + round(begin * rate)


def _count(code: str, second: int) -> int:
    """How many frames after midnight a timecode is, `second` of them in a second as it counts."""
    hours, minutes, seconds, mark, number = WRITTEN.fullmatch(code).groups()
    passed = int(hours) * 60 + int(minutes)
    dropped = _dropped(mark, second)
    return (passed * 60 + int(seconds)) * second + int(number) - dropped * (passed - passed // 10)


def _dropped(mark: str, second: int) -> int:
    """Numbers left out of each minute but every tenth."""
    return second // 15 if mark in ";.," and second % 30 == 0 else 0


def later(code: str, frames: int, rate: Fraction) -> str:
    """The timecode so many frames later, over midnight too; "" where none counts frames of that rate.

    With a semicolon it keeps to the clock at 29.97, 59.94 and the like: the first numbers of each minute but every
    tenth are dropped, two of thirty.
    """
    second = round(rate)  # as timecode counts: 30 for 29.97
    if not 1 <= second <= HIGHEST:
        return ""
    dropped = _dropped(WRITTEN.fullmatch(code)[4], second)
    count = _count(code, second) + frames
    minute, tens = 60 * second - dropped, 600 * second - 9 * dropped
    count %= 144 * tens
    passed, rest = divmod(count, tens)
    passed *= 10
    if dropped and rest >= 60 * second:
        more, rest = divmod(rest - 60 * second, minute)
        passed, rest = passed + 1 + more, rest + dropped
    elif not dropped:
        more, rest = divmod(rest, minute)
        passed += more
    digits = len(str(second - 1))
    return f"{passed // 60:02}:{passed % 60:02}:{rest // second:02}{';' if dropped else ':'}{rest % second:0{digits}}"
