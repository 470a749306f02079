"""What travels over a BACKGROUND_REMOVAL wire: our models under ComfyUI's memory management, and foreign ones."""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..birefnet_core.compiling import why_not_compiled
from ..birefnet_core.matting.detail import refine
from ..birefnet_core.matting.hint import asked_for, checked_hint
from ..birefnet_core.matting.masks import checked_masks, fit
from ..birefnet_core.matting.model import MattingModel, activation_bytes, automatic_batch_size, fitted
from ..birefnet_core.matting.size import DYNAMIC_SIDES, MODES, network_size
from ..birefnet_core.matting.size import edge_radius as edge_radius_of
from ..birefnet_core.matting.tensors import check_images, resize, unit
from . import host

if TYPE_CHECKING:
    from ..birefnet_core.weights.catalog import ModelSpec

OnProgress = Callable[[float, int], None]

# A model that runs at a size this many times its own, or a part of it, is named to the user. Upstream's card of
# BiRefNet_512x512: at 512 the general model (1024) loses .045 of its F-measure, BiRefNet_HR (2048) .339.
FAR_FROM_OWN_SIZE = 1.5

ADVICE = "load the file with Load BiRefNet instead"
NATIVE_SIZE = 1024  # what ComfyUI's Remove Background asks for when nobody chose a size


class ManagedModel:
    """A MattingModel whose network ComfyUI moves and frees.

    spec: its ModelSpec. Also answers `encode_image`, all that ComfyUI's own RemoveBackground asks for.
    """

    def __init__(self, model: MattingModel, device: torch.device, *, compiled: bool = False) -> None:
        self.spec: ModelSpec = model.spec
        self.managed = host.manage(model.network, device)
        # torch.compile's wrapper shares its parameters with the network, which is what the manager moves.
        self._matting = MattingModel(torch.compile(model.network), model.spec) if compiled else model
        self._noticed: tuple[Any, str] | None = None

    @property
    def patcher(self) -> Any:
        """The ModelPatcher, under the name by which ComfyUI's caches know an output for a model."""
        return self.managed

    def predict(
        self,
        images: Tensor,
        size: int | tuple[int, int] | None = None,
        batch_size: int | None = None,
        mode: str = "whole",
        on_progress: OnProgress | None = None,
        hint: Tensor | None = None,
        edges: str = "auto",
        edge_radius: int | None = None,
        hint_is: str = "anything",
    ) -> Tensor:
        """As MattingModel.predict, on the device the manager chose. Says so when size is far from the model's own."""
        check_images(images)
        seen = network_size(size, self.spec.size, (images.shape[2], images.shape[1]))
        text = far_from_own_size(self.spec, seen) if size is not None else ""
        notice = host.running(), text
        if text and notice != self._noticed:  # once a run, not with every batch of a clip
            host.say(text, logging.WARNING)
        self._noticed = notice
        # An automatic batch takes the room that is left: it gains too little to send other models away for it.
        # With hints the pictures go one by one (MattingModel.predict).
        count = 1 if hint is not None else min(batch_size or 1, max(1, len(images)))
        weight = next(self.managed.model.parameters())
        host.load(self.managed, count * activation_bytes(seen, weight))
        if batch_size is None:
            weight = next(self.managed.model.parameters())
            batch_size = automatic_batch_size(seen, weight, free=host.free_memory(self.managed, weight.device))
        try:
            return self._matting.predict(images, size, batch_size, mode, on_progress, hint, edges, edge_radius, hint_is)
        except Exception as error:
            if reason := why_not_compiled(error):
                raise RuntimeError(f"torch.compile does not work here, switch compile off: {reason}") from error
            raise

    def encode_image(
        self, image: Tensor, image_size: int | None = None, resolution: int | None = None, **unknown: Any
    ) -> Tensor:
        """ComfyUI's own interface: image [B, H, W, 3|4] 0..1 -> mask [B, H, W], 1 = foreground.

        image_size: side of the square at which the network sees the image. None and 1024, which the node asks for when
        nobody chose a size, mean the model's own. resolution: the same, by the name it had before. What a future
        version asks besides is not done, and the log says so.
        """
        check_images(image)
        side = image_size or resolution or NATIVE_SIZE
        wish = None if side == NATIVE_SIZE else side
        text = self._size_taken(wish, (image.shape[2], image.shape[1])) if image_size or resolution else ""
        left_out = [f"{name}={value!r}" for name, value in unknown.items() if value is not None]
        if left_out:
            text += f"{'; ' if text else ''}this pack does not know {', '.join(left_out)} and goes on without"
        if text:
            host.say(text, logging.WARNING if left_out else logging.INFO)
        with host.progress(len(image)) as bar:
            return host.output(self.predict(image, wish, on_progress=bar.report))

    def _size_taken(self, wish: int | None, picture: tuple[int, int]) -> str:
        """A sentence on the size (width, height) at which a picture is seen, empty where it is as anyone expects."""
        width, height = network_size(wish, self.spec.size, picture)
        if wish is not None:
            return f"{self.spec.name} runs at {width} x {height}, as asked for"
        if (width, height) == (NATIVE_SIZE, NATIVE_SIZE):
            return ""
        own = "its own size" if self.spec.size else "the image's own size"
        return f"{self.spec.name} runs at {width} x {height}, {own}: {NATIVE_SIZE} means that no size was chosen"


