"""Which objects go where: draws training pictures from a pack of cut-outs.

Every draw of picture i comes from a generator seeded by (seed, i) alone, so a resumed run, another batch size or
another number of workers sees the same pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from train.shared import hints
from train.tables import HINT_KINDS, SIDE_MULTIPLE, SceneStyle

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
from .front import front
from .light import lit


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


def _happens(rng: np.random.Generator, share: float) -> bool:
    """As _maybe, but draws nothing where it cannot happen: what a recipe does not ask for changes no picture."""
    return share > 0 and rng.random() < share


def _resized(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear [C,h,w] -> [C,H,W]."""
    return F.interpolate(picture[None], size=size, mode="bilinear", align_corners=False)[0]


def _place(picture: Tensor, count: int, rng: np.random.Generator, extents=SceneStyle.extents) -> Tensor:
    """Where one of `count` objects stands -> frame-to-object matrix; a single one of these `extents`, or a bust."""
    height, width = picture.shape[-2:]
    bust = count == 1 and height > 1.8 * width and _maybe(rng, 0.3)  # as people are mostly shown
    if bust:
        extent = rng.uniform(1.5, 4.0)
    elif count == 1:
        shares = np.array([share for share, *_ in extents])
        extent = rng.choice([rng.uniform(least, most) for _, least, most in extents], p=shares / shares.sum())
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


def _place_cut(picture: Tensor, count: int, rng: np.random.Generator, extent_of_one=SceneStyle.cut_extent) -> Tensor:
    """As _place, for a picture that is cut below: it stands on the lower border and is not tilted much."""
    height, width = picture.shape[-2:]
    extent = rng.uniform(*extent_of_one) if count == 1 else rng.uniform(0.3, 0.8)
    half_size = (extent * width / max(width, height), extent * height / max(width, height))
    angle = rng.normal(0, 0.05)
    below = abs(math.sin(angle)) * half_size[0] + rng.uniform(0.02, 0.25) * half_size[1]
    centre = (rng.normal(0, 0.3 if count == 1 else 0.5), 1 - half_size[1] + below)
    return homography(centre=centre, half_size=half_size, angle=angle, flip=_maybe(rng, 0.5))


def _closer(rng: np.random.Generator) -> Tensor:
    """A part of the frame, two thirds to a third of it a side, as a matrix from its coordinates to the frame's: what a
    closer look at a large picture sees, whose subject runs out of it on all sides."""
    share = 1 / rng.uniform(1.5, 3.0)
    across, down = rng.uniform(-1, 1, 2) * (1 - share)
    return torch.tensor([[share, 0.0, across], [0.0, share, down], [0.0, 0.0, 1.0]], dtype=torch.float32)


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


@dataclass(frozen=True)
class _Objects:
    """layers: each object of a picture where it stands, the rearmost first: premultiplied [4,S,S]. sources: the folders
    that they come from. front: what stands before them and is not asked for, [4,S,S], if anything."""

    layers: list[Tensor]
    sources: set[str]
    front: Tensor | None = None


