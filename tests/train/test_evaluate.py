import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from PIL import Image

from birefnet_core import picture_files
from birefnet_core.matting.model import MattingModel
from birefnet_core.weights import places
from birefnet_core.weights.catalog import ModelSpec
from train import evaluate
from train.evaluation import scoring
from train.evaluation.metrics import LOWER_IS_BETTER, METRICS, measure, summarise
from train.shared.pictures import read_matte, save_picture, to_grey

REPOSITORY = Path(__file__).resolve().parents[2]


def mattes(shift):
    """A square in 32 x 24 as truth, and as 8-bit prediction the square `shift` pixels to the right with a soft
    side."""
    columns = np.arange(32)
    truth, alpha = np.zeros((24, 32)), np.zeros((24, 32))
    truth[6:18, 8:20] = 1
    alpha[6:18] = np.rint(np.clip((20 + shift - columns) / 4, 0, 1) * (columns >= 8 + shift) * 255) / 255
    return alpha, truth


@pytest.fixture
def data_set(tmp_path):
    """A folder set/ with im/ and gt/, and pred/, of three pictures of one size; predictions get worse in name
    order."""
    for index, stem in enumerate(["a", "b", "c"]):
        alpha, truth = mattes(3 * index)
        save_picture(Image.new("RGB", (32, 24), (40 * index, 90, 120)), tmp_path / "set" / "im" / f"{stem}.jpg")
        save_picture(to_grey(truth), tmp_path / "set" / "gt" / f"{stem}.png")
        save_picture(to_grey(alpha), tmp_path / "pred" / f"{stem}.png")
    return tmp_path


def test_evaluate_scores_a_folder_of_predictions(data_set, capsys):
    out = data_set / "out"
    folders = ["--pred", f"{data_set}/pred", "--data", f"{data_set}/set", "--out", str(out)]
    results = evaluate.main([*folders, "--worst", "2"])
    expected = {stem: measure(*mattes(3 * index)) for index, stem in enumerate("abc")}
    assert figures_of(results[0]) == {stem: scores.figures for stem, scores in expected.items()}  # through 8-bit files
    assert results[0].worst(2) == ["c", "b"]
    summary = summarise(expected.values())
    saved = json.loads((out / "summary.json").read_text())
    assert saved["set"].pop("images") == 3
    assert saved == {"set": summary}
    row = next(csv.DictReader((out / "summary.csv").open()))
    assert {name: float(row[name]) for name in METRICS} == summary
    rows = {row["image"]: row for row in csv.DictReader((out / "images.csv").open())}
    assert {stem: float(row["HCE"]) for stem, row in rows.items()} == {s: e.figures["HCE"] for s, e in expected.items()}
    printed = capsys.readouterr().out
    for name in METRICS:
        assert f"{name} {'↓' if name in LOWER_IS_BETTER else '↑'}" in printed
    assert f"{summary['MAE']:.4f}" in printed and f"{summary['Grad']:.4f}" in printed
    assert Image.open(out / "worst-set.jpg").width == 2 * (3 * 192 + 12)  # two strips of photograph, truth, matte
    assert sorted(os.listdir(out)) == ["images.csv", "summary.csv", "summary.json", "worst-set.jpg"]


def figures_of(result):
    return {stem: scores.figures for stem, scores in result.images.items()}


def test_what_is_not_defined_is_left_blank(data_set, capsys):
    for path in (data_set / "set" / "gt").iterdir():
        save_picture(Image.new("L", (32, 24)), path)
    out = data_set / "out"
    evaluate.main(["--pred", f"{data_set}/pred", "--gt", f"{data_set}/set/gt", "--out", str(out)])
    assert json.loads((out / "summary.json").read_text())["set"]["mBA"] is None
    assert next(csv.DictReader((out / "summary.csv").open()))["mBA"] == ""
    assert capsys.readouterr().out.splitlines()[4].split()[-1] == "-"


def test_several_processes_score_as_one_does(data_set):
    folders = ["--pred", f"{data_set}/pred", "--gt", f"{data_set}/set/gt"]
    one, two = (evaluate.main([*folders, "--processes", count])[0] for count in "12")
    assert list(one.images) == list(two.images)
    assert figures_of(one) == figures_of(two) and one.summary == two.summary


@pytest.fixture
def at_work(data_set):
    """An evaluation of many images by two processes, in a session of its own, which has scored some of them."""
    script = [sys.executable, str(Path(evaluate.__file__)), "--processes", "2", "--out", str(data_set / "out")]
    script += ["--pred", str(data_set / "pred"), "--gt", str(data_set / "set" / "gt")]
    for number in range(400):  # enough to be at work when the signal comes
        for folder in (data_set / "pred", data_set / "set" / "gt"):
            shutil.copy(folder / "a.png", folder / f"more{number}.png")
    pipe = subprocess.PIPE
    with subprocess.Popen(script, start_new_session=True, stdout=pipe, stderr=pipe, text=True) as running:
        while not any(path.stat().st_size > 1000 for path in (data_set / "out").glob("unfinished*")):
            assert running.poll() is None
            time.sleep(0.05)
        yield running


