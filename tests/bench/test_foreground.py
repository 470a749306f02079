"""The foreground benchmark on a small pack of its own making."""

import numpy as np
import pytest
from PIL import Image

from birefnet_core.bench.foreground import OURS, PEER, main
from birefnet_core.weights import places
from birefnet_core.weights.download import DownloadError


@pytest.fixture
def pack(tmp_path):
    """One source with a yellow disc on nothing; one source of a hard square, which has no soft pixel as it is."""
    y, x = np.mgrid[:64, :64]
    alpha = np.clip(28 - np.hypot(x - 31.5, y - 31.5), 0, 1)
    square = np.pad(np.ones((40, 40)), 12)
    for source, matte in (("discs", alpha), ("squares", square)):
        folder = tmp_path / "foregrounds" / source
        folder.mkdir(parents=True)
        rgba = np.dstack([np.full((64, 64, 3), (230, 200, 40)), matte * 255]).round().astype(np.uint8)
        Image.fromarray(rgba).save(folder / f"{source}_0.webp", lossless=True, exact=True)
    (tmp_path / "backgrounds" / "sky").mkdir(parents=True)
    Image.effect_noise((96, 80), 60).convert("RGB").save(tmp_path / "backgrounds" / "sky" / "noise.PNG")
    (tmp_path / "foregrounds" / "licence.txt").write_text("in a pack there are other files too")
    return tmp_path


def test_the_table_shows_that_the_error_falls(pack, capsys, one_thread):
    assert main(["--cutouts", str(pack), "--repeats", "1", "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if "|" in line][2:]
    assert {(row[0], row[1]) for row in rows} == {
        (kind, alpha)
        for kind in ("sharp (1)", "enlarged (2)", "out of focus (2)")  # the hard square is left out of the first
        for alpha in ("true", "of bundled")
    }
    ours = {row[0]: float(row[4]) for row in rows if row[1] == "true" and row[2] == OURS}
    assert len(ours) == 3 and all(share < 0.5 for share in ours.values())  # what is asked of it
    assert any(PEER in row for row in rows) or "pymatting is not installed" in printed


@pytest.mark.parametrize("option", ["--pictures", "--threads", "--repeats"])
def test_nothing_cannot_be_measured(tmp_path, capsys, option):
    with pytest.raises(SystemExit):
        main(["--cutouts", str(tmp_path), option, "0"])
    assert "must be at least 1" in capsys.readouterr().err


def test_a_model_that_cannot_be_downloaded_is_one_sentence(tmp_path, capsys, monkeypatch):
    def offline(*_, **__):
        raise DownloadError("Could not download it.")

    monkeypatch.setattr(places, "download", offline)
    assert main(["--cutouts", str(tmp_path), "--model", "BiRefNet-COD"]) == 1
    assert capsys.readouterr().err.endswith("foreground: Could not download it.\n")


def test_a_folder_without_cutouts_is_refused(tmp_path, capsys):
    assert main(["--cutouts", str(tmp_path)]) == 1
    assert "needs cut-outs in foregrounds/<source>/" in capsys.readouterr().err
