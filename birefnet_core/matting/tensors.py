"""Pictures as tensors: checked, brought to 0..1, resized."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of float [N, C, H, W] to size (height, width), antialiased downwards as Pillow's is."""
    if images.shape[2:] == tuple(size):
        return images
    options = {"size": tuple(size), "mode": "bilinear", "antialias": True}
    try:
        return F.interpolate(images, **options)
    except NotImplementedError:  # not every backend has the antialiased kernel
        return F.interpolate(images.cpu(), **options).to(images.device)


def unit(values: Tensor) -> Tensor:
    """float32 0..1 from uint8 0..255 or from floating point, clamped to 0..1; always a new tensor."""
    return values.float().div_(255) if values.dtype == torch.uint8 else values.float().clamp(0, 1)


def check_values(tensor: Tensor, name: str) -> None:
    """ValueError for a tensor that has not a value for each of its places: sparse ones, and those of device meta."""
    if tensor.is_meta or tensor.layout != torch.strided:
        kind = "on the device meta, which holds no values" if tensor.is_meta else f"of the layout {tensor.layout}"
        raise ValueError(f"{name} must be a plain tensor, not one {kind}")


def check_images(images: Tensor, *, alpha: bool = False) -> None:
    """ValueError, one sentence, unless images can be matted (see MattingModel.predict). alpha: whether a fourth channel
    is used, and looked at too."""
    if not isinstance(images, Tensor):
        raise ValueError(f"images must be a tensor [B, H, W, 3], not {type(images).__name__}")
    check_values(images, "images")
    shape = list(images.shape)
    if len(shape) == 3:
        raise ValueError(f"images must be [B, H, W, 3], not {shape}: add a batch dimension with images[None]")
    if len(shape) != 4 or shape[3] not in (3, 4):
        hint = ": move the channels last with images.movedim(1, -1)" if len(shape) == 4 and shape[1] in (3, 4) else ""
        raise ValueError(f"images must be [B, H, W, 3] or [B, H, W, 4], not {shape}{hint}")
    if 0 in shape[1:3]:
        raise ValueError(f"images must have at least one pixel a side, not {shape}")
    if images.dtype == torch.uint8:
        return
    if not images.is_floating_point() or images.element_size() < 2:
        raise ValueError(f"images must be floating point 0..1 or uint8 0..255, not {images.dtype}")
    for index, image in enumerate(
        images if alpha else images[..., :3]
    ):  # one at a time: no temporary grows with their number
        least, most = (value.item() for value in image.aminmax())
        if not (abs(least) < float("inf") and abs(most) < float("inf")):
            raise ValueError(f"images[{index}] has NaN or infinite values")
        if most > 2:
            raise ValueError(f"images[{index}] goes up to {most:g}, which looks like 0..255: divide by 255")
