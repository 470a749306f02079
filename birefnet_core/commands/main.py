"""The command line: one subcommand a function."""

from __future__ import annotations

import argparse
import re
import sys
import warnings


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand and return its exit code. What a user can put right is one sentence, without a stack trace."""
    parser, args = _parse(arguments)
    if not hasattr(args, "run"):
        parser.print_help()
        return 2
    warnings.filterwarnings("ignore", module="PIL")  # on damaged metadata, by which no picture is named
    try:
        return args.run(args)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except (ValueError, OSError, RuntimeError) as error:
        print(f"birefnet_core {args.command}: {error}", file=sys.stderr)
        return 1


def _parse(arguments: list[str] | None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    from .. import bench
    from . import demo, export, matte, models

    parser = argparse.ArgumentParser(prog="python -m birefnet_core", description="Cut subjects out of images.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def add(name: str, run, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    matte.add_arguments(add("matte", matte.run, "Matte pictures and clips."))
    models.add_models_dir(add("models", models.show, "List the models: bundled, on disk and published."))
    models.add_download_arguments(add("download", models.fetch, "Fetch a published model."))
    models.add_inspect_arguments(add("inspect", models.inspect, "Say what a weight file is, or what is wrong with it."))
    export.add_arguments(add("export", export.run, "Write a model as ONNX, for other runtimes."))
    bench.add_arguments(add("bench", bench.run, "Measure the network, beside a checkout of the reference."))
    demo.add_arguments(add("demo", demo.run, "Matte the photograph of the README with the bundled model."))
    return parser, parser.parse_args(_joined(sys.argv[1:] if arguments is None else arguments))


def _joined(arguments: list[str]) -> list[str]:
    """arguments with `--box -20,10,100,90` as `--box=-20,10,100,90`: argparse takes what begins with a minus for an
    option, unless it is a single number."""
    joined: list[str] = []
    for argument in map(str, arguments):
        if re.match(r"-[\d.]+,", argument) and joined and re.match(r"--[^=]+$", joined[-1]):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined
