"""BiRefNet Suite: the network of "Bilateral Reference for High-Resolution Dichotomous Image Segmentation", its weights
and matting, without ComfyUI.

    import birefnet_core as bc
    model = bc.load_model("bundled")
    alpha = model.predict(images)      # [B,H,W,3] 0..1 -> [B,H,W] 0..1

Names are imported on first use, so that `import birefnet_core` costs nothing.
"""

from .lazy import importer

_HOMES = {
    "Architecture": ".network",
    "build_network": ".network",
    "estimate_foreground": ".matting.foreground",
    "MattingModel": ".matting",
    "ModelSpec": ".weights.catalog",
    "inspect": ".weights.inspection",
    "load_model": ".matting.load",
    "save_model": ".weights.save",
    "export_published": ".weights.published",
    "load_published": ".weights.published",
}
__all__ = sorted(_HOMES)

__getattr__ = importer(__name__, _HOMES)
