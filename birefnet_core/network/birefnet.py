"""BiRefNet (paper, section 3.1, figure 3): localization module, then reconstruction module with bilateral reference."""

from dataclasses import dataclass, replace

import torch
import torch.nn as nn

from .architecture import Architecture
from .folding import fold_backbone_
from .layers import ConvNorm
from .localization import LocalizationModule
from .reconstruction import ReconstructionModule

STRIDE = 32


@dataclass
class TrainingOutput:
    """What the network returns in training mode. All maps are logits.

    side_outputs: the stages' predictions, coarse to fine; the last is the full-size matte [N,1,H,W].
    gradient_predictions: [N,1,h,w] a stage; gradient_labels: [N,1,H,W] a stage (both empty without outward reference).
    class_logits: [N,classes] or None.
    """

    side_outputs: list[torch.Tensor]
    gradient_predictions: list[torch.Tensor]
    gradient_labels: list[torch.Tensor]
    class_logits: torch.Tensor | None


class BiRefNet(nn.Module):
    """The complete network. x [N,3,H,W] normalised, sides multiples of 32 -> logits [N,1,H,W] in evaluation mode,
    `TrainingOutput` in training mode.

    One of an `Architecture` with `hint` also takes a hint [N,1,H,W]: 1 where a pixel belongs to what is asked for, 0
    where it does not, 0.5 where nothing is said. None, the same as 0.5 everywhere, asks for everything salient.
    """

    def __init__(self, architecture: Architecture):
        super().__init__()
        self.architecture = architecture
        self.localization = LocalizationModule(architecture)
        inward = tuple(c // 8 for c in self.localization.encoder_channels)
        self.reconstruction = ReconstructionModule(self.localization.channels, inward, architecture)

    def forward(self, image: torch.Tensor, hint: torch.Tensor | None = None) -> "torch.Tensor | TrainingOutput":
        check_input(image, self.localization.smallest, self.localization.multiple)
        if hint is not None:
            check_hint(hint, image, self.architecture)
        image = image.contiguous(memory_format=torch.channels_last)
        (*laterals, squeezed), class_logits = self.localization(image, hint)
        logits, stages = self.reconstruction(squeezed, laterals, image, training=self.training)
        if not self.training:
            return logits
        return TrainingOutput(
            side_outputs=[s.side_output for s in stages if s.side_output is not None] + [logits],
            gradient_predictions=[s.gradient_prediction for s in stages if s.gradient_prediction is not None],
            gradient_labels=[s.gradient_label for s in stages if s.gradient_label is not None],
            class_logits=class_logits,
        )

    def fold_batch_norm_(self) -> "BiRefNet":
        """Fold batch normalisation into convolutions, for inference only: all of the decoder's, and of the backbone's
        what can be. In evaluation mode. Returns self."""
        for module in self.modules():
            if isinstance(module, ConvNorm):
                module.fold_()
        fold_backbone_(self.localization.backbone, 2 * self.localization.smallest)
        return self


def build_network(architecture: "str | Architecture" = "swin_v1_l", **changes) -> BiRefNet:
    """A BiRefNet with fresh weights, in training mode.

    architecture: a backbone's name ("swin_v1_t", "timm:<model>") or a whole `Architecture`; keyword arguments replace
    its fields. Raises ValueError for an unknown backbone, and for values that are none of an architecture.
    """
    if not isinstance(architecture, Architecture):
        architecture = Architecture(backbone=architecture)
    return BiRefNet(replace(architecture, **changes))


def check_input(image: torch.Tensor, smallest: int = STRIDE, multiple: int = STRIDE) -> None:
    """Raise ValueError, saying what to pad to, unless `image` is [N,3,H,W] with sides that are multiples of `multiple`
    and at least `smallest`."""
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(f"expected a batch of RGB images [N,3,H,W], got {list(image.shape)}")
    height, width = image.shape[-2:]
    padded = [max(smallest, -(-side // multiple) * multiple) for side in (height, width)]
    if [height, width] != padded:
        raise ValueError(
            f"image sides must be multiples of {multiple} (for this backbone at least {smallest}), got "
            f"{height} x {width} (height x width): pad or resize to {padded[0]} x {padded[1]}"
        )


def check_hint(hint: torch.Tensor, image: torch.Tensor, architecture: Architecture) -> None:
    """Raise ValueError unless the network takes hints, and `hint` is [N,1,H,W] for `image` [N,3,H,W]."""
    if not architecture.hint:
        raise ValueError("this network takes no hint: build it with hint=True, or call it without")
    expected = [image.shape[0], 1, *image.shape[-2:]]
    if list(hint.shape) != expected:
        raise ValueError(f"expected a hint {expected} for images {list(image.shape)}, got {list(hint.shape)}")
