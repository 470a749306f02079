"""Panoramas to light renders with, out of the npm package @pmndrs/assets (CC0)."""

from __future__ import annotations

import base64
import binascii
import re
import tarfile
import zlib
from pathlib import Path

PACKAGE = "pmndrs-assets-1.7.0.tgz"


def unpack_lights(packages: Path, folder: Path) -> list[Path]:
    """Write the package's panoramas as folder/*.exr. FileNotFoundError says how to get it, ValueError that it has
    none."""
    package = Path(packages, PACKAGE)
    if not package.is_file():
        raise FileNotFoundError(f"{packages} holds no {PACKAGE}: run `npm pack @pmndrs/assets@1.7.0` there")
    panoramas = {}
    try:
        with tarfile.open(package) as archive:
            for member in archive:
                found = re.fullmatch(r"package/hdri/(\w+)\.exr\.js", member.name)
                if found:
                    _, _, data = archive.extractfile(member).read().partition(b";base64,")
                    panoramas[found[1]] = base64.b64decode(data.rstrip(b"';\n "))
    except (tarfile.TarError, EOFError, OSError, zlib.error, binascii.Error) as error:
        raise ValueError(f"{package} is damaged ({error}): pack it again") from None
    if not panoramas:
        raise ValueError(f"{package} holds no hdri/*.exr.js: another version?")
    for name, data in panoramas.items():
        (folder / f"{name}.exr").write_bytes(data)
    return [folder / f"{name}.exr" for name in sorted(panoramas)]
