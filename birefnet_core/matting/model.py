"""A network and what it expects, as one callable: pictures in, alpha out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..out_of_memory import OutOfMemoryError, is_out_of_memory
from ..precision import torch_as_usual
from . import edges as guided
from .detail import refine
from .locate import look_again
from .size import ANYTHING, HINT_IS, MODES, network_size, rounded
from .size import edge_radius as edge_radius_of
from .tensors import check_images, resize, unit

if TYPE_CHECKING:
    from ..weights.catalog import ModelSpec

LARGEST_BATCH = 4  # more brings no speed, only memory (upstream thread 106: 1 picture .33 s, 3 pictures 1.09 s)
# Bytes of activations a pixel of network input is taken to need in half precision: what upstream's README reports for
# itself, 3.5 GB at 1024 x 1024. Ours was not measured on a GPU; too high a figure only makes batches smaller.
BYTES_A_PIXEL = 3500


class MattingModel:
    """A BiRefNet network with its ModelSpec.

    network: maps normalised [N, 3, H, W] to logits [N, 1, H, W] in evaluation mode, H and W multiples of 32.
    spec: has `size` ((width, height), None for dynamic models), `mean` and `std` (three numbers each, for 0..1 RGB).
    """

    def __init__(self, network: nn.Module, spec: ModelSpec) -> None:
        self.network = network
        self.spec = spec

    @torch_as_usual()
    @torch.no_grad()
    def predict(
        self,
        images: Tensor,
        size: int | tuple[int, int] | None = None,
        batch_size: int | None = None,
        mode: str = "whole",
        on_progress: Callable[[float, int], None] | None = None,
        hint: Tensor | None = None,
        edges: str = "auto",
        edge_radius: int | None = None,
        hint_is: str = ANYTHING,
    ) -> Tensor:
        """The alpha of each picture: of everything salient, or of what the hint asks for.

        images: [B, H, W, 3] or [B, H, W, 4] (the fourth channel is ignored), floating point 0..1 or uint8 0..255, on
            any device; values slightly outside 0..1 are clamped. Never changed.
        size: at which the network sees the pictures: the side of a square or (width, height), rounded to multiples of
            32; None: the model's own size.
        batch_size: pictures a pass; None: one on a CPU, what fits in free memory on a GPU. Halved when memory runs out.
        mode: "whole": the network sees the whole picture. "locate": it then looks again, closely, at the subjects that
            take a small part of it (locate.py); up to three more passes for each such picture. "detail": what it was
            uncertain of is looked at again in the picture's own pixels (detail.py), for large pictures; no more passes.
        on_progress: called with (done, total) pictures after each batch and, in mode "detail", where a picture is done
            in parts, after each tile. What it raises stops the work and reaches the caller.
        hint: [B, h, w] or, one for all, [1, h, w] or [h, w], floating point 0..1, of any size (it is stretched over the
            picture): 1 = belongs to what is asked for. A mask, perfect or not, a filled box, a scribble or a dot;
            all 0: nothing is asked for, and alpha is 0. The network then looks where the hint says (hint.py), whatever
            the mode; "detail" goes on from there.
        hint_is: "anything" of these, as its shape tells and what is seen there. "mask": a mask, however it looks, such
            as another network's: it is not read as strokes, a line around something, or marks beside a mask.
        edges: "auto": as the model says. "off": as the network gives them, scaled. "drawn": drawn after the picture's
            own pixels (edges.py), within edge_radius pixels at the network's size; None: the model's radius, else 6.

        Returns alpha [B, H, W] float32 0..1 on the device of images, 1 = foreground. Beside input and output only one
        batch is in memory, however many pictures there are.

        Raises ValueError for arguments that do not fit the above, OutOfMemoryError when a single picture does
        not fit in memory, ArithmeticError when the network gives NaN.

        The sigmoid comes before the way back to the picture's size, as in the reference's evaluation.
        """
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
        if self.network.training:
            raise ValueError("the network is in training mode: call network.eval() before predict")
        check_images(images)
        total, height, width = images.shape[:3]
        if hint is not None:
            from .hint import checked_hint

            hint = checked_hint(hint, total)
            if hint_is not in HINT_IS:
                raise ValueError(f"hint_is must be {' or '.join(HINT_IS)}, not {hint_is!r}")
        radius = edge_radius_of(edges, edge_radius, self.spec.edge_radius)
        seen_of = partial(network_size, size, self.spec.size)
        seen = seen_of((width, height))
        weight = next(self.network.parameters())
        batch = checked_batch_size(batch_size) or automatic_batch_size(seen, weight)
        batch = batch if hint is None else 1  # each is looked at by itself, and more than once
        alpha = torch.empty(total, height, width, dtype=torch.float32, device=images.device)
        done = 0
        while done < total:
            count = min(batch, total - done)
            some = slice(done, done + count)
            hints = None if hint is None else hint[some]
            if not self._alpha_into(alpha[some], images[some], seen_of, mode, radius, hints, hint_is):
                if weight.device.type == "cuda":
                    torch.cuda.empty_cache()
                if count == 1:
                    raise OutOfMemoryError(
                        f"not enough memory on {weight.device} for one {width} x {height} picture at the model size "
                        f"{seen[0]} x {seen[1]}: choose a smaller size, half precision or a smaller model, or scale "
                        "the picture down"
                    )
                batch = count // 2
                continue
            if mode == "detail":
                for share in refine(alpha[some], images[some], seen, weight.device):
                    if on_progress is not None:
                        on_progress(done + share, total)
            done += count
            if on_progress is not None:
                on_progress(done, total)
        return alpha

    def _alpha_into(
        self,
        alpha: Tensor,
        images: Tensor,
        seen_of: Callable,
        mode: str,
        radius: int,
        hints: Tensor | None,
        hint_is: str,
    ) -> bool:
        """Fill alpha [n, H, W] from images [n, H, W, 3|4] and hints [n, h, w]; False when memory ran out.

        A function of its own: by the time it returns, the frames that held the failed pass's tensors are gone.
        """

        def matte(part: Tensor, hint: Tensor | None = None, scale: float = 1.0) -> Tensor:
            return fitted(*self._seen(part, seen_of, hint, scale), part, radius)

        try:
            if hints is not None:
                from .hint import asked_for

                ways = {"seen_of": seen_of, "matte": matte, "takes_hint": self.takes_hint, "hint_is": hint_is}
                for own, image, hint in zip(alpha, images, hints, strict=True):
                    own.copy_(asked_for(image, hint, **ways))
                return True
            seen, colours = self._seen(images, seen_of)
            alpha.copy_(fitted(seen, colours, images, radius))
            if mode == "locate":
                for own, image, coarse in zip(alpha, images, seen[:, 0], strict=True):
                    look_again(own, coarse, seen_of=seen_of, matte=lambda box, of=image: matte(of[box.pixels][None])[0])
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True

    @property
    def takes_hint(self) -> bool:
        """Whether the network itself takes a hint beside the picture (network/hint.py)."""
        return getattr(getattr(self.network, "architecture", None), "hint", False)

    def _seen(
        self, images: Tensor, seen_of: Callable, hint: Tensor | None = None, scale: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """images [n, H, W, 3|4] -> their alpha [n, 1, h, w] and colours [n, 3, h, w], both float32 0..1, at the size at
        which the network sees them, or `scale` of it, on its device. hint: [n, H, W] 0..1 for a network that takes it.

        Raises ArithmeticError when the network gives NaN.
        """
        weight = next(self.network.parameters())
        width, height = rounded(tuple(scale * side for side in seen_of((images.shape[2], images.shape[1]))))
        colours = resize(unit(images[..., :3].to(weight.device)).permute(0, 3, 1, 2), (height, width))
        mean, std = (colours.new_tensor(values).view(1, 3, 1, 1) for values in (self.spec.mean, self.spec.std))
        given = [((colours - mean) / std).to(weight.dtype, memory_format=torch.contiguous_format)]
        if hint is not None:
            from .hint import seen_by_network

            given.append(seen_by_network(hint.to(weight.device), (height, width)))
        logits = self.network(*given)
        if logits.isnan().any():
            dtype = str(weight.dtype).removeprefix("torch.")
            advice = "load the model as float32 or bfloat16" if dtype == "float16" else "its weights are damaged"
            raise ArithmeticError(f"the network gave NaN in {dtype}: {advice}")
        return logits.float().sigmoid(), colours


def fitted(seen: Tensor, colours: Tensor, images: Tensor, radius: int) -> Tensor:
    """alpha [n, 1, h, w] and colours [n, 3, h, w] as the network saw images [n, H, W, C] -> alpha [n, H, W] 0..1 at
    their size, on their device. radius: 0: scaled; else drawn after the picture."""
    if not radius:
        return resize(seen, images.shape[1:3])[:, 0].clamp_(0, 1).to(images.device)
    return torch.stack([drawn_after(*each, radius) for each in zip(images, seen, colours, strict=True)])


def drawn_after(image: Tensor, alpha: Tensor, colours: Tensor, radius: int) -> Tensor:
    """alpha [1, h, w] -> [H, W] 0..1 with the edges of image [H, W, C] (edges.py), on the image's device.

    colours: the image as the network saw it, [3, h, w] float32 0..1, on alpha's device.
    """
    coarse = [side // guided.SPACING for side in alpha.shape[1:]]
    fit = guided.fit(resize(alpha[None], coarse), resize(colours[None], coarse), -(-radius // guided.SPACING))
    picture = image[..., :3].to(alpha.device)
    drawn = resize(fit[:, 3:], picture.shape[:2])[0, 0]
    # One colour at a time: at 24 megapixels predict peaks at 366 MiB, with a float copy of the picture at 549.
    for colour in range(3):
        slope = resize(fit[:, colour : colour + 1], picture.shape[:2])[0, 0]
        drawn.addcmul_(slope, unit(picture[..., colour]))
    return guided.without_haze(drawn).to(image.device)


def checked_batch_size(batch_size: int | None) -> int | None:
    if batch_size is not None and (isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1):
        raise ValueError(f"batch_size must be a positive integer or None, not {batch_size!r}")
    return batch_size


def automatic_batch_size(seen: tuple[int, int], weight: Tensor, free: int | None = None) -> int:
    """How many pictures of the size seen (width, height) fit in free GPU memory, at most LARGEST_BATCH; else one.

    free: bytes, where the caller knows better than torch does, as ComfyUI's model manager may.
    """
    if weight.device.type != "cuda":
        return 1  # batches bring no speed on a CPU
    if free is None:
        cached = torch.cuda.memory_reserved(weight.device) - torch.cuda.memory_allocated(weight.device)
        free = torch.cuda.mem_get_info(weight.device)[0] + cached
    return max(1, min(LARGEST_BATCH, free // activation_bytes(seen, weight)))


def activation_bytes(seen: tuple[int, int], weight: Tensor) -> int:
    """About what one picture of the size seen (width, height) needs beside the weights, in bytes."""
    return seen[0] * seen[1] * BYTES_A_PIXEL * weight.element_size() // 2
