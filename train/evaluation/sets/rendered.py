"""E2 and E3: renders of models that training never saw, on photographs that training never saw, with exact mattes.

E2 shows solid things (furniture, tools, a car, two people), E3 thin ones and leaves (plants, a swing, a racket, glass
tables): train/scenes/renders/held_out.txt. The photographs are those of E1. The maple, the bicycles and the railings
of the package are in the training pack and therefore not here. `lemur` may name a folder with lemur.png and
lemur_alpha.png, the one real photograph with a fur matte (CC0, from the pymatting project's repository): E3 then has it
too.
"""

from __future__ import annotations

import csv
import hashlib
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from birefnet_core.picture_files import opened, upright
from train.scenes.renders.lights import unpack_lights
from train.scenes.renders.models import held_out, unpacked
from train.scenes.renders.render import Job, Quality, render_all
from train.shared.pictures import read_matte, save_picture, to_grey
from train.shared.processes import processes_for

from . import composites, e1

VIEWS = {"E2": (0, 1, 2), "E3": (0, 1, 2, 3, 4, 5)}
SEEDS = {"E2": 2025, "E3": 2026}
QUALITY = Quality(size=512, samples=16)


def build_e2(packages: str | Path, out: str | Path, *, quality: Quality = QUALITY) -> str:
    """Build E2 from the packages into the new folder `out`, as e1.build does; needs bpy."""
    return build("E2", packages, out, quality=quality)


def build_e3(packages: str | Path, out: str | Path, *, lemur: Path | None = None, quality: Quality = QUALITY) -> str:
    """Build E3 likewise, with the lemur where `lemur` names its folder."""
    return build("E3", packages, out, lemur=lemur, quality=quality)


def build(name: str, packages: str | Path, out: str | Path, *, lemur: Path | None = None, quality: Quality) -> str:
    """One image a render. ValueError or FileNotFoundError name what is wrong with a package, `lemur` or `out`."""
    packages = Path(packages)
    composites.check_new(out)
    photographs = composites.read_backgrounds(packages, e1.listed_backgrounds())
    beside = [_rgb(lemur / "lemur.png"), to_grey(read_matte(lemur / "lemur_alpha.png"))] if lemur else []
    with tempfile.TemporaryDirectory() as temporary:
        renders = render_held_out(name, packages, Path(temporary), quality)

        def write(folder: Path) -> str:
            fingerprint = composites.write_composites(
                folder, renders, photographs, images=len(renders), seed=SEEDS[name]
            )
            return _add_lemur(folder, *beside, fingerprint) if beside else fingerprint

        return composites.build_whole(out, write)


def _add_lemur(folder: Path, image: Image.Image, truth: Image.Image, fingerprint: str) -> str:
    """Put the lemur beside the renders and into their index. Returns the fingerprint of the set with it."""
    for picture, kind in ((image, "im"), (truth, "gt")):
        save_picture(picture, folder / kind / "lemur.png")
    foreground = np.asarray(truth).mean() / 255
    with (folder / "index.csv").open("a", newline="", encoding="utf-8") as file:
        csv.writer(file).writerow(["lemur", *image.size, "", "lemur.png", f"{foreground:.4f}"])
    return hashlib.sha256(fingerprint.encode() + image.tobytes() + truth.tobytes()).hexdigest()[:16]


def _rgb(path: Path) -> Image.Image:
    with opened(path) as picture:
        return upright(picture).convert("RGB")


def render_held_out(name: str, packages: Path, folder: Path, quality: Quality) -> dict[str, Image.Image]:
    """The renders of a set's models by "catalogue/model_view". ValueError when a model is not in the package."""
    (folder / "lights").mkdir()
    lights = tuple(unpack_lights(packages, folder / "lights"))
    wanted = {key for key, which in held_out().items() if which == name}
    with unpacked(packages) as models:
        chosen = [model for model in models if (model.catalogue, model.name) in wanted]
        if missing := wanted - {(model.catalogue, model.name) for model in chosen}:
            raise ValueError(f"the package lacks {len(missing)} models of {name}, such as {'/'.join(min(missing))}")
        jobs = [Job(model, VIEWS[name], folder / "renders", lights, quality) for model in chosen]
        render_all(jobs, processes=processes_for(8 * len(jobs)))
    found = sorted((folder / "renders").glob("[!.]*/[!.]*.webp"))
    return {f"{path.parent.name}/{path.stem}": Image.open(path).convert("RGBA") for path in found}
