"""The pictures of `python -m birefnet_core matte`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from ..matting.outputs import WRITE_OPTIONS, check_depth, is_premultiplied, refuse_existing, write_options
from ..matting.size import fit_inside, network_size
from ..notes import note, notes_to
from ..video.formats import FORMATS
from .outputs import attempt, names_a_file, refuse_clashes
from .told import tell

if TYPE_CHECKING:
    from torch import Tensor

    from ..matting.images import Picture
    from ..matting.model import MattingModel

KINDS = ("cutout", "alpha", "composite")


@dataclass(frozen=True)
class Job:
    """One picture: where it is, its name below an output folder, and where each kind of output goes."""

    source: Path
    name: Path
    outputs: dict[str, Path]


def kinds(args: argparse.Namespace) -> list[str]:
    """The kinds of output asked for; --background stands for a composite, --depth 16 for alpha unless a cut-out is
    asked for, as it is by a suffix that alpha has not, where nothing else is."""
    asked = set(args.output or ())
    if args.background is not None:
        asked.add("composite")
    suffix = args.suffix or Path(args.out).suffix.lower()
    of_others = {other for options in WRITE_OPTIONS.values() for other in options} - WRITE_OPTIONS["alpha"].keys()
    if args.depth == 16 and "cutout" not in asked and (asked or suffix not in of_others):
        asked.add("alpha")
    return [kind for kind in KINDS if kind in asked] or ["cutout"]


def plan(
    sources: list[tuple[Path, Path]],
    out: str,
    kinds: list[str],
    *,
    single: bool = False,
    suffix: str = ".png",
    depth: int = 8,
    alphas: str | None = None,
) -> list[Job]:
    """Where everything goes. Raises ValueError when two outputs would share a name or one would replace an input, or
    when a kind is not written with its suffix, or not in that depth or with alpha so."""
    jobs = [Job(source, name, outputs(name, single, out, kinds, suffix)) for source, name in sources]
    for job in jobs:
        for kind, path in job.outputs.items():
            check_suffix(path, kind)
            if kind == "cutout":
                is_premultiplied(path, alphas)
                check_depth(path, depth)
    written = ((job.source, path) for job in jobs for path in job.outputs.values())
    refuse_clashes((source for source, _ in sources), written)
    return jobs


def check_suffix(path: Path, kind: str) -> None:
    """ValueError when the kind is not written as this; of a clip's suffix it says what would be."""
    try:
        write_options(path, kind)
    except ValueError as error:
        named = [row.name for row in FORMATS.values() if row.suffix == path.suffix.lower()]
        if not named:
            raise
        raise ValueError(f"{error}; for all frames of an animated picture add --format {named[0]}") from None


def outputs(name: Path, single: bool, out: str, kinds: list[str], suffix: str = ".png") -> dict[str, Path]:
    """The output of each kind for the picture called name; single: it is the only input, and may go to a file. suffix:
    of files in a folder."""
    single = single and names_a_file(out)
    base = Path(out) if single else Path(out) / name.with_suffix(suffix)
    if len(kinds) == 1:
        return {kinds[0]: base}
    suffix = base.suffix.lower()
    suffixes = {kind: suffix if suffix in WRITE_OPTIONS[kind] else ".png" for kind in kinds}
    return {kind: base.with_name(f"{base.stem}_{kind}{suffixes[kind]}") for kind in kinds}


def matte_files(model: MattingModel, jobs: list[Job], **options) -> int:
    """Matte and write every job, options as of matte_file, with a progress bar on stderr.

    A job that fails is reported there in one sentence and the rest go on, and an interrupt says how many are whole.
    Returns how many failed.
    """
    failed = 0
    with tqdm(jobs, unit="picture", file=sys.stderr, disable=not jobs) as progress:
        for done, job in enumerate(progress):
            try:
                with notes_to(lambda text: tqdm.write(text, file=sys.stderr)):
                    failed += not attempt(job.source, partial(matte_file, model, job, **options))
            except KeyboardInterrupt:
                tqdm.write(f"{done - failed} of {len(jobs)} pictures are matted", file=sys.stderr)
                raise
    return failed


