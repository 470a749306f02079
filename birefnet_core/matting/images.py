"""Picture files: reading every common kind upright and unclipped, writing mattes whole or not at all."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms
from torch import Tensor

from ..picture_files import deep_levels, deep_values, is_grey, opened, stated_bits, upright
from ..whole import whole_file
from . import deep as deep_files
from . import grey_profile, rgb_profile
from .coding import Coding, coding_of
from .colour_names import parse_colour
from .compose import cover, over
from .linear import to_linear
from .metadata import Metadata, metadata_of, save_options
from .outputs import check_depth, is_premultiplied, refuse_existing, write_options
from .tensors import unit

NOTHING = Metadata()


@dataclass(frozen=True)
class Picture:
    """A picture as `read` gives it.

    pixels: [H, W, 3] float32 0..1. alpha: the file's own transparency [H, W] float32 0..1, None without one.
    icc_profile: of pixels, None stands for sRGB. name: the file's name. metadata: what else the file says, true of the
    picture as it stands upright. coding: what a PNG says of pixels by its chunk cICP, which counts before a profile.
    reduced: whether the file has more bits a channel than the 8 of pixels.
    """

    pixels: Tensor
    alpha: Tensor | None
    icc_profile: bytes | None
    name: str
    metadata: Metadata = NOTHING
    coding: Coding | None = None
    reduced: bool = False

    @property
    def on_black(self) -> Tensor:
        """What it shows, [H, W, 3] float32 0..1: black where it is transparent."""
        return self.pixels if self.alpha is None else self.pixels * self.alpha[..., None]


def read(path: str | os.PathLike) -> Picture:
    """Read a picture of any format in picture_files.FORMATS, the first frame of an animation, turned upright by its
    EXIF orientation.

    Pictures of 16 bits keep them, grey and colour, but for CMYK with a profile. RGB keeps its colours and its ICC
    profile. CMYK and grey become sRGB, through the embedded profile where there is one; the values of grey without
    one, or with a damaged one, are taken as sRGB.
    Raises ImageError for a missing, foreign or damaged file, and for one that does not fit in memory.
    """
    with opened(path) as image:
        return _picture(image, Path(path))


def _picture(image: Image.Image, path: Path) -> Picture:
    profile = image.info.get("icc_profile")
    black, white = deep_levels(image)
    opened, image = image, upright(image)
    metadata, coding = metadata_of(opened, image.size), coding_of(path)
    deep, grey = deep_values(path, opened, upright), None
    if image.mode == "CMYK":
        deep = None if deep is None or profile is not None else _without_inks(deep)
        image, profile = _srgb_from_cmyk(image, profile), None
    elif profile is not None and profile[16:20] != b"RGB ":  # the header's colour space field
        grey = grey_profile.to_srgb(profile) if is_grey(image) and coding is None else None
        profile = None
    if image.mode == "F" or image.mode.startswith("I"):
        pixels, alpha = _deep_grey(image, black, white)
    elif image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA"))
        pixels, alpha = rgba[..., :3], rgba[..., 3]
    else:
        pixels, alpha = np.asarray(image.convert("RGB")), None
    reduced = deep is None and not is_grey(image) and stated_bits(path, opened) > 8
    if deep is not None:
        deep = deep.astype(np.float32) / 65535
        pixels = deep[..., :3] if deep.shape[2] > 2 else deep[..., :1].repeat(3, axis=2)
        alpha = alpha if deep.shape[2] == 3 else deep[..., -1]
    pixels, alpha = _unit(pixels), None if alpha is None else _unit(alpha)
    if grey is not None:
        pixels = torch.from_numpy(grey(pixels[..., 0].numpy()))[..., None].repeat(1, 1, 3)
    return Picture(pixels, alpha, profile, path.name, metadata, coding, reduced)


def _without_inks(values: np.ndarray) -> np.ndarray:
    """uint16 [H, W, 4] of CMYK -> [H, W, 3] of RGB, as Pillow makes it of 8 bits where there is no profile."""
    light = 1 - values.astype(np.float32) / 65535
    return (light[..., :3] * light[..., 3:] * 65535 + 0.5).astype(np.uint16)


def _srgb_from_cmyk(image: Image.Image, profile: bytes | None) -> Image.Image:
    if profile is not None:
        with contextlib.suppress(ImageCms.PyCMSError, OSError):  # a damaged or foreign profile: as if there were none
            return ImageCms.profileToProfile(
                image,
                ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
    return image.convert("RGB")


def _deep_grey(image: Image.Image, black: int, white: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Grey of more than 8 bits as float [H, W, 3] and its transparency; Pillow's own conversion would clip it to 8."""
    grey = np.asarray(image).astype(np.float64)
    transparent = image.info.get("transparency")
    alpha = None if transparent is None else (grey != transparent).astype(np.float32)
    if image.mode == "F":
        least, most = -1, 2  # room for what resizers overshoot
    else:
        grey, least, most = (grey - black) / (white - black), 0, 1
    if not (grey.min() >= least and grey.max() <= most):  # NaN fails too
        raise ValueError("its grey values are neither integers 0..65535 nor floating point 0..1, save it with 16 bits")
    return np.repeat(grey.clip(0, 1).astype(np.float32)[..., None], 3, axis=2), alpha


