"""The tables of a recipe that belong to one room each: values alone, so that every room may read them."""

from __future__ import annotations

from dataclasses import dataclass, field

SIDE_MULTIPLE = 32  # of the network; compositing itself needs 16


@dataclass(frozen=True)
class SceneStyle:
    """What a recipe says about its pictures.

    Attributes:
        object_counts: chances of 0, 1, 2, ... objects in a picture; all of them are foreground.
        sources: share of the draws for each folder of foregrounds; folders that are not named share nothing.
            Empty means every file is equally likely.
        cut: folders of foregrounds whose pictures are cut below, as busts are; they end at the frame's lower border.
        emphasised: object names (before `_<view>`) drawn `emphasis` times as often as others of their folder.
        procedural_background: share of pictures without a photograph behind the objects.
        cluttered_background: share of pictures with a crowd of other objects, one far too close, grass, wires or
            leaves behind the objects.
        painted: share of pictures that look painted with a broad brush.
        plain: share of pictures that are left as composed (no blur, noise, compression or toning).
        extents: how large a single object is: [share, least, most] each, in frames; 1 just fits, more runs out of it.
        cut_extent: [least, most] of one that is cut below.
        people: folders of foregrounds that show people.
        together: share of pictures with two to four people beside each other.
        holding: share of people with another object over them, as if they held or wore it.
        behind: share of pictures with something before the objects that is not asked for: a table, bars, a blur.
        closer: share of the pictures with a hint for one subject that are seen from nearer, with a rough mask as hint.
        camouflaged: share of pictures whose objects take on the colours of what lies behind them.
        shining: folders of what shines; what lies behind it is dark.
        paper: folders of what is drawn or printed; half of it lies on a plain sheet.
        lights: share of pictures in each light (train/scenes/light.py has the names); the others stay as they are.
        invented: relative chances of the backgrounds without a photograph (train/scenes/backgrounds.py has the names);
            empty means the first seven, equally likely, as it did before there were more.
    """

    object_counts: tuple[float, ...] = (0.03, 0.62, 0.24, 0.11)
    sources: dict[str, float] = field(default_factory=dict)
    cut: tuple[str, ...] = ()
    emphasised: tuple[str, ...] = ()
    emphasis: float = 1.0
    procedural_background: float = 0.25
    cluttered_background: float = 0.0
    painted: float = 0.0
    plain: float = 0.15
    extents: tuple[tuple[float, ...], ...] = ((0.3, 0.15, 0.4), (0.6, 0.4, 1.0), (0.1, 1.0, 1.5))
    cut_extent: tuple[float, ...] = (0.45, 1.3)
    people: tuple[str, ...] = ()
    together: float = 0.0
    holding: float = 0.0
    behind: float = 0.0
    closer: float = 0.0
    camouflaged: float = 0.0
    shining: tuple[str, ...] = ()
    paper: tuple[str, ...] = ()
    lights: dict[str, float] = field(default_factory=dict)
    invented: dict[str, float] = field(default_factory=dict)


# The backgrounds that are invented, and the lights, which recipes name. What is drawn depends on their order.
INVENTED = (
    *("gradient", "studio", "clouds", "pattern", "hills", "facade", "drops"),
    *("bokeh", "glitter", "sky", "wall", "ground"),
)
LIGHTS = ("night", "backlit", "coloured", "neon", "flash", "dappled")

# Of the draws with a hint, how many are of each kind (train/shared/hints.py) where a recipe says nothing. These shares
# stay, so that a run goes on as it began.
HINT_KINDS = {
    "exact": 0.10,
    "eroded": 0.13,
    "dilated": 0.13,
    "shifted": 0.12,
    "blurred": 0.08,
    "coarser": 0.12,
    "box": 0.12,
    "dots": 0.08,
    "scribble": 0.07,
    "wrong": 0.05,
}


@dataclass(frozen=True)
class HintStyle:
    """What a recipe says about the hints of a network that takes one.

    Attributes:
        share: of the draws, how many have a hint.
        kinds: relative chances of each kind of hint; a kind that is not named is not drawn.
    """

    share: float = 2 / 3
    kinds: dict[str, float] = field(default_factory=lambda: dict(HINT_KINDS))


@dataclass(frozen=True)
class Augmentation:
    """The default is the paper's (section 4.3): "horizontal flip is the only data augmentation".

    Attributes:
        flip: chance of a mirror image.
        crop: least share of each side that a random crop keeps; 1 keeps the whole picture.
        rotate: spread of random angles, in degrees.
        colour: strength of random brightness, contrast, saturation and warmth; 0 is none, 1 is strong.
        degrade: chance of a softer, noisier or more compressed picture.
        plain_background: chance of one random colour instead of all that is not foreground.
    """

    flip: float = 0.5
    crop: float = 1.0
    rotate: float = 0.0
    colour: float = 0.0
    degrade: float = 0.0
    plain_background: float = 0.0


@dataclass(frozen=True)
class LossWeights:
    """What each term counts for. The defaults are the paper's (lambda 1-4, and 1 for the gradient maps).

    Fine-tuning on the region level (section 3.6) is the same loss with other weights: `LossWeights(bce=0, ssim=0)`.
    The IoU term is summed over the pictures of a step. `iou_pictures` scales it to that many, whatever the batch size:
    the paper's eight GPUs each sum over 4 pictures and then average, which is `iou_pictures=4`. 0 leaves the sum.
    """

    bce: float = 30.0
    iou: float = 0.5
    ssim: float = 10.0
    mae: float = 0.0
    structure: float = 0.0
    contour: float = 0.0
    gradient: float = 1.0
    classes: float = 5.0
    iou_pictures: int = 0
