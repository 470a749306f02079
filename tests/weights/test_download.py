import hashlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from birefnet_core.weights.download import DownloadError, download
from tests.weights.hub_server import LocalHub

ROOT = Path(__file__).parents[2]
BODY = random.Random(0).randbytes(3_000_000)
PORTRAIT = ("ZhengPeng7/BiRefNet-portrait", "model.safetensors")
CUT = 15 << 16  # whole pieces of requests, which huggingface_hub before 1.0 uses and which loses broken ones
NAME, FILE = "BiRefNet-portrait", "BiRefNet-portrait.safetensors"
CALL = "import sys; from birefnet_core.weights.download import download; print(download(*sys.argv[1:3], endpoint={}))"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")


@pytest.fixture
def hub():
    with LocalHub({PORTRAIT: BODY}) as hub:
        yield hub


@pytest.fixture
def closed_endpoint():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def start(script, *arguments, **environment):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_first_download(hub, tmp_path):
    folder, environment, progress = tmp_path / "models" / "new", dict(os.environ), []
    path = download(NAME, folder, endpoint=hub.endpoint + "/", on_progress=lambda *seen: progress.append(seen))
    assert path == folder / FILE and path.read_bytes() == BODY
    assert names(folder) == [FILE, FILE + ".json"]
    assert json.loads((folder / (FILE + ".json")).read_text()) == {
        "repository": PORTRAIT[0],
        "filename": PORTRAIT[1],
        "commit": hub.commit,
        "sha256": hashlib.sha256(BODY).hexdigest(),
        "size": len(BODY),
    }
    assert progress[0] == (0, len(BODY)) and progress[-1] == (len(BODY), len(BODY))
    assert progress == sorted(progress) and 10 < len(progress) < 210
    assert [request.host for request in hub.bodies] == ["storage"]
    assert f"/resolve/{hub.commit}/" in hub.bodies[0].path  # main may move on meanwhile
    assert dict(os.environ) == environment


def test_a_file_that_is_there_needs_no_network(hub, tmp_path):
    (tmp_path / FILE).write_bytes(b"as it is")
    assert download("ZhengPeng7/birefnet-PORTRAIT", tmp_path, endpoint=hub.endpoint).read_bytes() == b"as it is"
    assert hub.requests == []


def test_an_unknown_name(hub, tmp_path):
    with pytest.raises(ValueError, match=r"Did you mean BiRefNet-portrait"):
        download("BiRefNet-potrait", tmp_path, endpoint=hub.endpoint)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "name, repository, filename, expected",
    [
        ("ToonOut", "joelseytre/toonout", "birefnet_finetuned_toonout.pth", "ToonOut.pth"),
        (
            "Comfy-Org/BiRefNet",
            "Comfy-Org/BiRefNet",
            "background_removal/birefnet.safetensors",
            "BiRefNet-ComfyOrg.safetensors",
        ),
    ],
)
def test_files_with_names_of_their_own(name, repository, filename, expected, tmp_path):
    with LocalHub({(repository, filename): b"weights", (repository, "other.safetensors"): b"others"}) as hub:
        assert download(name, tmp_path, endpoint=hub.endpoint).read_bytes() == b"weights"
    assert names(tmp_path) == [expected, expected + ".json"]


def test_a_cut_connection_is_taken_up_where_it_broke(hub, tmp_path):
    hub.cut_after = [CUT, 1 << 16]
    assert download(NAME, tmp_path, endpoint=hub.endpoint).read_bytes() == BODY
    assert [request.range for request in hub.bodies] == ["bytes=0-", f"bytes={CUT}-", f"bytes={CUT + (1 << 16)}-"]
    assert sum(request.sent for request in hub.bodies) == len(BODY)


def test_the_next_run_goes_on_where_the_last_one_broke(hub, tmp_path):
    hub.cut_after, hub.body_status = [CUT], [200, 503]
    with pytest.raises(DownloadError, match=r"HTTP 503.*what has arrived so far is kept"):
        download(NAME, tmp_path, endpoint=hub.endpoint)
    (part,) = tmp_path.iterdir()
    assert part.name.endswith(".part") and part.read_bytes() == BODY[:CUT]

    run = start(CALL.format("sys.argv[3]"), NAME, tmp_path, hub.endpoint)
    output, errors = run.communicate(timeout=120)
    assert output.strip() == str(tmp_path / FILE), errors
    assert (tmp_path / FILE).read_bytes() == BODY and names(tmp_path) == [FILE, FILE + ".json"]
    assert hub.bodies[-1].range == f"bytes={CUT}-" and sum(request.sent for request in hub.bodies) == len(BODY)