def _unit(values: np.ndarray) -> Tensor:
    """uint8 0..255 or float 0..1 -> float32 0..1."""
    return unit(torch.from_numpy(np.array(values)))


def write_alpha(
    path: str | os.PathLike,
    alpha: Tensor,
    *,
    depth: int = 8,
    position: tuple[int, int] = (0, 0),
    metadata: Metadata = NOTHING,
    overwrite: bool = False,
) -> None:
    """Write alpha [H, W] 0..1 as a grey PNG of depth 8 or 16 bits. position: as of write. Errors as in write."""
    if depth not in (8, 16):
        raise ValueError(f"depth must be 8 or 16, not {depth!r}")
    image = Image.fromarray(_integers(alpha, depth))
    write(path, image, "alpha", position=position, metadata=metadata, overwrite=overwrite)


def write_cutout(
    path: str | os.PathLike,
    pixels: Tensor,
    alpha: Tensor,
    *,
    depth: int = 8,
    alphas: str | None = None,
    position: tuple[int, int] = (0, 0),
    whole: tuple[int, int] | None = None,
    icc_profile: bytes | None = None,
    coding: Coding | None = None,
    metadata: Metadata = NOTHING,
    overwrite: bool = False,
) -> None:
    """Write pixels [H, W, 3] and alpha [H, W], both 0..1, as RGBA: PNG, lossless WebP, TIFF or EXR by suffix.

    depth: bits a channel of PNG and TIFF, 8 or 16; EXR has half floats in linear light. alphas: "straight" or
    "premultiplied"; None: premultiplied in EXR, else straight. position: (x, y) of the picture in a larger one of size
    `whole` (width, height), which PNG, TIFF and EXR keep. coding: as of Picture; PNG tells it, and EXR has the light
    that it stands for. Errors as in write, and ValueError for what the format does not hold.
    """
    path = Path(path)
    options, premultiplied = write_options(path, "cutout"), is_premultiplied(path, alphas)
    check_depth(path, depth)
    if options["format"] == "EXR":
        # Which says nothing of its colours: they are taken for linear light of sRGB's primaries.
        to_light = rgb_profile.to_light(icc_profile) if icc_profile else to_linear
        to_light = coding.to_light if coding else to_light
        colours = pixels if to_light else _in_space(pixels, icc_profile, None)
        rgba = np.dstack([values.cpu().float().clamp(0, 1) for values in (colours, alpha)])
        how = {"to_light": to_light or to_linear, "premultiplied": premultiplied, "dpi": metadata.dpi}
        save = partial(deep_files.write_exr, rgba=rgba, **how)
    elif options["format"] == "TIFF":
        colours = pixels * alpha[..., None] if premultiplied else pixels
        about = {"dpi": metadata.dpi, "exif": metadata.exif, "xmp": metadata.xmp, "icc_profile": icc_profile}
        rgba = np.dstack([_integers(colours, depth), _integers(alpha, depth)])
        save = partial(deep_files.write_tiff, rgba=rgba, premultiplied=premultiplied, position=position, **about)
    else:
        rgba = np.dstack([_integers(pixels, depth), _integers(alpha, depth)])
        write_it = partial(deep_files.write_png, rgba=rgba) if depth == 16 else Image.fromarray(rgba).save
        options = options | save_options(metadata, options["format"]) | {"icc_profile": icc_profile}
        save = partial(write_it, **options)
    _save(path, save, overwrite, position, whole, coding)


