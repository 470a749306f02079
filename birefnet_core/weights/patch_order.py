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
            moved[key] = rearrange(moved[key], f"{patterns[source]} -> {patterns[target]}", i=grid, j=grid, c=3).contiguous()
    return moved
