"""What a safetensors file says of itself. Needs no torch, so that models are listed at once."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

from .catalog import IMAGENET_MEAN, IMAGENET_STD, LARGEST_EDGE_RADIUS, ModelSpec
from .files import read_metadata


def spec_in_header(path: Path) -> ModelSpec:
    """The ModelSpec in the header of a whole safetensors file that this suite wrote."""
    metadata = read_metadata(path)
    spec = own_spec(path, json.loads(metadata["architecture"])["backbone"], metadata)
    return replace(spec, patch_order=metadata["patch_order"])


def own_spec(path: Path, backbone: str, metadata: dict[str, str]) -> ModelSpec:
    """What the metadata of our own files says. ValueError, one sentence, where it cannot be meant."""
    return ModelSpec(
        name=metadata.get("name") or path.stem,
        backbone=backbone,
        size=_parse_size(metadata.get("size", "1024x1024")),
        mean=_parse_numbers(metadata, "mean", IMAGENET_MEAN),
        std=_parse_numbers(metadata, "std", IMAGENET_STD, above=0),
        edge_radius=_parse_radius(metadata.get("edge_radius", "0")),
        task=metadata.get("task", "general"),
        licence=metadata.get("licence", ""),
        source=metadata.get("source", ""),
        note=metadata.get("note", ""),
    )


def _parse_size(text: str) -> tuple[int, int] | None:
    if text == "dynamic":
        return None
    sides = [int(side) for side in text.split("x") if side.isdecimal()]
    if len(sides) != 2 or 0 in sides:
        raise ValueError(f"its metadata says size '{text}', which is not WIDTHxHEIGHT")
    return sides[0], sides[1]


def _parse_radius(text: str) -> int:
    if not text.isdecimal() or int(text) > LARGEST_EDGE_RADIUS:
        raise ValueError(f"its metadata says edge_radius '{text}', which is no number from 0 to {LARGEST_EDGE_RADIUS}")
    return int(text)


def _parse_numbers(
    metadata: dict[str, str], name: str, default: tuple[float, float, float], above: float | None = None
) -> tuple[float, float, float]:
    if name not in metadata:
        return default
    least = -math.inf if above is None else above
    try:
        red, green, blue = (float(number) for number in metadata[name].split(","))
        if not all(least < number < math.inf for number in (red, green, blue)):  # NaN fails too
            raise ValueError
    except ValueError:
        wanted = "three numbers" if above is None else f"three numbers above {above:g}"
        raise ValueError(f"its metadata says {name} '{metadata[name]}', which is not {wanted}") from None
    return red, green, blue
