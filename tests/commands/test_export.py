"""`export` from outside: what it writes, and what it says."""

import importlib.util

import pytest

from birefnet_core.commands.main import main

ABSENT = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]


@pytest.mark.skipif(bool(ABSENT), reason=f"not installed here: {', '.join(ABSENT)}")
def test_the_bundled_model_is_written_once(tmp_path, capsys):
    out = tmp_path / "model.onnx"
    assert main(["export", "bundled", "-o", str(out), "--size", "128x64"]) == 0
    assert str(out) in capsys.readouterr().out
    assert (tmp_path / "model.json").is_file()
    before = out.read_bytes()
    assert main(["export", "bundled", "-o", str(out), "--size", "64"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bundled", "-o", "{folder}/model.pt"], "ends in .onnx"),
        (["bundled", "-o", "{folder}/none/model.onnx"], "there is no such folder"),
        *([(["bundled", "-o", "{folder}/m.onnx"], "pip install")] if ABSENT else []),
        *([] if ABSENT else [(["none.safetensors", "-o", "{folder}/m.onnx"], "there is no such file")]),
    ],
)
def test_errors_are_one_sentence(arguments, said, tmp_path, capsys):
    assert main(["export", *(each.format(folder=tmp_path) for each in arguments)]) == 1
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["m.onnx", "m.json", "m.onnx.data"])
def test_no_file_that_may_be_written_is_replaced_unasked(name, tmp_path, capsys):
    (tmp_path / name).write_text("kept")
    assert main(["export", "bundled", "-o", str(tmp_path / "m.onnx")]) == 1
    assert f"{name} exists" in capsys.readouterr().err
