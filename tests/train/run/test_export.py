"""`--export onnx`: the result as a graph at the end of a run, and what the model card says of it."""

import importlib.util

import pytest
import torch

import birefnet_core as bc
from train.train import main

ABSENT = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]


def train(pack_folder, tiny, out, *extra):
    what = ["--recipe", "finetune", "--init", "none", "--steps", "1", *tiny]
    return main([*what, "--data", str(pack_folder), "--out", str(out), *extra])


@pytest.mark.skipif(bool(ABSENT), reason=f"not installed here: {', '.join(ABSENT)}")
def test_a_run_ends_with_a_graph_of_its_result(pack_folder, tiny, tmp_path, capsys):
    import onnxruntime

    out = tmp_path / "run"
    assert train(pack_folder, tiny, out, "--export", "onnx") == 0
    runs = onnxruntime.InferenceSession(str(out / "model.onnx"))
    image = torch.randn(1, 3, 64, 64)
    (logits,) = runs.run(None, {"input_image": image.numpy()})
    model = bc.load_model(out / "model.safetensors", device="cpu", dtype="float32")
    torch.testing.assert_close(torch.from_numpy(logits), model.network(image), atol=1e-3, rtol=0)
    written = (out / "model.onnx").stat().st_mtime_ns
    assert train(pack_folder, tiny, out, "--export", "onnx") == 0
    assert (out / "model.onnx").stat().st_mtime_ns == written
    assert f"written: {out / 'model.onnx'}" in capsys.readouterr().out


@pytest.mark.skipif(not {"onnx", "onnxscript"} & set(ABSENT), reason="onnx and onnxscript are installed here")
def test_without_the_packages_no_run_begins(pack_folder, tiny, tmp_path, capsys):
    assert train(pack_folder, tiny, tmp_path / "run", "--export", "onnx") == 2
    assert "pip install" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_card_says_how_to_load_it_elsewhere(pack_folder, tiny, tmp_path):
    assert train(pack_folder, tiny, tmp_path / "run") == 0
    card = (tmp_path / "run" / "README.md").read_text()
    for said in ("models/background_removal", 'InferenceSession("model.onnx")', '{"input_image": pictures}', "rembg"):
        assert said in card
    assert 'new_session("birefnet-general")' in card
