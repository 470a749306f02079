"""From pictures to alpha: the model on IMAGE-shaped tensors, sizes, picture files and the `matte` command."""

from .images import ImageError, Picture, read
from .model import MattingModel

__all__ = ["ImageError", "MattingModel", "Picture", "read"]
