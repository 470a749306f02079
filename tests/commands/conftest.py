"""The narrow model of tests/matting and the clips of tests/video."""

from tests.matting.conftest import _one_thread, model, network, photograph, srgb_profile  # noqa: F401
from tests.video.conftest import bad_clips, decode, make_clip  # noqa: F401
