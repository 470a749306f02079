"""The channel order of the decoder's image patches, which upstream changed on 2024-11-05 without converting weights.

For grid g, column j, row i and colour c, the input channel of `ipt_blkN.conv1` is (j*g + i)*3 + c in "2024" files and
c*g*g + i*g + j in "2025" files. The network always holds "2025".
"""

import torch
from einops import rearrange

ORDERS = ("2024", "2025")
CANONICAL = "2025"
GRIDS = {5: 32, 4: 16, 3: 8, 2: 4}  # of decoder.ipt_blkN; ipt_blk1 has a grid of one pixel and no order


def reorder(state_dict: dict[str, torch.Tensor], source: str, target: str) -> dict[str, torch.Tensor]:
    """`state_dict` (published keys) with the patch convolutions' input channels moved from one order to the other.

    Returns a new dict; tensors that do not change are shared. Raises ValueError for an order other than 2024, 2025.
    """
    for order in (source, target):
        if order not in ORDERS:
            raise ValueError(f"patch order must be one of {', '.join(ORDERS)}, got '{order}'")
    if source == target:
        return dict(state_dict)
    patterns = {"2024": "o (j i c) h w", "2025": "o (c i j) h w"}
    moved = dict(state_dict)
    for level, grid in GRIDS.items():
        key = f"decoder.ipt_blk{level}.conv1.weight"
        if key in moved:
            moved[key] = rearrange(
                moved[key], f"{patterns[source]} -> {patterns[target]}", i=grid, j=grid, c=3
            ).contiguous()
    return moved


# Random kernels give about one standard error; pvt_v2_b0 networks trained from nothing for 40 steps gave +7 (2025) and
# -43 (2024), the bundled model's first 200 steps +17 and -43.
CERTAIN = 6.0


def detect(state_dict: dict[str, torch.Tensor]) -> tuple[str | None, float]:
    """The patch order that the weights themselves show, or None when they do not, and how sure that is.

    In a trained kernel the taps of neighbouring pixels of a patch, and of the three colours of one pixel, are alike,
    because image patches are smooth and their colours go together. Read in the right order, neighbours correlate; read
    in the wrong one, the "neighbours" are pixels further apart. (Trained on pictures of unrelated colours, a network
    may stay undecided.) The second value is the difference of the mean correlation under "2025" and "2024" in standard
    errors of random kernels: positive for "2025", negative for "2024".
    """
    difference, variance = 0.0, 0.0
    for level, grid in GRIDS.items():
        weight = state_dict.get(f"decoder.ipt_blk{level}.conv1.weight")
        if weight is None:
            continue
        new = rearrange(weight.float(), "o (c i j) h w -> c i j (o h w)", i=grid, j=grid)
        old = rearrange(weight.float(), "o (j i c) h w -> c i j (o h w)", i=grid, j=grid)
        difference += _smoothness(new) - _smoothness(old)
        # Each mean runs over about 3 * grid^2 cosines of `taps`-dimensional vectors, three kinds of neighbour, twice.
        variance += 2 / (new.shape[-1] * grid * grid)
    if not variance:
        return None, 0.0
    score = difference / variance**0.5
    if not abs(score) >= CERTAIN:  # NaN is undecided too
        return None, score
    return ("2025" if score > 0 else "2024"), score


def _smoothness(kernels: torch.Tensor) -> float:
    """Mean cosine of neighbouring kernels over colour, row and column, summed. kernels [3,g,g,taps]."""
    kernels = torch.nn.functional.normalize(kernels - kernels.mean(dim=(1, 2), keepdim=True), dim=-1)
    return sum((kernels.roll(1, axis) * kernels).sum(-1).mean().item() for axis in range(3))
