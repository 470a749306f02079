"""Weight files: reading safetensors and plain tensor pickles, writing safetensors whole or not at all."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..names import readable
from ..whole import whole_file

if TYPE_CHECKING:
    import torch

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt")
# What wraps the weights in a training checkpoint, and what wraps each key.
_CONTAINERS = ("state_dict", "model", "model_state_dict", "net")
_PREFIXES = ("module.", "_orig_mod.", "birefnet.", "model.")


class WeightsError(ValueError):
    """A weight file that cannot be used; the message names the file and says what it is and what to do."""


def read_weights(path: str | os.PathLike[str]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors of a .safetensors or .pth file and the text metadata of the former, without wrapping prefixes.

    Tensors stay memory-mapped where the format allows. Pickles are read with `weights_only=True`, which runs no code.

    Raises:
        WeightsError: missing, truncated, not a weight file, or a pickle that holds more than tensors.
    """
    path = check_there(Path(path))
    with open(path, "rb") as file:
        start = file.read(9)
    if path.suffix.lower() == ".onnx":
        raise WeightsError(
            f"{path}: an ONNX graph for onnxruntime, not weights: use the weight file it was exported from"
        )
    if path.suffix.lower() == ".safetensors" or start[8:9] == b"{":
        state_dict, metadata = _read_safetensors(path)
    elif start.startswith((b"PK", b"\x80")):  # a zip archive, or a bare pickle of torch before 1.6
        state_dict, metadata = _read_pickle(path), {}
    else:
        raise WeightsError(f"{path}: neither safetensors nor a PyTorch file, perhaps a saved web page: fetch it again")
    return strip_prefixes(state_dict), metadata


def check_there(path: Path) -> Path:
    """The path of a file; WeightsError where there is none."""
    if not path.is_file():
        what = "this is a folder" if path.is_dir() else "this is no file that could be read"
        raise WeightsError(f"{path}: {what}" if path.exists() else f"{path}: there is no such file")
    return path


def write_weights(path: str | os.PathLike[str], state_dict: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file, whole or not at all. OSError, with the file's name, where that fails."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with whole_file(Path(path)) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        try:
            save_file({key: value.contiguous() for key, value in state_dict.items()}, temporary, metadata)
        except SafetensorError as error:  # what it makes of a full disk
            raise OSError(f"{path} could not be written ({error}): free some disk space, then try again") from error
        temporary.chmod(mode)  # safetensors makes files that nobody but their owner may read, such as a server's user


def _read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with _utf8_path(path) as reachable, safe_open(reachable, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"{path}: not a whole safetensors file ({error}): the download or copy may have been cut, fetch it again"
        ) from None


@contextmanager
def _utf8_path(path: Path) -> Iterator[Path]:
    """A path to the same file that safetensors can open: it takes names in UTF-8 alone."""
    if readable(str(path)) == str(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder, f"link{path.suffix}")
        link.symlink_to(path.resolve())
        yield link


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The text metadata of a safetensors file. WeightsError, SafetensorError or OSError for another."""
    from safetensors import safe_open

    with _utf8_path(Path(path)) as reachable, safe_open(reachable, framework="np") as file:  # "pt" brings torch
        return file.metadata() or {}


def _read_pickle(path: Path) -> dict[str, torch.Tensor]:
    import torch

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        if isinstance(error, pickle.UnpicklingError) and "nsupported" in str(error):
            raise WeightsError(
                f"{path}: this pickle holds more than tensors, and loading it could run any code in it, so it is "
                "refused: ask its author for safetensors or a plain state dict"
            ) from None
        if "TorchScript" in str(error):
            raise WeightsError(f"{path}: a TorchScript program, not weights: ask its author for safetensors") from None
        raise WeightsError(f"{path}: not a whole PyTorch file: fetch it again") from None
    for container in _CONTAINERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(container), dict):
            loaded = loaded[container]
    items = loaded.items() if isinstance(loaded, dict) else ()
    tensors = {k: v for k, v in items if isinstance(k, str) and isinstance(v, torch.Tensor)}
    if not tensors:
        raise WeightsError(f"{path}: this PyTorch file holds no state dict")
    return tensors


def strip_prefixes(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without what DataParallel, torch.compile or a wrapping module put before every key."""
    while prefix := next((p for p in _PREFIXES if state_dict and all(k.startswith(p) for k in state_dict)), None):
        state_dict = {key.removeprefix(prefix): value for key, value in state_dict.items()}
    return state_dict