needs_proc = pytest.mark.skipif(not Path("/proc").is_dir(), reason="lists processes by /proc")


@needs_proc
@pytest.mark.parametrize("name, status", [("SIGTERM", 1), ("SIGKILL", -9)])
def test_an_evaluation_that_is_ended_takes_its_processes_along(at_work, name, status):
    at_work.send_signal(getattr(signal, name))
    assert at_work.wait(60) == status
    for _ in range(100):
        left = _processes_of(at_work)
        if not left:
            break
        time.sleep(0.1)
    assert not left


@needs_proc
def test_a_killed_process_is_told_in_one_sentence(at_work):
    workers = [pid for pid in _processes_of(at_work) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(workers[0], signal.SIGKILL)
    error = at_work.communicate(timeout=60)[1]
    assert at_work.returncode == 1
    assert "not evaluated: one of the processes was killed" in error and "goes on from here" in error
    assert "Traceback" not in error


def _processes_of(running) -> list[int]:
    return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/stat") if _session(path) == running.pid]


def _session(stat: Path) -> int:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[3])
    except OSError:  # it has ended meanwhile
        return 0


def test_a_wrong_file_is_named_by_several_processes_too(data_set):
    (data_set / "pred" / "b.png").write_bytes(b"no picture")
    with pytest.raises(SystemExit, match=r"b\.png is not a picture"):
        evaluate.main(["--pred", f"{data_set}/pred", "--gt", f"{data_set}/set/gt", "--processes", "2"])


def test_a_model_that_cannot_be_fetched_is_told_in_one_sentence(data_set, monkeypatch):
    monkeypatch.setattr(places, "MODELS_DIR", data_set / "models")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(SystemExit, match="not evaluated: Could not download BiRefNet"):
        evaluate.main(["--model", "BiRefNet", "--data", f"{data_set}/set"])


class Stopped(Exception):
    pass


def scored(monkeypatch, stop_before=None):
    """The stems that are really measured from now on, in order."""
    stems = []

    def score_sample(sample):
        if sample.stem == stop_before:
            raise Stopped
        stems.append(sample.stem)
        return scoring_of_the_suite(sample)

    scoring_of_the_suite = scoring.score_sample
    monkeypatch.setattr(scoring, "score_sample", score_sample)
    return stems


@pytest.mark.parametrize("cut", [0, 40])
def test_a_stopped_run_goes_on_where_it_was(data_set, monkeypatch, cut):
    out = data_set / "out"
    arguments = ["--pred", f"{data_set}/pred", "--data", f"{data_set}/set", "--processes", "1"]
    whole = evaluate.main(arguments)[0]
    with monkeypatch.context() as patch:
        first = scored(patch, stop_before="c")
        with pytest.raises(Stopped):
            evaluate.main([*arguments, "--out", str(out)])
    assert first == ["a", "b"]
    journal = out / "unfinished-set.jsonl"
    assert os.listdir(out) == [journal.name]
    journal.write_bytes(journal.read_bytes()[: -cut or None])  # killed while it wrote
    with monkeypatch.context() as patch:
        then = scored(patch)
        result = evaluate.main([*arguments, "--out", str(out)])[0]
    assert then == (["b", "c"] if cut else ["c"])
    assert list(result.images) == ["a", "b", "c"]
    assert figures_of(result) == figures_of(whole) and result.summary == whole.summary
    assert not journal.exists()
    with monkeypatch.context() as patch:
        again = scored(patch)
        evaluate.main([*arguments, "--out", str(out)])
    assert again == ["a", "b", "c"]  # a finished run is no reason to believe old figures


@pytest.fixture
def journal_of_two(data_set):
    """The samples a and b, their scores, and a journal that knows them."""
    samples = evaluate.samples_of(gt=data_set / "set" / "gt", images=None, pred=data_set / "pred")[:2]
    scores = [scoring.score_sample(sample) for sample in samples]
    journal = scoring.Journal(data_set / "out" / "journal.jsonl", {"pred": 1})
    for sample, found in zip(samples, scores):
        journal.add(sample, found)
    return samples, scores, journal


def test_lines_of_a_journal_that_are_none_are_left_out(journal_of_two):
    samples, scores, journal = journal_of_two
    header, first, second = journal.path.read_bytes().splitlines(keepends=True)
    for bad in (bytes(50) + b"\n", b"3\n", b"{}\n", first[:90] + b"\n", b"\xff\n"):
        journal.path.write_bytes(header + bad + second)
        again = scoring.Journal(journal.path, {"pred": 1})
        assert again.known(samples[0]) is None and again.known(samples[1]).figures == scores[1].figures
    again.add(samples[0], scores[0])
    assert journal.path.read_bytes() == header + second + first