class Scenes:
    """Endless composites of a pack. `batch` gives pictures 0..1 and their alpha, on the pack's device."""

    def __init__(self, pack: Pack, style: SceneStyle, *, seed: int) -> None:
        self.pack, self.style, self.seed = pack, style, seed
        self.probabilities = draw_probabilities(pack.foregrounds, style)
        self.of_people = self.probabilities * [picture.source in style.people for picture in pack.foregrounds]
        self.device = pack.foregrounds[0].pixels.device

    def batch(self, indices: list[int] | range, size: int) -> tuple[Tensor, Tensor]:
        """Pictures `indices` at `size` x `size` -> (images [N,3,S,S], alpha [N,1,S,S]), both float32 in 0..1.

        Raises:
            ValueError: `size` is no multiple of 32.
        """
        _check_side(size)
        rngs = [np.random.default_rng((self.seed, index)) for index in indices]
        objects = [self._objects(rng, size) for rng in rngs]
        layers = torch.stack([_over_each_other(each.layers, size, self.device) for each in objects])
        return self._picture(layers, None, objects, rngs)

    def hinted_batch(
        self,
        indices: list[int] | range,
        size: int,
        share: float = hints.SHARE,
        kinds: Mapping[str, float] = HINT_KINDS,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `batch`, with hints [N,1,S,S] (train/shared/hints.py), which a `share` of the pictures has; alpha is that
        of what each hint asks for, as far as it is to be seen. Pictures with a hint mostly have several objects, for of
        one there is nothing to choose."""
        _check_side(size)
        rngs = [np.random.default_rng((self.seed, index)) for index in indices]
        draws = [np.random.default_rng((self.seed, index, hints.STREAM)) for index in indices]
        layers, asked, subjects, things, closer = [], [], [], [], []
        for rng, draw in zip(rngs, draws):
            wanted = draw.random() < share
            several = int(draw.integers(2, 4)) if wanted and _maybe(draw, SEVERAL) else 0
            near = wanted and not several and _happens(draw, self.style.closer)
            objects = self._objects(rng, size, at_least=several, view=_closer(draw) if near else None)
            closer.append(near)
            things.append(objects)
            layers.append(_over_each_other(objects.layers, size, self.device))
            visible = _visible(objects.layers, size, self.device)
            seen = visible if objects.front is None else visible * (1 - objects.front[3])
            chosen = hints.choose(seen.cpu().numpy(), draw) if wanted else np.zeros(0, bool)
            subjects.append(seen[chosen].cpu().numpy() if chosen.any() else None)
            asked.append(visible[chosen if chosen.any() else slice(None)].sum(dim=0, keepdim=True))
        images, alpha = self._picture(torch.stack(layers), torch.stack(asked), things, rngs)
        given = [
            hints.no_hint((size, size))
            if of is None
            else hints.draw_hint(each[0].cpu().numpy(), of, draw, hints.ROUGH_MASKS if near else kinds)
            for each, of, draw, near in zip(alpha, subjects, draws, closer)
        ]
        return images, alpha, torch.from_numpy(np.stack(given))[:, None].to(self.device)

    def _picture(
        self, layers: Tensor, asked: Tensor | None, objects: list[_Objects], rngs: list[np.random.Generator]
    ) -> tuple[Tensor, Tensor]:
        """Objects [N,4,S,S] on backgrounds of their own -> images [N,3,S,S], and as these show it the alpha [N,1,S,S]
        of what is `asked` for, or of all."""
        style, size = self.style, layers.shape[-1]
        backgrounds = torch.stack([self._behind(each, rng, size) for each, rng in zip(objects, rngs)])
        for index, (each, rng) in enumerate(zip(objects, rngs)):
            if style.lights and not each.sources & set(style.shining):
                layers[index], backgrounds[index] = lit(layers[index], backgrounds[index], style.lights, rng)
        images, alpha = self._compose(layers, asked, backgrounds, rngs, style.camouflaged)
        for index, each in enumerate(objects):
            if each.front is not None:
                images[index] = over(each.front[None], images[index, None])[0].clamp(0, 1)
                alpha[index] *= 1 - each.front[3]
        return self._degrade(images, rngs), alpha

    def _behind(self, objects: _Objects, rng: np.random.Generator, size: int) -> Tensor:
        """What lies behind these objects, [3,S,S]: dark behind what shines, now and then a sheet behind drawings."""
        if objects.sources & set(self.style.paper) and _happens(rng, 0.5):
            grey = torch.tensor(rng.choice([1.0, rng.uniform(0.8, 1), rng.uniform(0, 0.2)]) + rng.normal(0, 0.02, 3))
            return grey.float().clamp(0, 1).view(3, 1, 1).expand(3, size, size).to(self.device)
        background = self._background(rng, size)
        return background * rng.uniform(0.05, 0.5) if objects.sources & set(self.style.shining) else background

    def _draw_picture(self, rng: np.random.Generator, weights: np.ndarray) -> Picture:
        passed = np.cumsum(weights)
        index = int(np.searchsorted(passed, rng.random() * passed[-1], side="right"))
        return self.pack.foregrounds[min(index, int(np.flatnonzero(weights)[-1]))]

    def _draw_object(self, rng: np.random.Generator, weights: np.ndarray | None = None) -> tuple[Tensor, Callable, str]:
        """One foreground, recoloured, lit from a side, sometimes textured -> premultiplied [4,h,w], how to place it,
        the folder it is from. weights: how likely each foreground is, if not as the recipe says."""
        picture = self._draw_picture(rng, self.probabilities if weights is None else weights)
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
        place = partial(_place, extents=self.style.extents)
        if picture.source in self.style.cut:
            place = partial(_place_cut, extent_of_one=self.style.cut_extent)
        return premultiply(torch.cat([colour, rgba[3:]])), place, picture.source

    def _objects(
        self, rng: np.random.Generator, size: int, *, at_least: int = 0, view: Tensor | None = None
    ) -> _Objects:
        """The objects of a picture where they stand, or what a `view` (`_closer`) shows of them."""
        style, layers, sources = self.style, [], set()
        view = torch.eye(3) if view is None else view
        if self.of_people.any() and _happens(rng, style.together):
            layers, sources = self._people(rng, size, count=max(at_least, int(rng.integers(2, 5))), view=view)
        else:
            shares = np.array(style.object_counts)
            count = max(at_least, int(rng.choice(len(shares), p=shares / shares.sum())))
            for _ in range(count):
                picture, place, source = self._draw_object(rng)
                layers.append(sample(picture, place(picture, count, rng) @ view, (size, size)))
                sources.add(source)
                if source in style.people and _happens(rng, style.holding):
                    # Whoever asks for a person means what the person holds too.
                    layers[-1] = over(self._held(layers[-1], rng)[None], layers[-1][None])[0]
        before = None
        if layers and _happens(rng, style.behind):
            before = front(size, self._photograph(rng, size), self._draw_object(rng)[0], rng)
        return _Objects(layers, sources, before)

    def _people(
        self, rng: np.random.Generator, size: int, *, count: int, view: Tensor
    ) -> tuple[list[Tensor], set[str]]:
        """People beside each other, of about one height, before and behind one another; and their folders."""
        layers, sources = [], set()
        tall, foot = rng.uniform(0.45, 1.1), rng.uniform(0.75, 1.3)
        spread = rng.uniform(0.35, 0.8)
        for place in rng.permutation(np.linspace(-spread, spread, count)):
            picture, _, source = self._draw_object(rng, self.of_people)
            height, width = picture.shape[-2:]
            cut = source in self.style.cut  # those end below the frame, their heads in it
            half = tall * math.exp(rng.normal(0, 0.1)) * (0.85 if cut else 1.0)
            half_size = (half * width / height, half)
            below = 1 + half * rng.uniform(0.02, 0.3) if cut else foot
            centre = (place + rng.normal(0, 0.06), below - half + rng.normal(0, 0.03))
            matrix = homography(centre=centre, half_size=half_size, angle=rng.normal(0, 0.04), flip=_maybe(rng, 0.5))
            layers.append(sample(picture, matrix @ view, (size, size)))
            sources.add(source)
        return layers, sources

    def _held(self, person: Tensor, rng: np.random.Generator) -> Tensor:
        """Something that the person [4,S,S] holds or wears: an object of a fifth to a half of its size over it."""
        size, picture = person.shape[-1], self._draw_object(rng)[0]
        rows, columns = (torch.nonzero((person[3] > 0.5).any(axis)).flatten() / size * 2 - 1 for axis in (1, 0))
        if not len(rows):
            return torch.zeros_like(person)
        middle = [float(line[0] + line[-1]) / 2 for line in (columns, rows)]
        half = [float(line[-1] - line[0]) / 2 for line in (columns, rows)]
        extent = rng.uniform(0.2, 0.5) * max(half)
        longer = max(picture.shape[1:])
        centre = (middle[0] + rng.uniform(-0.8, 0.8) * half[0], middle[1] + rng.uniform(-0.2, 0.6) * half[1])
        half_size = (extent * picture.shape[2] / longer, extent * picture.shape[1] / longer)
        matrix = homography(centre=centre, half_size=half_size, angle=rng.normal(0, 0.4), flip=_maybe(rng, 0.5))
        return sample(picture, matrix, (size, size))

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
            background = procedural(size, rng, self.style.invented).to(device)
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
            picture, place, _ = self._draw_object(rng)
            small = sample(picture, place(picture, 2, rng), (size // 4, size // 4))[None]
            small = gaussian_blur(small, torch.tensor([rng.uniform(1.2, 2.0)], device=device))
            background = over(_resized(small[0], (size, size))[None], background[None])[0]
        return background

    @staticmethod
    def _compose(
        layers: Tensor,
        asked: Tensor | None,
        backgrounds: Tensor,
        rngs: list[np.random.Generator],
        camouflaged: float = 0.0,
    ) -> tuple[Tensor, Tensor]:
        """Depth of field, shadow, colour match, soft edges, then alpha blending of whole batches. The alpha of what is
        `asked` for, of all by default, goes through what its layer's does. camouflaged: share of the pictures whose
        colours are matched all but wholly."""
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
        alike = draw(0.5, 0.1, 0.6)
        if camouflaged:
            alike = torch.maximum(alike, draw(camouflaged, 0.7, 0.95))
        layers = match_colours(layers, backgrounds, alike)
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