class ForeignModel:
    """Anything with `encode_image`, such as what ComfyUI's own background-removal loader gives, one image at a time:
    it knows neither progress nor interrupts and would take a whole batch onto the GPU at once."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def predict(
        self,
        images: Tensor,
        size: int | tuple[int, int] | None = None,
        batch_size: int | None = None,
        mode: str = "whole",
        on_progress: OnProgress | None = None,
        hint: Tensor | None = None,
        edges: str = "auto",
        edge_radius: int | None = None,
        hint_is: str = "anything",
    ) -> Tensor:
        """As MattingModel.predict; batch_size has no effect. ValueError for what the foreign model cannot do."""
        radius = edge_radius_of(edges, edge_radius, 0)
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
        if mode == "locate" and hint is None:
            raise ValueError(f'a model of another loader knows no mode "{mode}": {ADVICE}')
        encode_image = self._at(size)
        check_images(images)
        hints = None if hint is None else checked_hint(hint, len(images))

        def matte(part: Tensor, _told: None = None, _scale: float = 1.0) -> Tensor:
            masks = checked_masks(encode_image(unit(part[..., :3])))
            if len(masks) != len(part):
                raise ValueError(f"the model gave {len(masks)} masks for {len(part)} image{'s' * (len(part) > 1)}")
            mask = fit(masks, *part.shape[1:3])
            return self._drawn(mask, part, size, radius) if radius else mask

        alpha = torch.empty(images.shape[:3], dtype=torch.float32, device=images.device)
        for index, image in enumerate(images):
            if hints is None:
                alpha[index] = matte(image[None])[0]
            else:
                ways = {"seen_of": partial(self._seen, size), "matte": matte, "hint_is": hint_is}
                alpha[index] = asked_for(image, hints[index], **ways)
            if mode == "detail":
                some = slice(index, index + 1)
                for share in refine(alpha[some], images[some], self._seen(size, (images.shape[2], images.shape[1]))):
                    if on_progress is not None:
                        on_progress(index + share, len(images))
            if on_progress is not None:
                on_progress(index + 1, len(images))
        return alpha

    def _drawn(self, mask: Tensor, part: Tensor, size: int | tuple[int, int] | None, radius: int) -> Tensor:
        """mask [1, H, W] of a picture [1, H, W, C] with its edges drawn after the picture, fitted at the size at which
        the model saw it."""
        width, height = self._seen(size, (part.shape[2], part.shape[1]))
        colours = resize(unit(part[..., :3]).permute(0, 3, 1, 2), (height, width))
        return fitted(resize(mask[:, None].float(), (height, width)), colours, part, radius)

    def _seen(self, size: int | tuple[int, int] | None, picture: tuple[int, int]) -> tuple[int, int]:
        """About the size (width, height) at which the foreign model sees a picture."""
        own = getattr(self._model, "image_size", None)
        own = own if isinstance(own, int) else NATIVE_SIZE
        return network_size(size, (own, own), picture)

    def _at(self, size: int | tuple[int, int] | None) -> Callable[[Tensor], Tensor]:
        """The foreign `encode_image`, at the size asked for. ValueError where there is no such thing."""
        if size is None:
            return self._model.encode_image
        width, height = network_size(size, None, (0, 0))
        option = _size_option(self._model.encode_image)
        if width == height and option is not None:
            return partial(self._model.encode_image, **{option: width})
        if width == height and isinstance(getattr(self._model, "image_size", None), int):
            # ComfyUI's own up to 0.33 takes no size but has one; a copy, for the model also serves other nodes.
            model = copy.copy(self._model)
            model.image_size = width
            return model.encode_image
        raise ValueError(
            f"this model of another loader cannot run at {width} x {height}: leave the size at 0, or {ADVICE}"
        )


def _size_option(encode_image: Callable) -> str | None:
    """By what name a foreign `encode_image` takes the side of the square at which it sees an image, if at all."""
    try:
        names = inspect.signature(encode_image).parameters
    except (TypeError, ValueError):  # no function of Python's
        return None
    return next((name for name in ("image_size", "resolution") if name in names), None)


def predictor(model: Any) -> ManagedModel | ForeignModel:
    """What answers `predict`, from whatever a BACKGROUND_REMOVAL wire brings. ValueError for anything else."""
    if hasattr(model, "predict"):
        return model
    if hasattr(model, "encode_image"):
        return ForeignModel(model)
    raise ValueError(f"{type(model).__name__} is not a background-removal model: connect Load BiRefNet")


def drawn_radius(model: Any) -> int:
    """How far a predictor's model draws edges by itself, in pixels of its size; 0: not at all, as other loaders'."""
    return model.spec.edge_radius if isinstance(model, ManagedModel) else 0


def far_from_own_size(spec: ModelSpec, seen: tuple[int, int]) -> str:
    """A sentence when the size seen (width, height) is far from what the model was trained for, else nothing."""
    if spec.size is None:
        least, most = DYNAMIC_SIDES
        if least <= min(seen) and max(seen) <= most:
            return ""
        own = f"sides of {least} to {most}"
    else:
        ratio = (seen[0] * seen[1] / (spec.size[0] * spec.size[1])) ** 0.5
        if 1 / FAR_FROM_OWN_SIZE <= ratio <= FAR_FROM_OWN_SIZE:
            return ""
        own = f"{spec.size[0]} x {spec.size[1]}"
    return (
        f"{spec.name} runs at {seen[0]} x {seen[1]} but was trained for {own}: expect a poor mask, "
        "or leave the size at 0"
    )
