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
