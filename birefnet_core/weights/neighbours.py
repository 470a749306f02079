"""Weights of other BiRefNets, told by their keys and put into the published layout.

nobg (PyPI; its models are called FeyNobg) is one on transformers' Swin: query, key and value stand apart there, and the
decoder's stages are counted up. Older versions of transformers call the Swin's parts otherwise; both are read.
"""

from __future__ import annotations

import re

import torch

NOBG = "nobg (FeyNobg), on transformers' Swin"
_OF_NOBG = re.compile(r"^bb\.(?:swin\.)?embeddings\.patch_embeddings\.projection\.weight$")

_BLOCK = r"^bb\.(?:swin\.)?encoder\.layers\.(\d+)\.blocks\.(\d+)\."
_RULES = [  # the first match counts
    (r"^bb\.(?:swin\.)?embeddings\.patch_embeddings\.projection\.", "bb.patch_embed.proj."),
    (r"^bb\.(?:swin\.)?embeddings\.norm\.", "bb.patch_embed.norm."),
    (r"^bb\.hidden_states_norms\.stage(\d)\.", lambda m: f"bb.norm{int(m[1]) - 1}."),
    (_BLOCK + r"attention\.(?:self\.)?(?:q_proj|query)\.", r"bb.layers.\1.blocks.\2.attn.qkv.0."),
    (_BLOCK + r"attention\.(?:self\.)?(?:k_proj|key)\.", r"bb.layers.\1.blocks.\2.attn.qkv.1."),
    (_BLOCK + r"attention\.(?:self\.)?(?:v_proj|value)\.", r"bb.layers.\1.blocks.\2.attn.qkv.2."),
    (_BLOCK + r"attention\.(?:o_proj|output\.dense)\.", r"bb.layers.\1.blocks.\2.attn.proj."),
    (
        _BLOCK + r"attention\.(?:relative_position_bias|self)\.relative_position_(bias_table|index)$",
        r"bb.layers.\1.blocks.\2.attn.relative_position_\3",
    ),
    (_BLOCK + r"layernorm_before\.", r"bb.layers.\1.blocks.\2.norm1."),
    (_BLOCK + r"layernorm_after\.", r"bb.layers.\1.blocks.\2.norm2."),
    (_BLOCK + r"(?:mlp\.fc1|intermediate\.dense)\.", r"bb.layers.\1.blocks.\2.mlp.fc1."),
    (_BLOCK + r"(?:mlp\.fc2|output\.dense)\.", r"bb.layers.\1.blocks.\2.mlp.fc2."),
    (r"^bb\.(?:swin\.)?encoder\.layers\.(\d+)\.downsample\.", r"bb.layers.\1.downsample."),
    (r"^decoder\.(decoder|lateral)_blocks\.(\d)\.", lambda m: f"decoder.{m[1]}_block{4 - int(m[2])}."),
    (r"^decoder\.ipt_blks\.(\d)\.", lambda m: f"decoder.ipt_blk{5 - int(m[1])}."),
    (r"^decoder\.(conv_ms_spvn|gdt_convs(?:_pred|_attn)?)\.(\d)\.", lambda m: f"decoder.{m[1]}_{4 - int(m[2])}."),
]
_UNUSED = re.compile(r"^bb\.(?:swin\.)?layernorm\.(?:weight|bias)$")  # of the classifier; no feature passes through it
_PART = re.compile(r"\.attn\.qkv\.([012])\.(weight|bias)$")


def as_published(weights: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], str]:
    """`weights` under the published names, and whose layout they had; as they are, and "", where it is no neighbour's.

    What no rule knows keeps its name, so that loading refuses it.
    """
    if not any(map(_OF_NOBG.match, weights)):
        return weights, ""
    renamed = {_published_key(key): value for key, value in weights.items() if not _UNUSED.match(key)}
    published = {key: value for key, value in renamed.items() if not _PART.search(key)}
    for key in renamed:
        parts = [renamed.get(_PART.sub(rf".attn.qkv.{i}.\2", key)) for i in range(3)] if _PART.search(key) else [None]
        if all(part is not None for part in parts):
            published[_PART.sub(r".attn.qkv.\2", key)] = torch.cat(parts)
    return published, NOBG


def _published_key(key: str) -> str:
    for pattern, replacement in _RULES:
        renamed, found = re.subn(pattern, replacement, key)
        if found:
            return renamed
    return key
