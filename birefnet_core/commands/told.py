"""What is said of a picture whose mattes have less of it than one might think."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..notes import note
from ..video.animation import moves

if TYPE_CHECKING:
    from ..matting.images import Picture
    from .pictures import Job


def tell(job: Job, picture: Picture, depth: int, metadata: bool) -> None:
    """A note for each thing of the job's picture that its outputs have not, or have otherwise. depth: bits of cut-outs.
    metadata: whether what the file says beside its pixels is to be kept."""
    if moves(job.source):
        note(f"{job.source} is animated, and this is its first frame: alone with --format apng it is matted whole")
    _tell_coding(job, picture, depth)
    _tell_reduced(job, picture, depth)
    if metadata:
        _tell_left_out(job, picture)


def _tell_coding(job: Job, picture: Picture, depth: int) -> None:
    """Say what becomes of colours that a PNG says are unlike sRGB's: EXR has their light, PNG tells what they are."""
    coding = picture.coding
    if coding is None or not coding.unlike:
        return
    for kind, path in job.outputs.items():
        suffix, has = path.suffix.lower(), f"{job.source} has {coding.unlike}"
        if kind == "composite":
            note(f"{has}: its background is taken as if it had that, too, convert the picture before")
        if kind == "alpha" or (suffix == ".exr" and coding.known):
            continue
        if suffix != ".png":
            note(f"{has}, which {suffix} cannot tell: wrong where sRGB's is expected, .png can (cICP)")
        elif coding.dynamic:
            bands = ", in bands with 8 bits (--output cutout --depth 16)" if depth == 8 or kind == "composite" else ""
            note(f"{has}: colours are kept as they are and told (cICP), flat where sRGB's is expected{bands}")


def _tell_reduced(job: Job, picture: Picture, depth: int) -> None:
    """Say it where a cut-out of more than 8 bits gets no more of its colours."""
    path = job.outputs.get("cutout")
    if picture.reduced and path is not None and (depth == 16 or path.suffix.lower() == ".exr"):
        note(f"{job.source}: only 8 of the bits of its colours are read, and {path} has no more of them")


def _tell_left_out(job: Job, picture: Picture) -> None:
    """Say what of the file EXR has no place for."""
    named = {"EXIF": picture.metadata.exif, "XMP": picture.metadata.xmp}
    for path in job.outputs.values():
        if path.suffix.lower() == ".exr" and any(named.values()):
            told = " and ".join(name for name, given in named.items() if given)
            note(f"{job.source}: {told} left out of {path}, which has no place for it (--strip-metadata asks for that)")
