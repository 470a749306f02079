"""Fetches published weights from a Hugging Face hub: resumable, checked against the hub's SHA-256, safe to run twice.

huggingface_hub says what the file is and lends its HTTP client. The body is streamed here and not by its
``hf_hub_download``, which keeps a cache folder of its own, does not resume with its xet transfer, and shows progress in
a terminal only.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..whole import whole_file
from .catalog import Published, find

_TIMEOUT_SECONDS = 30


class DownloadError(RuntimeError):
    """A download that failed; the message says why and what to do."""


class _Stopped(BaseException):
    """Carries what ``on_progress`` raised past the handling of network errors, whatever its type."""


def download(
    name: str,
    folder: str | os.PathLike[str],
    *,
    endpoint: str | None = None,
    token: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Fetches a published model into ``folder`` unless it is there, and returns the path of its file.

    The file is ``<published name>.safetensors`` (``.pth`` where the hub has only that); ``<file>.json`` beside it
    records repository, commit, SHA-256 and size. A file that is there is returned as it is, without any network. What a
    broken or stopped download has fetched stays as ``<file>.<hash>.part``, and the next call goes on from there. While
    another process downloads the same file, this one waits for it.

    Args:
        name: as ``catalog.find`` takes it.
        endpoint: address of the hub or of a mirror; by default huggingface_hub's, that is, HF_ENDPOINT where it is set.
        token: for gated repositories; by default the one huggingface_hub finds (HF_TOKEN or a login).
        on_progress: called with (bytes so far, bytes in all); may raise to stop.

    Raises:
        ValueError: no published model has that name.
        DownloadError: no network, no access, no such file, a wrong hash, or a folder that cannot be written.
    """
    published = find(name)
    target = Path(folder) / published.file_name
    if target.is_file():
        return target
    from huggingface_hub import constants

    endpoint = (endpoint or constants.ENDPOINT).rstrip("/")

    def report(done: int, total: int) -> None:
        try:
            if on_progress:
                on_progress(done, total)
        except Exception as error:
            raise _Stopped from error

    try:
        record = _look_up(published, endpoint, token)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.{record['sha256'][:16]}.part")
        with _alone(target, waiting=lambda: report(_size(part), record["size"])):
            if not target.is_file():
                _fetch(record, part, endpoint, token, report)
                _finish(record, part, target, endpoint)
    except _Stopped as stopped:
        raise stopped.__cause__ from None
    except _network_errors() as error:
        raise DownloadError(_sentence(error, published, endpoint, target)) from error
    return target


def _look_up(published: Published, endpoint: str, token: str | None) -> dict[str, Any]:
    """Resolves ``main`` to a commit, and asks for the file's hash and size in that commit."""
    from huggingface_hub import HfApi

    repository, filename = published.repository, published.filename
    try:
        info = HfApi(endpoint=endpoint, token=token).model_info(
            repository, revision="main", files_metadata=True, timeout=_TIMEOUT_SECONDS
        )
    except (KeyError, TypeError, json.JSONDecodeError) as error:  # for example the login page of a guest network
        raise DownloadError(f"{endpoint} does not answer as a Hugging Face hub does. Check the address.") from error
    lfs = next((file.lfs for file in info.siblings or () if file.rfilename == filename), None)
    if lfs is None:
        raise DownloadError(f"{endpoint}/{repository} lists no {filename} with a SHA-256 in its commit {info.sha}.")
    return {
        "repository": repository,
        "filename": filename,
        "commit": info.sha,
        "sha256": lfs["sha256"],
        "size": lfs["size"],
    }


