"""Generated mattes to measure, the same on every machine: whole numbers, and numpy's frozen random generator."""

import numpy as np

# name: (height, width, seed, kind)
CASES = {
    "near": (96, 128, 0, "near"),
    "far": (120, 90, 1, "far"),
    "lines": (160, 160, 2, "lines"),
    "holes": (150, 130, 3, "holes"),
    "timid": (64, 80, 4, "timid"),  # does not span 0..1
    "noise": (70, 70, 5, "noise"),
    "grey": (40, 50, 6, "grey"),  # one level everywhere
    "empty truth": (48, 48, 7, "empty truth"),
    "full truth": (48, 48, 8, "full truth"),
    "at the border": (90, 110, 9, "at the border"),
    "dots": (200, 220, 10, "dots"),
    "tiny": (2, 3, 11, "noise"),
}


def maps(name: str) -> tuple[np.ndarray, np.ndarray]:
    """(prediction, truth) of a case, uint8 [H, W]."""
    height, width, seed, kind = CASES[name]
    random = np.random.RandomState(seed)
    rows, columns = np.mgrid[:height, :width]
    reach = min(height, width)
    middle = (0, 0) if kind == "at the border" else (height * 2 // 5, width // 2)
    distance = (rows - middle[0]) ** 2 + (columns - middle[1]) ** 2
    truth = np.clip(128 + 400 * (reach**2 // 9 - distance) // reach**2 * 4, 0, 255)
    if kind == "lines":
        truth = np.where((rows + 2 * columns) % 40 < 3, 255, truth)
    if kind == "holes":
        truth = np.where((rows // 9 + columns // 11) % 4 == 1, 0, truth)
    shift = {"near": 1, "far": 12, "lines": 2, "holes": 2, "at the border": 4}.get(kind, 3)
    alpha = np.roll(truth, (shift, -shift), (0, 1)) + random.randint(-9, 10, truth.shape)
    if kind == "lines":
        alpha = np.where((rows - columns) % 50 < 20, 0, alpha)  # cuts lines into pieces
    if kind == "holes":
        alpha = np.where((rows // 9 + columns // 11) % 8 == 1, 200, alpha)
    if kind == "dots":
        alpha = np.where((rows % 31 < 13) & (columns % 37 < 15), 255 - alpha, alpha)
    if kind == "timid":
        alpha = 40 + np.clip(alpha, 0, 255) // 3
    if kind == "noise":
        truth, alpha = random.randint(0, 256, (2, height, width))
    if kind == "grey":
        alpha = np.full_like(truth, 77)
    if kind.endswith("truth"):
        truth = np.full_like(truth, 255 * (kind == "full truth"))
    return tuple(np.clip(map_, 0, 255).astype(np.uint8) for map_ in (alpha, truth))