def test_a_server_that_cannot_resume_sends_everything_again(hub, tmp_path):
    hub.cut_after, hub.ignores_range = [1_000_000], True
    assert download(NAME, tmp_path, endpoint=hub.endpoint).read_bytes() == BODY
    assert [request.sent for request in hub.bodies] == [1_000_000, len(BODY)]


def test_a_server_that_never_sends_anything_is_given_up(hub, tmp_path):
    hub.cut_after = [0] * 100
    with pytest.raises(DownloadError, match=r"Could not download BiRefNet-portrait"):
        download(NAME, tmp_path, endpoint=hub.endpoint)
    assert len(hub.cut_after) == 99


@pytest.mark.parametrize("stop", [KeyError("a host's own"), InterruptedError("an OSError"), KeyboardInterrupt()])
def test_progress_may_stop_the_download(hub, tmp_path, stop):
    def on_progress(done, total):
        if done > 1_000_000:
            raise stop

    with pytest.raises(type(stop)) as caught:
        download(NAME, tmp_path, endpoint=hub.endpoint, on_progress=on_progress)
    assert caught.value is stop
    (part,) = tmp_path.iterdir()
    kept = part.read_bytes()
    assert part.name.endswith(".part") and 1_000_000 < len(kept) < len(BODY) and BODY.startswith(kept)

    assert download(NAME, tmp_path, endpoint=hub.endpoint).read_bytes() == BODY
    assert hub.bodies[-1].range == f"bytes={len(kept)}-"


def test_a_part_of_an_older_commit_is_not_continued(hub, tmp_path):
    (tmp_path / f"{FILE}.0123456789abcdef.part").write_bytes(b"older")
    assert download(NAME, tmp_path, endpoint=hub.endpoint).read_bytes() == BODY
    assert names(tmp_path) == [FILE, FILE + ".json"]


def test_a_wrong_hash_is_refused_and_nothing_left(hub, tmp_path):
    hub.announced_sha256 = "0" * 64
    with pytest.raises(DownloadError, match=f"SHA-256 {hashlib.sha256(BODY).hexdigest()} instead of 0000"):
        download(NAME, tmp_path, endpoint=hub.endpoint)
    assert len(hub.bodies) == 1 and names(tmp_path) == []


def test_a_part_that_is_too_long_is_refused(hub, tmp_path):
    (tmp_path / f"{FILE}.{hashlib.sha256(BODY).hexdigest()[:16]}.part").write_bytes(BODY + b"more")
    with pytest.raises(DownloadError, match=r"SHA-256"):
        download(NAME, tmp_path, endpoint=hub.endpoint)
    assert names(tmp_path) == []


def test_offline_says_which_file_to_put_where(closed_endpoint, tmp_path):
    with pytest.raises(DownloadError) as caught:
        download(NAME, tmp_path, endpoint=closed_endpoint)
    message = str(caught.value)
    assert f"{closed_endpoint}/ZhengPeng7/BiRefNet-portrait/resolve/main/model.safetensors" in message
    assert f"save it as {tmp_path / FILE}" in message
    assert names(tmp_path) == []


def test_the_offline_switch_counts(hub, tmp_path):
    run = start(CALL.format("sys.argv[3]"), NAME, tmp_path, hub.endpoint, HF_HUB_OFFLINE="1")
    _, errors = run.communicate(timeout=120)
    assert "DownloadError: Could not download BiRefNet-portrait" in errors and "offline mode" in errors
    assert hub.requests == []


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_says_to_accept_the_licence_and_give_a_token(hub, tmp_path, status):
    hub.status = status
    with pytest.raises(DownloadError, match=rf"HTTP {status}\).*accept the licence on .*briaai/RMBG-2.0.*HF_TOKEN"):
        download("RMBG-2.0", tmp_path, endpoint=hub.endpoint)
    assert names(tmp_path) == []


