"""The nodes. Importing them reads no weights, opens no connection, and imports neither timm nor huggingface_hub."""

from . import replacements
from .apply_mask import ApplyMask
from .key_screen import KeyScreen
from .load_birefnet import LoadBiRefNet
from .matte_video import MatteVideo
from .segment import Segment
from .split_subjects import SplitSubjects
from .video_frames import VideoFrames

NODE_CLASS_MAPPINGS = {
    "LoadBiRefNet": LoadBiRefNet,
    "BiRefNetSegment": Segment,
    "BiRefNetApplyMask": ApplyMask,
    "BiRefNetVideoFrames": VideoFrames,
    "BiRefNetMatteVideo": MatteVideo,
    "BiRefNetSplitSubjects": SplitSubjects,
    "BiRefNetKeyScreen": KeyScreen,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "LoadBiRefNet": "Load BiRefNet",
    "BiRefNetSegment": "Segment (BiRefNet)",
    "BiRefNetApplyMask": "Apply Mask (BiRefNet)",
    "BiRefNetVideoFrames": "Video Frames (BiRefNet)",
    "BiRefNetMatteVideo": "Matte Video (BiRefNet)",
    "BiRefNetSplitSubjects": "Split Subjects (BiRefNet)",
    "BiRefNetKeyScreen": "Key Screen (BiRefNet)",
}

replacements.register()