def matte_file(
    model: MattingModel,
    job: Job,
    *,
    size: int | tuple[int, int] | None = None,
    mode: str = "whole",
    edges: str = "auto",
    edge_radius: int | None = None,
    keep_aspect: bool = False,
    background: str | Picture = "white",
    depth: int = 8,
    alphas: str | None = None,
    trim: bool = False,
    square: float | None = None,
    invert: bool = False,
    clean_foreground: bool = True,
    screen: str = "off",
    despill: str = "off",
    despill_strength: float = 1.0,
    metadata: bool = True,
    overwrite: bool = False,
    hint_of: Callable[[Path, tuple[int, int]], Tensor | None] | None = None,
) -> None:
    """Read, matte and write one picture. What was transparent in the file is transparent in its mattes.

    size, mode, edges, edge_radius: as of MattingModel.predict; with keep_aspect, size is the box inside which the
    picture's aspect is fitted. background: of a composite, as of images.write_composite. depth: bits of an alpha
    picture and a cut-out. alphas: as of images.write_cutout. trim, square: as of framing.framed; where the subject was
    is said on stdout. invert: keep the background. clean_foreground: take the old background's colour out of the soft
    edges of cut-outs and composites. screen, despill, despill_strength: as of video.screens.Screens; neither of the two
    goes with invert. metadata: keep the file's resolution, EXIF and XMP. overwrite: replace existing outputs. hint_of:
    from the picture's name and (width, height) to the hint [1, h, w] that says which subject.
    """
    from ..matting import images
    from ..matting.foreground import estimate_foreground
    from ..matting.framing import framed
    from ..matting.masks import FAINT
    from ..matting.metadata import at_size
    from ..video.screens import Screens

    for path in job.outputs.values():
        refuse_existing(path, overwrite)
    picture = images.read(job.source)
    tell(job, picture, depth, metadata)
    height, width = picture.pixels.shape[:2]
    if keep_aspect:
        size = fit_inside((width, height), network_size(size, model.spec.size, (width, height)))
    hint = None if hint_of is None else hint_of(job.name, (width, height))
    look = {"size": size, "mode": mode, "hint": hint, "edges": edges, "edge_radius": edge_radius}
    alpha = model.predict(picture.pixels[None], **look)[0]
    if hint is not None and alpha.max() <= FAINT:
        note(f"{job.source.name}: the hint names nothing that is seen, nothing is matted")
    if invert:
        alpha = 1 - alpha
    pixels, own = picture.pixels, picture.alpha
    estimated = None
    if clean_foreground and job.outputs.keys() - {"alpha"}:
        pixels = estimated = estimate_foreground(pixels[None], alpha[None], None if own is None else own[None])[0]
    if (screen, despill) != ("off", "off"):
        screens = Screens(screen, despill, despill_strength)
        alpha, pixels = screens(picture.pixels, alpha, estimated) or (alpha, pixels)
        if text := screens.told(str(job.source)):
            note(text)
    if own is not None:
        alpha = alpha * own
    kept = picture.metadata if metadata else images.NOTHING
    cut = framed(pixels, alpha, trim=trim, square=square)
    if cut.alpha.shape != alpha.shape or any(cut.position):
        kept = at_size(kept, (cut.alpha.shape[1], cut.alpha.shape[0]))
        x, y = cut.position
        tqdm.write(f"{job.source}: {cut.alpha.shape[1]} x {cut.alpha.shape[0]} pixels from {x}, {y}")
    pixels, alpha = cut.pixels, cut.alpha
    saving = {"metadata": kept, "overwrite": overwrite}
    for kind, path in job.outputs.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "alpha":
            images.write_alpha(path, alpha, depth=depth, position=cut.position, **saving)
        elif kind == "cutout":
            whole = (width, height) if trim and square is None else None  # a square is a picture of its own
            about = {"depth": depth, "alphas": alphas, "position": cut.position, "whole": whole}
            about |= {"icc_profile": picture.icc_profile, "coding": picture.coding}
            images.write_cutout(path, pixels, alpha, **about, **saving)
        else:
            about = {"position": cut.position, "icc_profile": picture.icc_profile, "coding": picture.coding}
            images.write_composite(path, pixels, alpha, background, **about, **saving)
