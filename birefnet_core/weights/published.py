"""The published key layout, both ways: upstream's names and patch order on disk, the paper's names in the network."""

import re

import torch

from ..network.birefnet import BiRefNet
from ..network.hint import COLOURS
from ..network.swin import WindowAttention
from .files import strip_prefixes
from .patch_order import CANONICAL, reorder

# Recomputed when absent; every other key is required.
OPTIONAL = ("relative_position_index", "num_batches_tracked")
HINT = ".hint.weight"  # how the names of a hint's weights end here; in a file they are a convolution's fourth channel

# Our prefix -> the published one; the first match counts. Upstream counts its decoder's stages down, we count up.
_BLOCK = r"^reconstruction\.blocks\.(\d)\."
_RULES = [
    (r"^localization\.backbone\.", "bb."),
    (r"^localization\.class_head\.", "cls_head.0."),
    (r"^localization\.neck\.(\d)\.", lambda m: f"decoder.pyramid_neck_x{int(m[1]) + 1}.conv."),
    (r"^localization\.squeeze\.", "squeeze_module.0."),
    (r"^reconstruction\.laterals\.(\d)\.", lambda m: f"decoder.lateral_block{4 - int(m[1])}.conv."),
    (r"^reconstruction\.head\.conv\.", "decoder.conv_out1.0."),
    (r"^reconstruction\.head\.inward\.", "decoder.ipt_blk1."),
    (_BLOCK + r"reconstruction\.", lambda m: f"decoder.decoder_block{4 - int(m[1])}."),
    (_BLOCK + r"inward\.", lambda m: f"decoder.ipt_blk{5 - int(m[1])}."),
    (_BLOCK + r"side_output\.", lambda m: f"decoder.conv_ms_spvn_{4 - int(m[1])}."),
    (_BLOCK + r"outward\.gradient\.conv\.", lambda m: f"decoder.gdt_convs_{4 - int(m[1])}.0."),
    (_BLOCK + r"outward\.gradient\.norm\.", lambda m: f"decoder.gdt_convs_{4 - int(m[1])}.1."),
    (_BLOCK + r"outward\.prediction\.", lambda m: f"decoder.gdt_convs_pred_{4 - int(m[1])}.0."),
    (_BLOCK + r"outward\.attention\.", lambda m: f"decoder.gdt_convs_attn_{4 - int(m[1])}.0."),
]
# What lies below those prefixes in the decoder and in the backbones; every match counts, in this order.
_DECODER_RULES = [
    (r"(ipt_blk\d)\.conv_in\.", r"\1.conv1."),
    (r"\.(conv_in|conv_out)\.conv\.", r".\1."),
    (r"\.conv_(in|out)\.norm\.", r".bn_\1."),
    (r"\.fields\.pooled\.conv\.", ".dec_att.global_avg_pool.1."),
    (r"\.fields\.pooled\.norm\.", ".dec_att.global_avg_pool.2."),
    (r"\.fields\.fuse\.conv\.", ".dec_att.conv1."),
    (r"\.fields\.fuse\.norm\.", ".dec_att.bn1."),
    (r"\.fields\.branches\.0\.", ".dec_att.aspp1."),
    (r"\.fields\.branches\.(\d)\.", lambda m: f".dec_att.aspp_deforms.{int(m[1]) - 1}."),
    (r"(aspp\S*)\.norm\.", r"\1.bn."),
    (r"(aspp\S*)\.conv\.(offset|modulator)\.", r"\1.atrous_conv.\2_conv."),
    (r"(aspp\S*)\.conv\.weight$", r"\1.atrous_conv.regular_conv.weight"),
]
_BACKBONE_RULES = {
    "resnet": [(r"^bb\.stages\.(\d)\.", lambda m: f"bb.conv{int(m[1]) + 1}.")],
    "vgg": [(r"^bb\.stages\.(\d)\.", lambda m: f"bb.conv{int(m[1]) + 1}.")],
    "pvt": [
        (r"^bb\.stages\.0\.0\.", "bb.patch_embed1."),
        (r"^bb\.stages\.0\.1\.", "bb.stages.0."),
        (r"^bb\.stages\.(\d)\.downsample\.", lambda m: f"bb.patch_embed{int(m[1]) + 1}."),
        (r"^bb\.stages\.(\d)\.blocks\.", lambda m: f"bb.block{int(m[1]) + 1}."),
        (r"^bb\.stages\.(\d)\.norm\.", lambda m: f"bb.norm{int(m[1]) + 1}."),
        (r"\.mlp\.dwconv\.", ".mlp.dwconv.dwconv."),
    ],
}


def published_key(key: str, backbone: str) -> str:
    """The published name of one of our state-dict keys. Parts the authors never published keep a name like ours."""
    for pattern, replacement in _RULES:
        key, found = re.subn(pattern, replacement, key)
        if found:
            break
    rules = _DECODER_RULES
    if key.startswith("bb."):
        rules = next((rules for family, rules in _BACKBONE_RULES.items() if backbone.startswith(family)), [])
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key.replace(".picture.", ".")  # network/hint.py


