"""What of a clip does not come along into what it becomes, said once."""

from __future__ import annotations

from .formats import Format
from .notes import note
from .source import Source, audio_streams


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