def test_a_disk_that_is_full_when_a_run_goes_on_loses_nothing(journal_of_two):
    resource = pytest.importorskip("resource")
    samples, scores, journal = journal_of_two
    before = journal.path.read_bytes()
    again = scoring.Journal(journal.path, {"pred": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match=r"journal\.jsonl could not be written .* free some disk space"):
            again.add(samples[0], scores[0])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert journal.path.read_bytes() == before


@pytest.mark.parametrize("change", ["prediction", "folder"])
def test_a_stopped_run_does_not_go_on_with_other_mattes(data_set, monkeypatch, change):
    arguments = ["--data", f"{data_set}/set", "--processes", "1", "--out", f"{data_set}/out"]
    with monkeypatch.context() as patch:
        scored(patch, stop_before="c")
        with pytest.raises(Stopped):
            evaluate.main(["--pred", f"{data_set}/pred", *arguments])
    if change == "prediction":
        save_picture(Image.new("L", (32, 24), 255), data_set / "pred" / "a.png")
    else:
        (data_set / "pred").rename(data_set / "other")
    folder = "pred" if change == "prediction" else "other"
    stems = scored(monkeypatch)
    evaluate.main(["--pred", f"{data_set}/{folder}", *arguments])
    assert stems == (["a", "c"] if change == "prediction" else ["a", "b", "c"])


def test_evaluate_runs_as_a_script_from_anywhere(data_set):
    command = [sys.executable, str(REPOSITORY / "train" / "evaluate.py"), "--pred", "pred", "--gt", "set/gt"]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    run = subprocess.run(command, cwd=data_set, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[1].split()[:2] == ["set", "3"]


def test_output_without_arrows_loses_no_result(data_set):
    command = [sys.executable, str(REPOSITORY / "train" / "evaluate.py"), "--pred", "pred", "--gt", "set/gt"]
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}  # what Windows gives a redirected output
    run = subprocess.run(command, cwd=data_set, capture_output=True, env=environment)
    assert run.returncode == 0, run.stderr
    assert rb"MAD \u2193" in run.stdout


def test_a_sheet_that_cannot_be_made_withholds_no_figures(data_set, capsys):
    (data_set / "set" / "im" / "b.jpg").write_bytes(b"no picture")
    out = data_set / "out"
    out.mkdir()
    (out / "worst-set.jpg").write_bytes(b"an older sheet")
    evaluate.main(["--pred", f"{data_set}/pred", "--data", f"{data_set}/set", "--out", str(out)])
    assert sorted(os.listdir(out)) == ["images.csv", "summary.csv", "summary.json"]
    assert "worst-set.jpg was not made: " in capsys.readouterr().err
    with pytest.raises(SystemExit):
        evaluate.main(["--pred", f"{data_set}/pred", "--data", f"{data_set}/set", "--worst", "501"])
    assert "--worst takes 1 to 500" in capsys.readouterr().err


def test_evaluate_names_missing_mates(data_set, capsys):
    (data_set / "pred" / "b.png").rename(data_set / "pred" / "other.png")
    arguments = ["--pred", f"{data_set}/pred", "--gt", f"{data_set}/set/gt"]
    with pytest.raises(SystemExit, match=r"1 \(b\) .*no prediction"):
        evaluate.main(arguments)
    assert "1 (other)" in capsys.readouterr().err
    assert list(evaluate.main([*arguments, "--partial"])[0].images) == ["a", "c"]


@pytest.mark.parametrize(
    "spoil, complaint",
    [
        (
            lambda pred: save_picture(Image.new("L", (5, 6)), pred / "b.png"),
            r"pred/b\.png is 5x6, its truth .* is 32x24",
        ),
        (lambda pred: (pred / "b.png").write_bytes(b"no picture"), r"b\.png is not a picture"),
        (lambda pred: (pred / "a.jpg").write_bytes((pred / "a.png").read_bytes()), r"both a\.jpg and a\.png"),
        (lambda pred: [path.unlink() for path in pred.iterdir()], "has no pictures"),
    ],
)
def test_evaluate_says_which_prediction_is_wrong(data_set, spoil, complaint):
    spoil(data_set / "pred")
    with pytest.raises(SystemExit, match=complaint):
        evaluate.main(["--pred", f"{data_set}/pred", "--gt", f"{data_set}/set/gt", "--out", f"{data_set}/out"])
    assert not list(data_set.glob("out/*.csv"))


@pytest.fixture
def model(monkeypatch):
    """What --model gives: a network of one layer, from picture to logits. Counts its pictures."""
    network = torch.nn.Conv2d(3, 1, kernel_size=1).eval()
    with torch.no_grad():
        network.weight.fill_(0.7)
    model = MattingModel(network, ModelSpec(name="grey", backbone="none", size=(64, 32)))
    model.pictures = 0

    def count(*_):
        model.pictures += 1

    network.register_forward_hook(count)
    monkeypatch.setattr(evaluate, "_load", lambda options: model)
    return model


def test_a_model_scores_as_its_saved_mattes_do(data_set, model):
    out = data_set / "out"
    by_model = evaluate.main(["--model", "grey", "--data", f"{data_set}/set", "--out", str(out)])[0]
    again = evaluate.main(["--pred", f"{out}/pred/set", "--gt", f"{data_set}/set/gt"])[0]
    assert figures_of(by_model) == figures_of(again)
    assert len({scores.figures["MAD"] for scores in by_model.images.values()}) == 3
    unsaved = evaluate.main(["--model", "grey", "--data", f"{data_set}/set"])[0]
    assert figures_of(unsaved) == figures_of(by_model)


def test_a_stopped_model_goes_on_only_with_the_same_weights(data_set, model, monkeypatch):
    arguments = ["--model", "grey", "--data", f"{data_set}/set", "--processes", "1", "--out", f"{data_set}/out"]

    def stop():
        with monkeypatch.context() as patch:
            scored(patch, stop_before="c")
            with pytest.raises(Stopped):
                evaluate.main(arguments)

    stop()
    model.pictures = 0
    evaluate.main(arguments)
    assert model.pictures == 1
    stop()
    with torch.no_grad():
        model.network.weight.fill_(0.6)
    model.pictures = 0
    evaluate.main(arguments)
    assert model.pictures == 3
    for change in ({"size": (32, 32)}, {"edge_radius": 3}):
        stop()
        model.spec = replace(model.spec, **change)
        model.pictures = 0
        evaluate.main(arguments)
        assert model.pictures == 3


def test_mattes_are_read_from_16_bits_and_from_cut_outs(tmp_path):
    deep = np.array([[0, 257 * 128, 65535]], dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(np.array([[[9, 9, 9, 0], [9, 9, 9, 51]]], dtype=np.uint8)).save(tmp_path / "cutout.png")
    Image.fromarray(np.array([[[51, 51, 51, 255]]], dtype=np.uint8)).save(tmp_path / "opaque.png")
    np.testing.assert_allclose(read_matte(tmp_path / "deep.png"), [[0, 128 / 255, 1]], rtol=1e-12)
    assert read_matte(tmp_path / "cutout.png").tolist() == [[0, 0.2]]
    assert read_matte(tmp_path / "opaque.png").tolist() == [[0.2]]


@pytest.mark.parametrize("cutouts", [True, False])
def test_an_opaque_cut_out_is_all_subject_only_among_cut_outs(data_set, cutouts):
    """Painting programs write grey mattes as opaque RGBA, models write cut-outs of which one may show nothing else."""
    for name, alpha in (("a", 0 if cutouts else 255), ("b", 255), ("c", 255)):
        picture = Image.new("RGBA", (32, 24), (51, 51, 51, 255))
        picture.putpixel((0, 0), (51, 51, 51, alpha))
        picture.save(data_set / "pred" / f"{name}.png")
    samples = evaluate.samples_of(gt=data_set / "set" / "gt", images=None, pred=data_set / "pred")
    levels = [read_matte(sample.prediction, cutout=sample.cutout)[1, 1] for sample in samples]
    assert levels == ([1, 1, 1] if cutouts else [0.2, 0.2, 0.2])
    save_picture(Image.new("L", (32, 24), 255), data_set / "set" / "gt" / "b.png")
    result = evaluate.main(["--pred", f"{data_set}/pred", "--gt", f"{data_set}/set/gt"])[0]
    assert result.images["b"].figures["MAD"] == pytest.approx(0 if cutouts else 0.8)


def test_mattes_of_floats_are_read_and_others_than_0_to_1_refused(tmp_path):
    values = np.array([[0, 0.25, 0.95, 1]], dtype=np.float32)
    Image.fromarray(values).save(tmp_path / "floats.tif")
    np.testing.assert_allclose(read_matte(tmp_path / "floats.tif"), values, atol=1e-5)
    Image.fromarray(values * 255).save(tmp_path / "large.tif")
    with pytest.raises(ValueError, match=r"large\.tif cannot be read: its values go from 0 to 255 where"):
        read_matte(tmp_path / "large.tif")


def test_a_matte_too_large_to_be_true_is_named(tmp_path, monkeypatch):
    Image.new("L", (64, 64)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    monkeypatch.setattr(picture_files, "free_memory", lambda: 0)
    with pytest.raises(ValueError, match=r"bomb\.png cannot be read: 64 x 64 pixels take .* GiB are free"):
        read_matte(tmp_path / "bomb.png")