def load_published(network: BiRefNet, state_dict: dict[str, torch.Tensor], patch_order: str = CANONICAL) -> None:
    """Load weights in the published layout into `network`, in place.

    patch_order: "2024" or "2025", the channel order of the decoder's image patches in `state_dict`.
    Only `relative_position_index` and `num_batches_tracked` may be absent, and for a network that takes a hint the
    weights of that: they are zero then, and the network gives what it gives without. Raises ValueError that names the
    keys that are missing, unexpected or of another shape. What DataParallel or torch.compile put before every key is
    dropped. `state_dict` is not changed; values are cast to the network's dtype.
    """
    state_dict = strip_prefixes(state_dict)
    if problem := misfits(network, state_dict):
        raise ValueError(problem)
    own = network.state_dict()
    given = reorder(_hints_apart(state_dict, network), patch_order, CANONICAL)
    with torch.no_grad():
        for key, value in own.items():
            name = published_key(key, network.architecture.backbone)
            if name in given:
                value.copy_(given[name])


def misfits(network: BiRefNet, state_dict: dict[str, torch.Tensor]) -> str:
    """Why `load_published` would refuse `state_dict` (without prefixes) for `network`, in one sentence; or nothing."""
    if is_folded(network):
        return "the network's batch normalisation is folded for inference: load into a fresh one from build_network"
    given = {key: value for key, value in state_dict.items() if not key.endswith("relative_position_index")}
    if wrong := [key for key, value in given.items() if not isinstance(value, torch.Tensor)]:
        return _listing("values that are no tensors", wrong)
    wanted = _wanted(network, given)
    problems = [
        _listing("missing", [k for k in wanted if k not in given and not k.endswith(OPTIONAL)]),
        _listing("unexpected", [k for k in given if k not in wanted]),
        _listing(
            "of another shape",
            [
                f"{k} ({list(v.shape)}, the network has {list(wanted[k].shape)})"
                for k, v in given.items()
                if k in wanted and v.shape != wanted[k].shape
            ],
        ),
        _listing(
            "of integers",
            [
                f"{k} ({v.dtype})"
                for k, v in given.items()
                if k in wanted and wanted[k].is_floating_point() and not v.is_floating_point()
            ],
        ),
    ]
    if not any(problems):
        return ""
    architecture = network.architecture
    what = f"{architecture.backbone} that takes a hint" if architecture.hint else architecture.backbone
    problem = f"weights do not fit a BiRefNet on {what}: " + "; ".join(filter(None, problems))
    return problem if architecture.hint or not _have_a_hint(given, wanted) else f"{problem}; these weights take a hint"


def _wanted(network: BiRefNet, given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What a file for `network` holds, as tensors without values: a hint's weights are a fourth channel of the
    convolutions that see the picture, unless those `given` have three."""
    backbone = network.architecture.backbone
    wanted = {published_key(key, backbone): value.to("meta") for key, value in network.state_dict().items()}
    for key in [key for key in wanted if key.endswith(HINT)]:
        whole, hint = f"{key.removesuffix(HINT)}.weight", wanted.pop(key)
        if whole not in given or given[whole].shape != wanted[whole].shape:
            wanted[whole] = torch.cat((wanted[whole], hint), dim=1)
    return wanted


def _have_a_hint(given: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> bool:
    """Whether weights `given` to a network that takes no hint are of one that does."""
    shapes = [(given[key].shape, wanted[key].shape) for key in wanted.keys() & given.keys()]
    return any(seen[1:2] == (COLOURS,) and own == (seen[0], COLOURS + 1, *seen[2:]) for own, seen in shapes)


def _hints_apart(state_dict: dict[str, torch.Tensor], network: BiRefNet) -> dict[str, torch.Tensor]:
    """`state_dict` with the weights of the hint under names of their own, as `network` has them: the fourth channel of
    the convolutions that see the picture, or zeros where these have three."""
    apart = dict(state_dict)
    for key in network.state_dict():
        if not key.endswith(HINT):
            continue
        name = published_key(key, network.architecture.backbone)
        whole = f"{name.removesuffix(HINT)}.weight"
        weight = apart.get(whole)
        if isinstance(weight, torch.Tensor) and weight.ndim == 4 and weight.shape[1] in (COLOURS, COLOURS + 1):
            hint = weight[:, COLOURS:]
            apart |= {whole: weight[:, :COLOURS], name: hint if hint.numel() else torch.zeros_like(weight[:, :1])}
    return apart


def is_folded(network: BiRefNet) -> bool:
    """Whether `fold_batch_norm_` was called on `network`."""
    return isinstance(network.localization.squeeze.conv_in.norm, torch.nn.Identity)


def export_published(network: BiRefNet, patch_order: str = CANONICAL) -> dict[str, torch.Tensor]:
    """The network's weights in the published layout and `patch_order` ("2024" or "2025"), every key included.

    Raises ValueError for a network whose batch normalisation was folded away: that cannot be undone.
    """
    if is_folded(network):
        raise ValueError(
            "the network's batch normalisation is folded for inference, which cannot be undone: get it by "
            "load_model(..., fold=False) to export it"
        )
    state = {
        published_key(k, network.architecture.backbone): v.detach().clone() for k, v in network.state_dict().items()
    }
    for name, module in network.named_modules():
        if isinstance(module, WindowAttention):
            key = published_key(f"{name}.relative_position_index", network.architecture.backbone)
            state[key] = module.relative_position_index.clone()
    for key in [key for key in state if key.endswith(HINT)]:
        whole = f"{key.removesuffix(HINT)}.weight"
        state[whole] = torch.cat((state[whole], state.pop(key)), dim=1)
    return reorder(state, CANONICAL, patch_order)


def _listing(what: str, keys: list[str]) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return f"{len(keys)} {what}: {', '.join(keys[:3])}{more}"
