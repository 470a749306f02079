"""The models of Debian's sweethome3d-furniture: which there are, which to train with and which to measure with."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from train.shared.debian import find_package, read_files
from train.shared.lists import read_list

PACKAGE = "sweethome3d-furniture"
CATALOGUES = ("BlendSwap-CC-0", "BlendSwap-CC-BY", "KatorLegaz", "Reallusion", "Scopia")  # CC0 the first, else CC-BY
LARGEST = 60_000_000  # bytes of a model's OBJ; larger ones take minutes to read
# Words in the names of what is part of a building or a street, and nothing that one cuts out.
PARTS_OF_BUILDINGS = (
    *("door", "porte", "window", "opening", "curtain", "wall", "ceiling", "stairs", "escalier", "elevator", "passage"),
    *("box_room", "rug", "doormat", "bathmat", "switch", "dimmer", "plug-", "rj-", "-whites", "billet", "sign"),
    *("sidewalk", "road", "fleche"),
)
# Words in the names of what looks different from each side, or is rare among the models: people, animals, plants, and
# what is thin.
VARIED = (
    *("male", "girl", "boy", "woman", "cat", "dog", "horse", "rabbit", "deer", "chicken", "doll", "teddy", "robot"),
    *(
        "mannequin",
        "tree",
        "plant",
        "palm",
        "maple",
        "beech",
        "poplar",
        "pine",
        "cypress",
        "acacia",
        "bamboo",
        "bonsai",
    ),
    *("ficus", "orchid", "flower", "roses", "bush", "bicycle", "bike", "motor", "stroller", "railing", "fence"),
    *("clothes", "hammock", "swing", "headphones", "glasses", "chandel", "basket", "antenna"),
)


@dataclass(frozen=True)
class Model:
    catalogue: str
    name: str
    path: Path  # of its .obj; materials and textures lie beside it

    @property
    def varied(self) -> bool:
        return any(word in self.name.lower() for word in VARIED)


@contextmanager
def unpacked(packages: Path) -> Iterator[list[Model]]:
    """Every model that one might cut out, sorted, unpacked for as long as the context lasts (400 MB)."""
    inside = {f"usr/share/sweethome3d/furniture/{name}.sh3f": name for name in CATALOGUES}
    archives = read_files(find_package(packages, PACKAGE), inside)
    with tempfile.TemporaryDirectory() as temporary:
        models = []
        for path, catalogue in inside.items():
            folder = Path(temporary, catalogue)
            with zipfile.ZipFile(io.BytesIO(archives.pop(path))) as archive:
                archive.extractall(folder)
            models += [Model(catalogue, found.stem, found) for found in folder.rglob("*.obj") if _is_object(found)]
        yield sorted(models, key=lambda model: (model.catalogue, model.name))


def held_out() -> dict[tuple[str, str], str]:
    """The set ("E2" or "E3") of every (catalogue, model) that training never sees."""
    lines = read_list(Path(__file__).with_name("held_out.txt"))
    return {(catalogue, name): which for which, catalogue, *names in lines for name in names}


def _is_object(path: Path) -> bool:
    named_so = any(word in path.stem.lower() for word in PARTS_OF_BUILDINGS)
    return not named_so and path.stat().st_size < LARGEST
