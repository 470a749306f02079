"""The localization module (paper, section 3.2): where the subject is, at every stride, from the whole image."""

import torch
import torch.nn as nn

from .architecture import Architecture
from .backbones import find_backbone
from .hint import beside, centred, take_hints_
from .layers import resize
from .reconstruction import ReconstructionBlock

# A plain ViT has one stride only; its levels become a pyramid with swin_v1_l's widths, as published.
NECK_CHANNELS = (192, 384, 768, 1536)


class LocalizationModule(nn.Module):
    """LM: the backbone on the image and its half-size copy, context feature fusion, and the squeeze to F^d."""

    def __init__(self, arch: Architecture):
        super().__init__()
        backbone = find_backbone(arch.backbone)
        scales = 2 if arch.image_pyramid else 1
        self.image_pyramid, self.context_fusion = arch.image_pyramid, arch.context_fusion
        self.backbone = backbone.build(arch.stochastic_depth)
        if arch.hint:
            take_hints_(self.backbone, arch.backbone)
        self.smallest, self.multiple = backbone.smallest, backbone.multiple
        self.encoder_channels = tuple(scales * c for c in backbone.channels)
        *shallow, deep = self.encoder_channels
        self.class_head = nn.Linear(deep, arch.classes) if arch.classes else None
        self.squeeze = ReconstructionBlock(deep + (sum(shallow) if arch.context_fusion else 0), deep, arch)
        self.channels = self.encoder_channels
        self.neck = None
        if not backbone.pyramid:
            self.channels = tuple(scales * c for c in NECK_CHANNELS)
            self.neck = nn.ModuleList(nn.Conv2d(i, o, 1) for i, o in zip(self.encoder_channels, self.channels))

    def forward(self, image: torch.Tensor, hint: torch.Tensor | None = None):
        """image [N,3,H,W], hint [N,1,H,W] 0..1 or None -> (levels F_1, F_2, F_3, F^d at strides 4, 8, 16, 32; class
        logits or None)."""
        *levels, deep = self.encode(image, hint)
        class_logits = self.class_head(deep.mean(dim=(2, 3))) if self.training and self.class_head else None
        if self.context_fusion:
            deep = torch.cat([resize(level, deep.shape[-2:]) for level in levels] + [deep], dim=1)
        levels.append(self.squeeze(deep))
        if self.neck is not None:
            height, width = image.shape[-2:]
            sizes = [(height // stride, width // stride) for stride in (4, 8, 16, 32)]
            # The 1x1 convolution commutes with the upsampling: done first, it sees 16 times fewer pixels.
            levels = [resize(conv(level), size) for conv, level, size in zip(self.neck, levels, sizes)]
        return levels, class_logits

    def encode(self, image: torch.Tensor, hint: torch.Tensor | None = None) -> list[torch.Tensor]:
        """Four levels, shallow to deep; with the image pyramid those of the half-size copy are stacked onto them."""
        hint = None if hint is None else centred(hint, image)
        levels = list(self.backbone(beside(image, hint)))
        if not self.image_pyramid:
            return levels
        size = (image.shape[-2] // 2, image.shape[-1] // 2)
        half = self.backbone(beside(resize(image, size), None if hint is None else resize(hint, size)))
        return [
            torch.cat((full, resize(small, full.shape[-2:])), dim=1) for full, small in zip(levels, half, strict=True)
        ]
