"""python -m train.evaluation.sets E1 --packages FOLDER --out FOLDER"""

from __future__ import annotations

import argparse
from concurrent.futures import BrokenExecutor
from pathlib import Path

import train.evaluation.sets

from . import detail, e1, e4, e5, effects, rendered, small_subjects


def build_pairs(packages: str, out: str) -> str:
    from . import pairs  # needs SciPy and torch, which the python that renders E2 and E3 has not

    return pairs.build(packages, out)


BUILDERS = {
    "E1": e1.build,
    "E2": rendered.build_e2,
    "E3": rendered.build_e3,
    "E4": e4.build,
    "E5": e5.build,
    "detail": detail.build,
    "effects": effects.build,
    "pairs": build_pairs,
    "small": small_subjects.build,
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.evaluation.sets",
        description=train.evaluation.sets.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("set", choices=BUILDERS, help="which set to build")
    parser.add_argument("--packages", required=True, metavar="FOLDER", help="where the downloaded packages are")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="the new folder to build into")
    parser.add_argument("--lemur", type=Path, metavar="FOLDER", help="E3 only: has lemur.png and lemur_alpha.png")
    parser.add_argument("--renders", type=Path, metavar="FOLDER", help="detail only: keep its renders here, and go on")
    options = parser.parse_args(arguments)
    if options.lemur and options.set != "E3":
        parser.error("--lemur goes with E3")
    if options.renders and options.set != "detail":
        parser.error("--renders goes with detail")
    more = {name: value for name in ("lemur", "renders") if (value := getattr(options, name))}
    try:
        fingerprint = BUILDERS[options.set](options.packages, options.out, **more)
    except (ValueError, OSError, ImportError) as error:
        raise SystemExit(f"{options.set} was not built: {error}") from None
    except BrokenExecutor:
        reason = "one of the processes that render was killed or crashed, perhaps for want of memory"
        raise SystemExit(f"{options.set} was not built: {reason}") from None
    except KeyboardInterrupt:
        raise SystemExit(f"stopped: {options.set} was not built") from None
    print(f"{options.set} is in {options.out}; look at sheet.jpg there. Fingerprint of its pixels: {fingerprint}")


if __name__ == "__main__":
    main()
