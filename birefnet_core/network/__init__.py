"""The network of the paper. `build_network` makes one, `Architecture` says what kind."""

from .architecture import Architecture
from .birefnet import BiRefNet, TrainingOutput, build_network

__all__ = ["Architecture", "BiRefNet", "TrainingOutput", "build_network"]
