"""Panoramas to light renders with, out of the npm package @pmndrs/assets (CC0)."""

from __future__ import annotations

import base64
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
    lights = []
    try:
        with tarfile.open(package) as archive:
            for member in archive:
                found = re.fullmatch(r"package/hdri/(\w+)\.exr\.js", member.name)
                if found:
                    _, _, data = archive.extractfile(member).read().partition(b";base64,")
                    lights.append(folder / f"{found[1]}.exr")
                    lights[-1].write_bytes(base64.b64decode(data.rstrip(b"';\n ")))
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{package} is damaged ({error}): pack it again") from None
    if not lights:
        raise ValueError(f"{package} holds no hdri/*.exr.js: another version?")
    return sorted(lights)
