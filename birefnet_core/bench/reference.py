"""The reference implementation, from a checkout that stays as it is. Only a measuring child process calls `load`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch.nn as nn

from ..network.backbones import find_backbone

# Import names whose package is called otherwise.
_PACKAGES = {"cv2": "opencv-python-headless", "PIL": "pillow", "skimage": "scikit-image"}


def check_checkout(path: Path) -> None:
    """Raise ValueError unless `path` looks like a checkout of ZhengPeng7/BiRefNet."""
    for part in ("config.py", "models/birefnet.py"):
        if not (path / part).is_file():
            raise ValueError(f"{path}: not a checkout of ZhengPeng7/BiRefNet, it has no {part}")


def load(checkout: Path, backbone: str, weights: Path) -> nn.Module:
    """The reference on `backbone`, in evaluation mode, with the weights of a safetensors file, loaded strictly.

    Raises RuntimeError that names the package to install when the reference's imports need one.
    """
    from safetensors.torch import load_file

    # The checkout is no package: its modules import one another as `config` and `models`, so they have to be found on
    # the path. This process imports nothing else afterwards.
    sys.path.insert(0, str(checkout))
    try:
        _choose_backbone(backbone)
        from models.birefnet import BiRefNet
    except ModuleNotFoundError as error:
        package = _PACKAGES.get(error.name, error.name)
        raise RuntimeError(
            f"the reference imports '{error.name}', which is not installed: pip install {package}"
        ) from None
    model = BiRefNet(bb_pretrained=False)
    model.load_state_dict(load_file(weights), strict=True)
    return model.eval()


def _choose_backbone(backbone: str) -> None:
    """Its configuration picks a backbone by an index in the source; every Config made from here on has ours."""
    from config import Config

    # Of its encoder's four levels, deep to shallow; the image pyramid stacks two scales.
    channels = [2 * count for count in reversed(find_backbone(backbone).channels)]
    configure = Config.__init__

    def configure_for_backbone(self) -> None:
        configure(self)
        self.bb = backbone
        self.lateral_channels_in_collection = channels
        self.cxt = channels[1:][::-1]

    Config.__init__ = configure_for_backbone
