"""Deformable convolution with a gradient: the values of `deformable.py`, sampled so that the way back is cheap too.

The gather of `deformable.py` is the fastest way forward, but its backward sorts every index. `grid_sample` has a
vectorised backward: forward and backward of 8 x 24 channels x 56 x 56 with a 7 x 7 kernel take 0.45 s on one CPU core
instead of 1.1 s. The columns are sampled again on the way back instead of being kept (206 MB a picture for 64 channels
at 128 x 128 with a 7 x 7 kernel).
"""

import torch
import torch.nn.functional as F

VALUES_PER_PIECE = 1 << 20  # of the column matrix handled at a time: 4 MB of float32 stay in the cache
GPU_VALUES_PER_PIECE = 1 << 26  # there every piece costs a dozen kernel launches instead; 256 MB (not measured)
BILINEAR, ZEROS = 0, 0  # as aten numbers them


def deformable_conv2d_with_gradient(
    x: torch.Tensor, offset: torch.Tensor, modulator: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """Arguments and result as `deformable_conv2d` without bias. Under autocast the products run in its dtype."""
    count, _, height, width = x.shape
    kernel = weight.shape[-1]
    exact = torch.promote_types(x.dtype, torch.float32)
    tap = torch.arange(kernel * kernel, device=x.device)
    row = torch.arange(height, device=x.device)[None, :, None] + (tap // kernel - kernel // 2)[:, None, None]
    column = torch.arange(width, device=x.device)[None, None, :] + (tap % kernel - kernel // 2)[:, None, None]
    centre = torch.stack(torch.broadcast_tensors(column, row), dim=-1).to(exact)  # grid_sample wants (x, y)
    shift = offset.to(exact).reshape(count, kernel * kernel, 2, height, width).permute(0, 1, 3, 4, 2).flip(-1)
    # -1 and 1 are the outer edges of the picture.
    grid = (2 * (centre + shift) + 1) / torch.tensor([width, height], device=x.device) - 1
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    matrix = weight.flatten(1).to(dtype)
    return _DeformableConvolution.apply(x.to(exact).contiguous(), grid, modulator.to(dtype).contiguous(), matrix)


class _DeformableConvolution(torch.autograd.Function):
    """x [N,C,H,W], grid [N,K,H,W,2] (grid_sample's coordinates), modulator [N,K,H,W], matrix [O,C*K] -> [N,O,H,W]."""

    @staticmethod
    def forward(ctx, x, grid, modulator, matrix):
        ctx.save_for_backward(x, grid, modulator, matrix)
        output = matrix.new_empty(x.shape[0], matrix.shape[0], *x.shape[2:])
        for picture, rows, places, shares in _pieces(x, grid, modulator):
            columns = _sample(x[picture], places).to(matrix.dtype) * shares
            output[picture, :, rows] = (matrix @ columns.flatten(0, 1).flatten(1)).view_as(output[picture, :, rows])
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        x, grid, modulator, matrix = ctx.saved_tensors
        to_x, to_grid, to_modulator = torch.zeros_like(x), torch.empty_like(grid), torch.empty_like(modulator)
        to_matrix = torch.zeros_like(matrix, dtype=x.dtype)
        for picture, rows, places, shares in _pieces(x, grid, modulator):
            incoming = gradient[picture, :, rows].flatten(1)
            sampled = _sample(x[picture], places).to(matrix.dtype)
            to_matrix += incoming @ (sampled * shares).flatten(0, 1).flatten(1).T
            columns = (matrix.T @ incoming).view_as(sampled)
            to_modulator[picture, :, rows] = (columns * sampled).sum(dim=0)
            taps, height, width, _ = places.shape
            piece_to_x, piece_to_grid = torch.ops.aten.grid_sampler_2d_backward(
                (columns * shares).to(x.dtype).view(1, -1, taps * height, width),
                x[picture][None],
                places.reshape(1, taps * height, width, 2),
                BILINEAR,
                ZEROS,
                False,
                [True, True],
            )
            to_x[picture] += piece_to_x[0]
            to_grid[picture, :, rows] = piece_to_grid.view_as(places)
        return to_x, to_grid, to_modulator, to_matrix.to(matrix.dtype)


def _pieces(x, grid, modulator):
    """Picture index, its rows, their places [K,h,W,2] and modulators [K,h,W], some rows of one picture at a time."""
    count, channels, height, width = x.shape
    values = VALUES_PER_PIECE if x.device.type == "cpu" else GPU_VALUES_PER_PIECE
    step = max(1, values // (channels * grid.shape[1] * width))
    for picture in range(count):
        for top in range(0, height, step):
            rows = slice(top, top + step)
            yield picture, rows, grid[picture, :, rows], modulator[picture, :, rows]


def _sample(picture, places):
    """picture [C,H,W], places [K,h,W,2] -> [C,K,h,W]."""
    taps, height, width, _ = places.shape
    sampled = F.grid_sample(picture[None], places.reshape(1, taps * height, width, 2), align_corners=False)
    return sampled.view(-1, taps, height, width)
