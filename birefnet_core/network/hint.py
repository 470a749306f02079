"""The hint: a fourth channel of the encoder's first convolution, which says what the picture is asked for.

A hint is 1 where a pixel belongs to what is asked for, 0 where it does not, and 0.5 where nothing is said of it. No
hint at all is the same as 0.5 everywhere: everything salient is wanted then. It enters centred, as 2 * hint - 1, so
that what is said of a pixel can be told at that pixel, and so that padding says nothing.
"""

from dataclasses import replace

import torch
import torch.nn as nn
from timm.layers import Conv2dSame
from timm.layers.std_conv import ScaledStdConv2dSame, StdConv2dSame

COLOURS = 3
SAYS_NOTHING = 0.5
SAME = (Conv2dSame, StdConv2dSame, ScaledStdConv2dSame)  # pad by the picture's size, as TensorFlow does


class HintedConv(nn.Module):
    """A convolution that takes pictures [N,3,H,W], or [N,4,H,W] with a centred hint, which has weights of its own, zero
    at first.

    The pictures go through `picture`, the convolution that was there, unchanged: a fourth channel among its own would
    change the order in which a device adds up the products, and with it the last bit, whatever its weights.
    """

    def __init__(self, picture: nn.Conv2d):
        super().__init__()
        self.picture = picture
        self.hint = (Conv2dSame if isinstance(picture, SAME) else nn.Conv2d)(
            1,
            picture.out_channels,
            picture.kernel_size,
            picture.stride,
            picture.padding,
            picture.dilation,
            bias=False,
        )
        nn.init.zeros_(self.hint.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] == COLOURS:
            return self.picture(x)
        image, hint = x[:, :COLOURS].contiguous(memory_format=torch.channels_last), x[:, COLOURS:]
        return self.picture(image) + self.hint(hint)


def take_hints_(backbone: nn.Module, name: str) -> None:
    """Let the convolutions of `backbone` that see the picture take a hint too, in place: one in most encoders, the
    parallel ones of a first block in some. ValueError for an encoder that has none."""
    found = [
        path for path, each in backbone.named_modules() if isinstance(each, nn.Conv2d) and each.in_channels == COLOURS
    ]
    if not found:
        raise ValueError(f"{name} has no convolution that sees the picture itself, so it can take no hint")
    for path in found:
        parent, _, last = path.rpartition(".")
        setattr(backbone.get_submodule(parent), last, HintedConv(backbone.get_submodule(path)))


def drop_hints_(network: nn.Module) -> None:
    """Let a BiRefNet take no hints any more, in place: it gives what it gave without one."""
    for path, each in list(network.named_modules()):
        if isinstance(each, HintedConv):
            parent, _, last = path.rpartition(".")
            setattr(network.get_submodule(parent), last, each.picture)
    network.architecture = replace(network.architecture, hint=False)


def centred(hint: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """A hint 0..1 as it enters the encoder, -1..1, with the image's precision and on its device. To be resized after
    this, not before: one half would then be one half but for a bit."""
    return (2 * hint - 1).to(image)


def beside(image: torch.Tensor, hint: torch.Tensor | None) -> torch.Tensor:
    """What an encoder takes: image [N,3,H,W] with a centred hint [N,1,H,W] as its fourth channel, if there is one."""
    return image if hint is None else torch.cat((image, hint), dim=1)


def hint_weights(network: nn.Module) -> list[nn.Parameter]:
    """The parameters by which `network` takes a hint; none where it takes none."""
    return [each.hint.weight for each in network.modules() if isinstance(each, HintedConv)]
