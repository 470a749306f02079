"""Which objects go where: draws training pictures from a pack of cut-outs.

Every draw of picture i comes from a generator seeded by (seed, i) alone, so a resumed run, another batch size or
another number of workers sees the same pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from train.shared import hints
from train.tables import SIDE_MULTIPLE, SceneStyle

from .backgrounds import procedural
from .clutter import close_up, crowd, foliage, strands
from .compositing import (
    adjust,
    cast_shadow,
    colour_matrix,
    defocus,
    focal_plane,
    gaussian_blur,
    homography,
    jpeg,
    match_colours,
    over,
    paint,
    premultiply,
    sample,
)
from .cutouts import Pack, Picture


def draw_probabilities(foregrounds: list[Picture], style: SceneStyle) -> np.ndarray:
    """Chance of each foreground in one draw.

    Raises:
        ValueError: `style.sources` names a folder that the pack does not have.
    """
    weights = np.array([style.emphasis if picture.name in style.emphasised else 1.0 for picture in foregrounds])
    if style.sources:
        sources = np.array([picture.source for picture in foregrounds])
        missing = sorted(set(style.sources) - set(sources))
        if missing:
            raise ValueError(
                f"The recipe draws from {', '.join(missing)}, which --data does not have; "
                f"it has {', '.join(sorted(set(sources)))}. --set scenes.sources={{}} draws from all alike."
            )
        shares = np.zeros(len(foregrounds))
        for source, share in style.sources.items():
            chosen = sources == source
            shares[chosen] = share * weights[chosen] / weights[chosen].sum()
        weights = shares
    return weights / weights.sum()


def _maybe(rng: np.random.Generator, chance: float) -> bool:
    return rng.random() < chance


def _resized(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear [C,h,w] -> [C,H,W]."""
    return F.interpolate(picture[None], size=size, mode="bilinear", align_corners=False)[0]


