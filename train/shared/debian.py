"""Read files out of a Debian package without installing it: an ar archive whose data.tar.* member holds the files."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_HEADER = 60  # bytes: name 16, time 12, owner 6, group 6, mode 8, size 10, magic 2


def find_package(folder: str | Path, name: str) -> Path:
    """The one NAME_*.deb in `folder`. FileNotFoundError says how to get it; ValueError when there are several."""
    found = sorted(Path(folder).glob(f"{name}_*.deb"))
    if not found:
        raise FileNotFoundError(f"{folder} holds no {name}_*.deb: run `apt-get download {name}` there")
    if len(found) > 1:
        raise ValueError(f"{folder} holds several versions of {name} ({', '.join(p.name for p in found)}): keep one")
    return found[0]


def read_files(package: str | Path, wanted: Iterable[str]) -> dict[str, bytes]:
    """The contents of the files `wanted` (paths without a leading slash, usr/share/...) by path.

    Reads data.tar with gzip, bzip2, xz or no compression, and zstd when the `zstandard` module is installed.
    ValueError when the file is no Debian package, is cut short, or lacks a wanted file. Nothing is written to disk.
    """
    package, wanted = Path(package), set(wanted)
    found: dict[str, bytes] = {}
    with _archive(package) as archive:
        for member in archive:
            path = member.name.removeprefix("./")
            if path in wanted and member.isfile():
                found[path] = archive.extractfile(member).read()
                if len(found) == len(wanted):
                    break
    if missing := sorted(wanted - found.keys()):
        raise ValueError(f"{package} lacks {len(missing)} files of this set, such as {missing[0]}: another version?")
    return found


def list_files(package: str | Path) -> list[str]:
    """The paths of all files in a package. ValueError as of `read_files`."""
    with _archive(Path(package)) as archive:
        return [member.name.removeprefix("./") for member in archive if member.isfile()]


@contextmanager
def _archive(package: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(fileobj=_data_member(package), mode="r|*") as archive:
            yield archive
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f"{package} is damaged ({error}): download it again") from None


def _data_member(package: Path) -> io.BytesIO:
    """data.tar.* of an ar archive, still compressed (zstd excepted, which tarfile cannot read)."""
    with package.open("rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise ValueError(f"{package} is not a Debian package (no ar archive)")
        while len(header := file.read(_HEADER)) == _HEADER:
            name, size = header[:16].decode("ascii", "replace").strip().rstrip("/"), header[48:58].strip()
            if not size.isdigit():
                raise ValueError(f"{package} is damaged (a member of {size!r} bytes): download it again")
            size = int(size)
            if not name.startswith("data.tar"):
                file.seek(size + size % 2, io.SEEK_CUR)  # members start at even offsets
                continue
            data = file.read(size)
            if len(data) < size:
                raise ValueError(f"{package} is cut short: download it again")
            return _unzstd(data, package) if name.endswith(".zst") else io.BytesIO(data)
    raise ValueError(f"{package} is not a Debian package, or is cut short: it has no data.tar")


def _unzstd(data: bytes, package: Path) -> io.BytesIO:
    try:
        import zstandard
    except ImportError:
        raise ValueError(f"{package} is compressed with zstd: `pip install zstandard`, then try again") from None
    try:
        return io.BytesIO(zstandard.ZstdDecompressor().stream_reader(data).read())
    except zstandard.ZstdError as error:
        raise ValueError(f"{package} is damaged ({error}): download it again") from None