@pytest.mark.parametrize("redirects", [True, False])
def test_a_gated_repository_opens_to_its_token(tmp_path, redirects):
    files = {("briaai/RMBG-2.0", "model.safetensors"): BODY}
    with LocalHub(files, token="hf_right", redirects=redirects) as hub:
        with pytest.raises(DownloadError, match=r"HTTP 403\).*accept the licence"):
            download("RMBG-2.0", tmp_path, endpoint=hub.endpoint, token="hf_wrong")
        assert [name for name in names(tmp_path) if not name.endswith(".part")] == []
        assert download("RMBG-2.0", tmp_path, endpoint=hub.endpoint, token="hf_right").read_bytes() == BODY
        # The token is the hub's business: the storage it redirects to must not see it.
        seen = {(request.host, request.authorization) for request in hub.requests}
    assert ("hub", "Bearer hf_right") in seen
    assert {authorization for host, authorization in seen if host == "storage"} == ({None} if redirects else set())


def test_a_repository_or_file_that_is_not_there(hub, tmp_path):
    with pytest.raises(DownloadError, match=r"has no repository egeorcun/lucida, or no file model.safetensors"):
        download("Lucida", tmp_path, endpoint=hub.endpoint)
    hub.files[PORTRAIT[0], "other.safetensors"] = hub.files.pop(PORTRAIT)
    with pytest.raises(DownloadError, match=r"lists no model.safetensors with a SHA-256"):
        download(NAME, tmp_path, endpoint=hub.endpoint)
    assert names(tmp_path) == []


def test_an_address_that_is_no_hub(tmp_path):
    with LocalHub() as hub:
        hub.status = 200  # an empty page for every question
        with pytest.raises(DownloadError, match=r"does not answer as a Hugging Face hub does"):
            download(NAME, tmp_path, endpoint=hub.endpoint)
    with pytest.raises(DownloadError, match=r"Could not download"):
        download(NAME, tmp_path, endpoint="no-address")


def test_a_full_disk_is_known_beforehand(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1))
    with pytest.raises(DownloadError, match=r"Cannot write .*3,000,000 bytes, and 1 are free.*Make room"):
        download(NAME, tmp_path, endpoint=hub.endpoint)
    assert hub.bodies == []


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are Unix's")
def test_a_disk_that_fills_up_keeps_what_it_has(hub, tmp_path):
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)); "
    run = start(limited + CALL.format("sys.argv[3]"), NAME, tmp_path, hub.endpoint)
    _, errors = run.communicate(timeout=120)
    assert f"DownloadError: Cannot write {tmp_path / FILE}" in errors
    (part,) = tmp_path.iterdir()
    kept = part.read_bytes()
    assert kept and BODY.startswith(kept)
    assert download(NAME, tmp_path, endpoint=hub.endpoint).read_bytes() == BODY
    assert hub.bodies[-1].range == f"bytes={len(kept)}-"


def test_a_folder_that_cannot_be_made(hub, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadError, match=r"Cannot write .*BiRefNet-portrait.safetensors.*another folder"):
        download(NAME, tmp_path / "file", endpoint=hub.endpoint)


def test_two_processes_at_once_fetch_it_once(hub, tmp_path):
    def before_body():  # the first body waits until the other process has asked about the file as well
        assert hub.looked_up.acquire(timeout=120) and hub.looked_up.acquire(timeout=120)

    hub.before_body = before_body
    runs = [start(CALL.format("sys.argv[3]"), NAME, tmp_path, hub.endpoint) for _ in range(2)]
    for run in runs:
        output, errors = run.communicate(timeout=120)
        assert output.strip() == str(tmp_path / FILE), errors
    assert (tmp_path / FILE).read_bytes() == BODY and names(tmp_path) == [FILE, FILE + ".json"]
    assert len([request for request in hub.requests if "/api/models/" in request.path]) == 2
    assert [request.sent for request in hub.bodies] == [len(BODY)]


def test_one_that_waits_reports_and_can_be_stopped(hub, tmp_path):
    from filelock import FileLock

    seen = []

    def on_progress(done, total):
        seen.append((done, total))
        raise KeyError("stop")

    with FileLock(tmp_path / (FILE + ".lock")), pytest.raises(KeyError, match=r"stop"):
        download(NAME, tmp_path, endpoint=hub.endpoint, on_progress=on_progress)
    assert seen == [(0, len(BODY))] and hub.bodies == []


def test_hf_endpoint_is_the_default(hub, tmp_path):
    run = start(CALL.format(None), NAME, tmp_path, HF_ENDPOINT=hub.endpoint)
    output, errors = run.communicate(timeout=120)
    assert output.strip() == str(tmp_path / FILE), errors
    assert (tmp_path / FILE).read_bytes() == BODY