def _place(picture: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Where one of `count` objects stands -> frame-to-object matrix. Mostly 40-100 % of the frame; sometimes a bust."""
    height, width = picture.shape[-2:]
    bust = count == 1 and height > 1.8 * width and _maybe(rng, 0.3)  # as people are mostly shown
    if bust:
        extent = rng.uniform(1.5, 4.0)
    elif count == 1:
        extent = rng.choice([rng.uniform(0.15, 0.4), rng.uniform(0.4, 1.0), rng.uniform(1.0, 1.5)], p=[0.3, 0.6, 0.1])
    else:
        extent = rng.uniform(0.2, 0.7)
    stretch = math.exp(rng.normal(0, 0.08))
    half_size = (extent * width / max(width, height) * stretch, extent * height / max(width, height) / stretch)
    room = [abs(1 - half) + 0.15 for half in half_size]
    centre = [rng.uniform(-1, 1) * value * (0.6 if count == 1 else 1.0) for value in room]
    if bust:
        centre = [rng.normal(0, 0.2), half_size[1] + rng.uniform(-1.05, -0.4)]
    elif _maybe(rng, 0.3):  # standing on, or cut by, the lower border
        centre[1] = 1 - half_size[1] * rng.uniform(0.4, 1.0)
    angle = rng.uniform(-math.pi, math.pi) if _maybe(rng, 0.08) else rng.normal(0, 0.12)
    return homography(
        centre=tuple(centre),
        half_size=half_size,
        angle=angle,
        shear=rng.normal(0, 0.06),
        perspective=tuple(rng.normal(0, 0.05, 2)),
        flip=_maybe(rng, 0.5),
    )


def _place_cut(picture: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """As _place, for a picture that is cut below: it stands on the lower border and is not tilted much."""
    height, width = picture.shape[-2:]
    extent = rng.uniform(0.45, 1.3) if count == 1 else rng.uniform(0.3, 0.8)
    half_size = (extent * width / max(width, height), extent * height / max(width, height))
    angle = rng.normal(0, 0.05)
    below = abs(math.sin(angle)) * half_size[0] + rng.uniform(0.02, 0.25) * half_size[1]
    centre = (rng.normal(0, 0.3 if count == 1 else 0.5), 1 - half_size[1] + below)
    return homography(centre=centre, half_size=half_size, angle=angle, flip=_maybe(rng, 0.5))


def _recolour(colour: Tensor, rng: np.random.Generator, *, strength: float = 1.0) -> Tensor:
    """Random saturation, hue, warmth, contrast, brightness and gamma of straight colours [3,H,W]."""
    if _maybe(rng, 0.2):
        return colour
    warmth = rng.normal(0, 0.06 * strength, 3)
    hue = rng.uniform(-math.pi, math.pi) if _maybe(rng, 0.12 * strength) else rng.normal(0, 0.08)
    matrix = colour_matrix(saturation=rng.uniform(0.4, 1.5), hue=hue, gains=tuple(1 + warmth))
    colour = colour.clamp(1e-4, 1) ** math.exp(rng.normal(0, 0.2))
    return adjust(colour, matrix, contrast=rng.uniform(0.7, 1.3), brightness=rng.normal(0, 0.06))


SEVERAL = 0.75  # of the pictures with a hint


def _check_side(size: int) -> None:
    if size % SIDE_MULTIPLE:
        raise ValueError(
            f"size {size} is not a multiple of {SIDE_MULTIPLE}; use {-(-size // SIDE_MULTIPLE) * SIDE_MULTIPLE}."
        )


def _over_each_other(objects: list[Tensor], size: int, device: torch.device) -> Tensor:
    """Premultiplied layers [4,S,S], the rearmost first -> one; an empty frame is all zeros."""
    layer = torch.zeros(4, size, size, device=device)
    for each in objects:
        layer = over(each[None], layer[None])[0]
    return layer


def _visible(objects: list[Tensor], size: int, device: torch.device) -> Tensor:
    """How much of each is seen of those layers laid over each other: [K,S,S], which sum up to the alpha of all."""
    seen, through = [], torch.ones(size, size, device=device)
    for each in reversed(objects):
        seen.append(each[3] * through)
        through = through * (1 - each[3])
    return torch.stack(seen[::-1]) if seen else torch.zeros(0, size, size, device=device)


class Scenes:
    """Endless composites of a pack. `batch` gives pictures 0..1 and their alpha, on the pack's device."""

    def __init__(self, pack: Pack, style: SceneStyle, *, seed: int) -> None:
        self.pack, self.style, self.seed = pack, style, seed
        self.probabilities = draw_probabilities(pack.foregrounds, style)
        self.device = pack.foregrounds[0].pixels.device

    def batch(self, indices: list[int] | range, size: int) -> tuple[Tensor, Tensor]:
        """Pictures `indices` at `size` x `size` -> (images [N,3,S,S], alpha [N,1,S,S]), both float32 in 0..1.

        Raises:
            ValueError: `size` is no multiple of 32.
        """
        _check_side(size)
        rngs = [np.random.default_rng((self.seed, index)) for index in indices]
        layers = torch.stack([_over_each_other(self._objects(rng, size), size, self.device) for rng in rngs])
        return self._picture(layers, None, rngs)

    def hinted_batch(
        self, indices: list[int] | range, size: int, share: float = hints.SHARE
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `batch`, with hints [N,1,S,S] (train/shared/hints.py), which a `share` of the pictures has; alpha is that
        of what each hint asks for, as far as it is to be seen. Pictures with a hint mostly have several objects, for of
        one there is nothing to choose."""
        _check_side(size)
        rngs = [np.random.default_rng((self.seed, index)) for index in indices]
        draws = [np.random.default_rng((self.seed, index, hints.STREAM)) for index in indices]
        layers, asked, hinted = [], [], []
        for rng, draw in zip(rngs, draws):
            wanted = draw.random() < share
            several = int(draw.integers(2, 4)) if wanted and _maybe(draw, SEVERAL) else 0
            objects = self._objects(rng, size, at_least=several)
            layers.append(_over_each_other(objects, size, self.device))
            visible = _visible(objects, size, self.device)
            chosen = hints.choose(visible.cpu().numpy(), draw) if wanted else np.zeros(0, bool)
            hinted.append(chosen.any())
            asked.append(visible[chosen if chosen.any() else slice(None)].sum(dim=0, keepdim=True))
        images, alpha = self._picture(torch.stack(layers), torch.stack(asked), rngs)
        given = [
            hints.draw_hint(each[0].cpu().numpy(), draw) if wanted else hints.no_hint((size, size))
            for each, draw, wanted in zip(alpha, draws, hinted)
        ]
        return images, alpha, torch.from_numpy(np.stack(given))[:, None].to(self.device)

    def _picture(self, layers: Tensor, asked: Tensor | None, rngs: list[np.random.Generator]) -> tuple[Tensor, Tensor]:
        """Objects [N,4,S,S] on backgrounds of their own -> images [N,3,S,S], and as these show it the alpha [N,1,S,S]
        of what is `asked` for, or of all."""
        backgrounds = torch.stack([self._background(rng, layers.shape[-1]) for rng in rngs])
        images, alpha = self._compose(layers, asked, backgrounds, rngs)
        return self._degrade(images, rngs), alpha

    def _draw_object(self, rng: np.random.Generator) -> tuple[Tensor, Callable]:
        """One foreground, recoloured, lit from a side, sometimes textured -> premultiplied [4,h,w], how to place it."""
        index = int(np.searchsorted(np.cumsum(self.probabilities), rng.random(), side="right"))
        picture = self.pack.foregrounds[min(index, len(self.probabilities) - 1)]
        rgba = picture.pixels.float() / 255
        height, width = rgba.shape[1:]
        worn = _maybe(rng, 0.1)  # the shape of one thing, the surface of another: its boundary makes a subject
        colour = _recolour(_resized(self._photograph(rng, 256), (height, width)) if worn else rgba[:3], rng)
        if not worn and _maybe(rng, 0.25):  # renders are smoother than photographs: give some the grain of a photograph
            texture = _resized(self._photograph(rng, 128).mean(dim=0, keepdim=True), (height, width))
            colour = (colour * (1 + rng.uniform(0.3, 1.2) * (texture - texture.mean()))).clamp(0, 1)
        if _maybe(rng, 0.5):
            angle, strength = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.5)
            x = torch.linspace(-1, 1, width, device=colour.device)[None, :]
            y = torch.linspace(-1, 1, height, device=colour.device)[:, None]
            colour = (colour * (1 + strength * (x * math.cos(angle) + y * math.sin(angle)))).clamp(0, 1)
        return premultiply(torch.cat([colour, rgba[3:]])), _place_cut if picture.source in self.style.cut else _place

    def _objects(self, rng: np.random.Generator, size: int, *, at_least: int = 0) -> list[Tensor]:
        """The objects of a picture where they stand, the rearmost first: premultiplied [4,S,S] each."""
        counts = np.array(self.style.object_counts)
        count = max(at_least, int(rng.choice(len(counts), p=counts / counts.sum())))
        objects = []
        for _ in range(count):
            picture, place = self._draw_object(rng)
            objects.append(sample(picture, place(picture, count, rng), (size, size)))
        return objects

    def _photograph(self, rng: np.random.Generator, size: int) -> Tensor:
        """A random crop of a background photograph, often mirrored, sometimes tilted -> [3,S,S]."""
        photographs = self.pack.backgrounds
        pixels = photographs[rng.integers(len(photographs))].pixels
        height, width = pixels.shape[1:]
        side = int(min(height, width) * math.exp(rng.uniform(math.log(0.2), 0)))  # 0.2: large soft shapes, as in macros
        top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
        crop = pixels[:, top : top + side, left : left + side].float() / 255
        angle = rng.normal(0, 0.15) if _maybe(rng, 0.3) else 0.0
        zoom = 1 + 1.2 * abs(math.sin(angle))  # keeps the tilted frame inside the crop
        matrix = homography(centre=(0, 0), half_size=(zoom, zoom), angle=angle, flip=_maybe(rng, 0.5))
        return sample(crop, matrix, (size, size), padding="reflection")

    def _background(self, rng: np.random.Generator, size: int) -> Tensor:
        device = self.device
        if _maybe(rng, self.style.procedural_background):
            background = procedural(size, rng).to(device)
        else:
            background = _recolour(self._photograph(rng, size), rng, strength=0.6)
        if _maybe(rng, self.style.cluttered_background):
            kind = rng.choice(["crowd", "close-up", "strands", "foliage"], p=[0.4, 0.15, 0.15, 0.3])
            if kind == "crowd":
                background = crowd(background, lambda: self._draw_object(rng)[0], rng)
            elif kind == "close-up":
                background = close_up(background, self._draw_object(rng)[0], rng)
            else:
                background = (strands if kind == "strands" else foliage)(background, rng)
        if _maybe(rng, 0.08):  # something out of focus far behind is background
            picture, place = self._draw_object(rng)
            small = sample(picture, place(picture, 2, rng), (size // 4, size // 4))[None]
            small = gaussian_blur(small, torch.tensor([rng.uniform(1.2, 2.0)], device=device))
            background = over(_resized(small[0], (size, size))[None], background[None])[0]
        return background

    @staticmethod
    def _compose(
        layers: Tensor, asked: Tensor | None, backgrounds: Tensor, rngs: list[np.random.Generator]
    ) -> tuple[Tensor, Tensor]:
        """Depth of field, shadow, colour match, soft edges, then alpha blending of whole batches. The alpha of what is
        `asked` for, of all by default, goes through what its layer's does."""
        size, device = layers.shape[-1], layers.device

        def draw(chance: float, low: float, high: float) -> Tensor:
            return torch.tensor(
                [rng.uniform(low, high) if _maybe(rng, chance) else 0.0 for rng in rngs], device=device
            ).float()

        wide = draw(0.35, 0.008, 0.03) * size
        steepness, angle, offset = draw(0.5, 0.5, 6.0), draw(1.0, -math.pi, math.pi), draw(1.0, -0.6, 0.6)
        chosen = wide > 0
        if chosen.any():
            far = focal_plane(size, steepness[chosen], angle[chosen], offset[chosen])
            backgrounds[chosen] = torch.lerp(backgrounds[chosen], defocus(backgrounds[chosen], wide[chosen]), far)
        strength = draw(0.5, 0.1, 0.6)
        shift = torch.stack([draw(1.0, -0.12, 0.12), draw(1.0, -0.02, 0.15)], dim=1)
        sigma = draw(1.0, 0.01, 0.03) * size
        chosen = strength > 0
        if chosen.any():
            backgrounds[chosen] = cast_shadow(
                backgrounds[chosen],
                layers[chosen, 3:],
                shift=shift[chosen],
                sigma=sigma[chosen],
                strength=strength[chosen],
            )
        layers = match_colours(layers, backgrounds, draw(0.5, 0.1, 0.6))
        soft = draw(0.35, 0.3, 1.5)
        chosen = soft > 0
        if chosen.any():
            layers[chosen] = gaussian_blur(layers[chosen], soft[chosen])
            if asked is not None:
                asked[chosen] = gaussian_blur(asked[chosen], soft[chosen])
        alpha = layers[:, 3:] if asked is None else asked
        return over(layers, backgrounds).clamp(0, 1), alpha.clamp(0, 1)

    def _degrade(self, images: Tensor, rngs: list[np.random.Generator]) -> Tensor:
        """What cameras and files do to a picture: toning, softness, noise, compression."""
        images = images.clone()
        for image, rng in zip(images, rngs):
            if _maybe(rng, self.style.painted):
                image.copy_(paint(image[None], int(rng.integers(1, 5)))[0])
            if _maybe(rng, self.style.plain):
                continue
            if _maybe(rng, 0.5):
                image.copy_(_recolour(image, rng, strength=0.0))
            if _maybe(rng, 0.04):
                image.copy_(image.mean(dim=0, keepdim=True).expand_as(image))
            if _maybe(rng, 0.2):
                side = int(image.shape[-1] * rng.uniform(0.5, 0.9))
                small = F.interpolate(
                    image[None], size=(side, side), mode="bilinear", align_corners=False, antialias=True
                )
                image.copy_(_resized(small[0], image.shape[-2:]).clamp(0, 1))  # weights may sum to 1 + 1e-7
            if _maybe(rng, 0.4):
                generator = torch.Generator(image.device).manual_seed(int(rng.integers(2**31)))
                noise = torch.randn(image.shape, generator=generator, device=image.device)
                image.add_(noise, alpha=float(rng.uniform(0.005, 0.05))).clamp_(0, 1)
            if _maybe(rng, 0.45):
                quality = torch.tensor([rng.uniform(25, 95)], device=image.device)
                image.copy_(jpeg(image[None], quality)[0])
        return images
