"""Weights of other BiRefNets: read as ours, refused when they do not fit, and named."""

import importlib.util
import re
import warnings

import pytest
import torch
from safetensors.torch import save_file

import birefnet_core as bc
from birefnet_core.weights.catalog import find
from birefnet_core.weights.files import WeightsError, read_weights
from birefnet_core.weights.load import load_network

# The parts of a Swin block in transformers 5 and in transformers 4.
PARTS = {
    "5": {
        "q k v": ("attention.q_proj", "attention.k_proj", "attention.v_proj"),
        "attn.proj": "attention.o_proj",
        "attn.relative_position_bias_table": "attention.relative_position_bias.relative_position_bias_table",
        "mlp.fc1": "mlp.fc1",
        "mlp.fc2": "mlp.fc2",
    },
    "4": {
        "q k v": ("attention.self.query", "attention.self.key", "attention.self.value"),
        "attn.proj": "attention.output.dense",
        "attn.relative_position_bias_table": "attention.self.relative_position_bias_table",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    },
}


def as_neighbour(weights, version):
    """A published state dict of a Swin under the neighbour's names."""
    theirs, parts = {}, PARTS[version]
    for key, value in weights.items():
        if key.endswith("relative_position_index"):
            continue
        key = re.sub(r"^bb\.patch_embed\.proj", "bb.swin.embeddings.patch_embeddings.projection", key)
        key = re.sub(r"^bb\.patch_embed\.norm", "bb.swin.embeddings.norm", key)
        key = re.sub(r"^bb\.norm(\d)", lambda m: f"bb.hidden_states_norms.stage{int(m[1]) + 1}", key)
        key = key.replace("bb.layers.", "bb.swin.encoder.layers.")
        key = key.replace(".norm1.", ".layernorm_before.").replace(".norm2.", ".layernorm_after.")
        key = re.sub(r"(decoder|lateral)_block(\d)", lambda m: f"{m[1]}_blocks.{4 - int(m[2])}", key)
        key = re.sub(r"ipt_blk(\d)", lambda m: f"ipt_blks.{5 - int(m[1])}", key)
        key = re.sub(r"(conv_ms_spvn|gdt_convs\w*?)_(\d)", lambda m: f"{m[1]}.{4 - int(m[2])}", key)
        if ".attn.qkv." in key:
            for name, part in zip(parts["q k v"], value.chunk(3), strict=True):
                theirs[key.replace("attn.qkv", name)] = part.contiguous()
            continue
        for ours, name in parts.items():
            if ours != "q k v":
                key = key.replace(ours, name)
        theirs[key] = value
    return theirs


@pytest.mark.parametrize("version", PARTS)
@torch.no_grad()
def test_a_neighbours_file_is_told_by_its_keys_and_gives_the_same_logits(version, reference, tmp_path):
    reference = reference("swin_v1_t")
    theirs = as_neighbour(reference.weights(), version)
    assert any(".layernorm_before." in key for key in theirs)
    assert not any(".qkv." in key for key in theirs)
    save_file(theirs, tmp_path / "model.safetensors")
    found = bc.inspect(tmp_path / "model.safetensors")
    assert not found.problem
    assert found.backbone == "swin_v1_t"
    assert "nobg" in found.layout and "layout       nobg" in str(found)
    assert found.patch_order == "2025"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the neighbour's patch order is known
        network, _ = load_network(tmp_path / "model.safetensors")
    torch.testing.assert_close(network(reference.image(0)), reference["eval0"], atol=1e-4, rtol=0)


def test_a_neighbours_file_is_loaded_strictly(reference, tmp_path):
    theirs = as_neighbour(reference("swin_v1_t").weights(), "5")
    key = next(key for key in theirs if "k_proj.bias" in key)
    extra = "bb.swin.encoder.layers.0.blocks.0.attention.rope"
    for damaged, said in (
        ({k: v for k, v in theirs.items() if k != key}, "missing: bb.layers.*attn.qkv.bias"),
        (theirs | {extra: torch.zeros(1)}, f"unexpected: {extra}"),
    ):
        save_file(damaged, tmp_path / "damaged.safetensors")
        assert re.search(said, bc.inspect(tmp_path / "damaged.safetensors").problem)
        with pytest.raises(WeightsError, match="do not fit"):
            load_network(tmp_path / "damaged.safetensors")


def test_published_files_have_no_neighbours_layout(reference, tmp_path):
    save_file(reference("swin_v1_t").weights(), tmp_path / "published.safetensors")
    assert bc.inspect(tmp_path / "published.safetensors").layout == ""


@pytest.mark.skipif(importlib.util.find_spec("nobg") is None, reason="nobg is not installed here")
@torch.no_grad()
def test_nobg_gives_our_logits_for_the_same_weights(reference, tmp_path):
    from nobg.birefnet.modeling_birefnet import BiRefNet, BiRefNetConfig, _remap_legacy_state_dict

    weights = reference("swin_v1_t").weights()
    sizes = {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], "window_size": 7}
    theirs = BiRefNet(BiRefNetConfig(**sizes, drop_path_rate=0.0)).eval()
    left = theirs.load_state_dict(_remap_legacy_state_dict(weights), strict=False)
    assert left.missing_keys == ["bb.swin.layernorm.weight", "bb.swin.layernorm.bias"]  # which its features do not use
    assert not left.unexpected_keys
    save_file({key: value.contiguous() for key, value in theirs.state_dict().items()}, tmp_path / "model.safetensors")
    assert "nobg" in bc.inspect(tmp_path / "model.safetensors").layout
    ours, _ = load_network(tmp_path / "model.safetensors")
    for case in (0, 1):
        image = reference("swin_v1_t").image(case)
        torch.testing.assert_close(ours(image), theirs(image)["logits"], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("onnx-community/BiRefNet_lite-ONNX", "use BiRefNet_lite, the weights"),
        ("onnx-community/birefnet-portrait-onnx", "use BiRefNet-portrait, the weights"),
        ("onnx-community/Another-ONNX", "use the weights it was made from"),
    ],
)
def test_names_of_onnx_community_are_said_to_be_graphs(name, instead):
    with pytest.raises(ValueError, match=f"{name} holds ONNX graphs .*{instead}"):
        find(name)


def test_an_onnx_file_is_said_to_be_a_graph(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"\x08\x0a\x12\x07pytorch")
    with pytest.raises(WeightsError, match=r"model\.onnx: an ONNX graph"):
        read_weights(tmp_path / "model.onnx")
    assert "ONNX graph" in bc.inspect(tmp_path / "model.onnx").problem
