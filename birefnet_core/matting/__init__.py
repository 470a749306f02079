"""From pictures to alpha: the model on IMAGE-shaped tensors, sizes, picture files and the `matte` command."""

from ..picture_files import ImageError
from .images import Picture, read
from .model import MattingModel

__all__ = ["ImageError", "MattingModel", "Picture", "read"]
