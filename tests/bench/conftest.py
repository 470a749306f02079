"""The clips of tests/video."""

from tests.video.conftest import _one_thread, make_clip  # noqa: F401