def _fetch(record: dict[str, Any], part: Path, endpoint: str, token: str | None, report: Callable) -> None:
    """Appends to ``part`` what it lacks; connects again as long as each connection brings some of it."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    url = hf_hub_url(record["repository"], record["filename"], revision=record["commit"], endpoint=endpoint)
    headers = {**build_hf_headers(token=token), "Accept-Encoding": "identity"}
    size = record["size"]
    room = shutil.disk_usage(part.parent).free
    if room < size - _size(part):
        raise OSError(errno.ENOSPC, f"the whole file takes {size:,} bytes, and {room:,} are free")
    with open(part, "ab") as file:
        reported = file.tell()
        report(reported, size)
        while (start := file.tell()) < size:
            cut = ConnectionError("the connection was closed early")
            try:
                with _get(url, {**headers, "Range": f"bytes={start}-"}) as (response, pieces):
                    hf_raise_for_status(response)
                    if response.status_code != 206:  # a server that sends the whole file again
                        file.seek(0)
                        file.truncate()
                    for piece in pieces:
                        file.write(piece)
                        if file.tell() - reported >= size // 200:
                            reported = file.tell()
                            report(reported, size)
            except _network_errors() as error:
                cut = error
            if file.tell() <= start:
                raise cut
    report(size, size)


@contextmanager
def _get(url: str, headers: dict[str, str]) -> Iterator[tuple[Any, Iterator[bytes]]]:
    """The response to a GET and the pieces of its body as they arrive.

    By huggingface_hub's own client, for its proxies, certificates and offline switch: of requests before version 1.0,
    which transformers 4 still asks for, and of httpx since. Both follow redirects, and show other hosts no token.
    """
    from huggingface_hub.utils import get_session

    session = get_session()
    if hasattr(session, "build_request"):
        with session.stream("GET", url, headers=headers, timeout=_TIMEOUT_SECONDS, follow_redirects=True) as response:
            yield response, response.iter_bytes()
    else:
        with session.get(url, headers=headers, timeout=_TIMEOUT_SECONDS, stream=True) as response:
            yield response, response.iter_content(1 << 16)


def _finish(record: dict[str, Any], part: Path, target: Path, endpoint: str) -> None:
    """Checks what was fetched, and puts it and its record in place."""
    found = sha256_of(part)
    if found != record["sha256"]:
        part.unlink()
        raise DownloadError(
            f"What {endpoint} sent as {record['repository']}/{record['filename']} is not the file that it announces:"
            f" SHA-256 {found} instead of {record['sha256']}. Nothing was kept. Try again; if it happens again, a"
            " mirror or a proxy on the way changes the file."
        )
    with whole_file(target.with_name(target.name + ".json")) as note:
        note.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    os.replace(part, target)
    for stale in target.parent.glob(f"{target.name}.*.part"):  # begun when main was another commit
        stale.unlink()


@contextmanager
def _alone(target: Path, *, waiting: Callable[[], None]) -> Iterator[None]:
    """Holds a lock file beside ``target``; calls ``waiting`` twice a second while another process holds it."""
    from filelock import FileLock, Timeout

    path = target.with_name(target.name + ".lock")
    lock = FileLock(path)
    while not lock.is_locked:
        try:
            lock.acquire(timeout=0.5)
        except Timeout:
            waiting()
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file, but filelock does it there
            path.unlink()
        lock.release()


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _network_errors() -> tuple[type[Exception], ...]:
    """OSError and the base error of the HTTP client (requests or httpx, by version), which the hub's errors extend."""
    from huggingface_hub.utils import HfHubHTTPError

    return (OSError, *HfHubHTTPError.__bases__)


def _sentence(error: Exception, published: Published, endpoint: str, target: Path) -> str:
    """Why the download failed and what to do about it."""
    name, page = published.spec.name, f"{endpoint}/{published.repository}"
    url = f"{page}/resolve/main/{published.filename}"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return (
            f"{endpoint} refuses {name} without the right access (HTTP {status}). Log in and accept the licence on"
            f" {page}, then give a token of that account: set HF_TOKEN, run `hf auth login` (before huggingface_hub 1.0"
            " `huggingface-cli login`), or pass token=. A hub also answers so for a repository that does not exist."
        )
    if status == 404:
        return f"{endpoint} has no repository {published.repository}, or no file {published.filename} in it: {url}"
    if isinstance(error, OSError) and error.errno and not isinstance(error, ConnectionError):
        return f"Cannot write {target}: {error.strerror}. Make room or choose another folder, then try again."
    why = f"it answered HTTP {status}" if status else str(error) or type(error).__name__
    return (
        f"Could not download {name} from {endpoint}: {why}. Try again: what has arrived so far is kept. Or fetch {url}"
        f" on a machine that can reach it and save it as {target}"
    )
