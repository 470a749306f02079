"""BiRefNet Suite: the network of "Bilateral Reference for High-Resolution Dichotomous Image Segmentation", its weights
and matting, without ComfyUI. Everything heavy is imported on first use."""
