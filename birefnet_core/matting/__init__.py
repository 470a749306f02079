"""From pictures to alpha: the model on IMAGE-shaped tensors, sizes, picture files. Names are imported on
first use."""

from ..lazy import importer

_HOMES = {
    "ImageError": "..picture_files",
    "MattingModel": ".model",
    "Picture": ".images",
    "read": ".images",
}
__all__ = sorted(_HOMES)
__getattr__ = importer(__name__, _HOMES)
