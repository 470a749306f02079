"""What may keep a measurement from being made that is no fault of it: a command says it in one sentence."""

from __future__ import annotations

from birefnet_core.out_of_memory import OutOfMemoryError
from birefnet_core.weights.download import DownloadError

# ArithmeticError: the network gave NaN; ImportError: a package that the command names is not installed.
REFUSALS = (ValueError, ArithmeticError, OSError, ImportError, DownloadError, OutOfMemoryError)
