"""Frames that say which one they are, and sound that says when."""

import numpy as np

WIDTH, HEIGHT, COUNT = 64, 48, 24


def numbered(index: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A frame that says which one it is: smooth colours, and its number in binary in eight patches along the top."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([80 + 60 * x / width, 100 + 50 * y / height, 90 + 0 * x], axis=-1)
    patch = width // 8
    for bit in range(8):
        rgb[: height // 4, bit * patch : (bit + 1) * patch] = 220 if index >> bit & 1 else 30
    return rgb.round().astype(np.uint8)


def number_of(rgb: np.ndarray) -> int:
    """Which of the frames made by `numbered` this is; rgb uint8 or 0..1."""
    rgb = np.asarray(rgb, dtype=np.float32)
    rgb = rgb / 255 if rgb.max() > 1.5 else rgb
    height, width = rgb.shape[:2]
    patch = width // 8
    middle = rgb[height // 8, patch // 2 : 8 * patch : patch].mean(axis=-1)
    return sum(int(value > 0.5) << bit for bit, value in enumerate(middle))


def tone(seconds: float, rate: int = 48_000) -> np.ndarray:
    """Sound that tells its own time: silence with a click at every 0.1 s, the n-th of them n + 2 milliseconds long."""
    samples = np.zeros(round(seconds * rate), np.float32)
    for index in range(int(seconds * 10)):
        begin = round(index * rate / 10)
        length = (index + 2) * rate // 1000
        samples[begin : begin + length] = 0.5 * np.sin(np.arange(len(samples[begin : begin + length])) * 0.8)
    return samples


def onsets(samples, rate):
    """Where each click begins, in seconds, and how long it is, in milliseconds."""
    loud = np.abs(samples) > 0.12
    indices = np.flatnonzero(loud)
    groups = np.split(indices, np.flatnonzero(np.diff(indices) > rate // 50) + 1)
    return [(group[0] / rate, (group[-1] - group[0]) * 1000 / rate) for group in groups if len(group)]