def _in_space(pixels: Tensor, given: bytes | None, wanted: bytes | None) -> Tensor:
    """pixels [H, W, 3] 0..1 of one profile as those of another, None being sRGB, through Pillow's conversion, which has
    8 bits. As they are where the two are the same."""
    if given == wanted:
        return pixels
    image = Image.fromarray(_integers(pixels))
    with contextlib.suppress(ImageCms.PyCMSError, OSError):  # a damaged or foreign profile: as if there were none
        image = ImageCms.profileToProfile(
            image, _profile(given), _profile(wanted), renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC
        )
    return _unit(np.asarray(image))


def _profile(profile: bytes | None) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB") if profile is None else io.BytesIO(profile))


def write_composite(
    path: str | os.PathLike,
    pixels: Tensor,
    alpha: Tensor,
    background: str | Picture,
    *,
    position: tuple[int, int] = (0, 0),
    icc_profile: bytes | None = None,
    coding: Coding | None = None,
    metadata: Metadata = NOTHING,
    overwrite: bool = False,
) -> None:
    """Write pixels [H, W, 3] over a background through alpha [H, W], all 0..1, as PNG, JPEG or WebP by suffix.

    background: a colour as of colour_names.parse_colour, in the picture's own colour space, or a picture, which covers
    it, cut at its longer sides and on black where it is transparent. position, coding: as of write.
    ValueError for an unknown colour, other errors as in write.
    """
    behind = _covering(background, alpha.shape, icc_profile) if isinstance(background, Picture) else None
    image = Image.fromarray(_integers(over(pixels, alpha, parse_colour(background) if behind is None else behind)))
    about = {"position": position, "icc_profile": icc_profile, "coding": coding, "metadata": metadata}
    write(path, image, "composite", overwrite=overwrite, **about)


def _covering(background: Picture, shape: tuple[int, int], profile: bytes | None) -> Tensor:
    """A background [H, W, 3] 0..1 for a picture of shape (H, W) that has this profile."""
    return _in_space(cover(background.on_black[None], *shape)[0], background.icc_profile, profile)


def _integers(values: Tensor, depth: int = 8) -> np.ndarray:
    """0..1 -> the nearest of 0..255 or 0..65535."""
    most = 2**depth - 1
    return values.cpu().float().clamp(0, 1).mul_(most).round_().numpy().astype(np.uint8 if depth == 8 else np.uint16)


def write(
    path: str | os.PathLike,
    image: Image.Image,
    kind: str,
    *,
    position: tuple[int, int] = (0, 0),
    icc_profile: bytes | None = None,
    coding: Coding | None = None,
    metadata: Metadata = NOTHING,
    overwrite: bool = False,
) -> None:
    """Write a picture of a kind in outputs.WRITE_OPTIONS, whole or not at all. position: (x, y) in a larger picture,
    which PNG keeps. coding: as of Picture, which PNG tells.

    Raises ValueError for a suffix the kind is not written as, FileExistsError unless overwrite, OSError from the disk.
    """
    path = Path(path)
    options = write_options(path, kind)
    options = options | save_options(metadata, options["format"])
    _save(path, partial(image.save, icc_profile=icc_profile, **options), overwrite, position, coding=coding)


def _save(
    path: Path,
    save: Callable[[Path], None],
    overwrite: bool,
    position: tuple[int, int],
    whole: tuple[int, int] | None = None,
    coding: Coding | None = None,
) -> None:
    refuse_existing(path, overwrite)
    with whole_file(path) as temporary:
        save(temporary)
        if any(position) and path.suffix.lower() == ".png":
            deep_files.put_position(temporary, position)
        if coding is not None and path.suffix.lower() == ".png":
            deep_files.put_chunk(temporary, b"cICP", coding.chunk)
        if whole is not None and path.suffix.lower() == ".exr":
            deep_files.put_windows(temporary, position, whole)
        refuse_existing(path, overwrite)  # somebody may have written it meanwhile
