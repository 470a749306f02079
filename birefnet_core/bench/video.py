"""`python -m birefnet_core.bench.video speed|memory|flicker|hint`: what streaming costs beside bare decoding and
encoding, whether memory depends on a clip's length, what stabilisation does to mattes of clips with known alpha, and
whether a hint that is carried along stays with the one that it asked for."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..matting.model import MattingModel
from ..video import FORMATS, Clip, Look, matte_clip
from ..video.carry import Carry
from ..video.matte import BATCH
from ..video.stabilise import stabilised
from ..weights.catalog import ModelSpec
from .measure import in_new_process, peak_memory

TIMED = 12  # frames with a hint each


class Ellipse(nn.Module):
    """In place of a network: the logits of a soft ellipse, whatever it is shown."""

    def __init__(self, side: int) -> None:
        super().__init__()
        axis = torch.linspace(-1, 1, side)
        self.logits = nn.Parameter(40 * (0.6 - axis[:, None] ** 2 - axis**2)[None, None])

    def forward(self, images: Tensor) -> Tensor:
        return self.logits.expand(len(images), -1, -1, -1)


def stub(side: int) -> MattingModel:
    return MattingModel(Ellipse(side).eval(), ModelSpec(name="stub", backbone="none", size=(side, side)))


def ours(source: Path, out: Path, format: str, side: int, stabilise: float) -> None:
    model = stub(side)
    look = Look(stabilise=stabilise, background="#00ff00")
    matte_clip(Clip(source), out, model.predict, format=format, size=(side, side), look=look, sound=False)


def bare(source: Path, out: Path, format: str) -> None:
    """Decode and encode with PyAV and nothing between: the same codec, options and threads; alpha is opaque."""
    import av

    row = FORMATS[format]
    with av.open(str(source)) as container, av.open(str(out), "w", format=row.muxer) as target:
        pictures = container.streams.video[0]
        pictures.thread_type = "AUTO"
        stream = target.add_stream(row.codec, rate=pictures.average_rate, options=dict(row.options))
        stream.width, stream.height, stream.pix_fmt = pictures.width, pictures.height, row.pixels
        stream.codec_context.time_base = pictures.time_base
        stream.codec_context.thread_type = "AUTO"
        for frame in container.decode(pictures):
            made = frame.reformat(format=row.pixels)
            made.pict_type = 0  # the encoder decides
            target.mux(stream.encode(made))
        target.mux(stream.encode(None))


def speed(args: argparse.Namespace) -> None:
    """Bare and ours by turns, so that what else the machine does meets both. A row a format."""
    with tempfile.TemporaryDirectory() as folder:
        source = args.clip or write_clip(Path(folder, "source.mp4"), frames=args.frames, size=(1920, 1080))
        info = Clip(source).info
        print(
            f"{info.width} x {info.height}, {info.frames} frames, network size {args.side}, stabilise {args.stabilise}"
        )
        print("| format | bare, ms a frame | ours | ratio | CPU: bare | ours | ratio |")
        print("|---|" + "---:|" * 6)
        for format in args.format or ["prores", "webm", "h264"]:
            runs: dict[str, list[tuple[float, float]]] = {"bare": [], "ours": []}
            for turn in range(args.repeats):
                for name in runs:
                    out = Path(folder, f"{name}{turn}{FORMATS[format].suffix}")
                    wall, cpu = time.perf_counter(), time.process_time()
                    if name == "bare":
                        bare(source, out, format)
                    else:
                        ours(source, out, format, args.side, args.stabilise)
                    runs[name].append((time.perf_counter() - wall, time.process_time() - cpu))
                    out.unlink()
            figures = []
            for which in (0, 1):
                was, now = (statistics.median(run[which] for run in runs[name]) for name in ("bare", "ours"))
                per_frame = 1000 / info.frames
                figures += [f"{was * per_frame:.1f}", f"{now * per_frame:.1f}", f"{now / was:.2f}"]
            print(f"| {format} | {' | '.join(figures)} |", flush=True)


def memory(args: argparse.Namespace) -> None:
    """Peak resident memory of a process that mattes a short and a long clip of small frames."""
    print("| frames | peak, MiB |\n|---:|---:|")
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for frames in (args.frames, 10 * args.frames):
            source = write_clip(Path(folder, f"{frames}.mp4"), frames=frames, size=(320, 180))
            peaks.append(
                in_new_process(peak_of_run, source, Path(folder, f"{frames}.mov"), args.format, args.stabilise)
            )
            print(f"| {frames} | {peaks[-1] / 2**20:.0f} |", flush=True)
    print(f"ratio {peaks[1] / peaks[0]:.3f}")


def peak_of_run(source: Path, out: Path, format: str, stabilise: float) -> int:
    torch.set_num_threads(1)
    ours(source, out.with_suffix(FORMATS[format].suffix), format, 128, stabilise)
    return peak_memory(torch.device("cpu"))


def flicker(args: argparse.Namespace) -> None:
    """dtSSD and MAE of the model's mattes of generated clips, frame by frame and stabilised."""
    from ..matting.load import load_model
    from .clips import known_clips

    model = load_model(args.model, device=args.device)
    print("| clip | dtSSD x 100 | stabilised | ratio | MAE x 100 | stabilised | ratio |")
    print("|---|" + "---:|" * 6)
    rows = []
    for clip in known_clips(args.cutouts, count=args.count, frames=args.frames):
        alpha = model.predict(clip.frames)
        items = [_Item(pixels, values) for pixels, values in zip(clip.frames, alpha)]
        steady = torch.stack([item.alpha for item in stabilised(iter(items), args.stabilise)])
        was, now = ((dtssd(matte, clip.alpha), mae(matte, clip.alpha)) for matte in (alpha, steady))
        rows.append((was, now))
        print(f"| {clip.name} | {_figures(was, now)} |", flush=True)
    ratios = [[now[which] / was[which] for was, now in rows] for which in (0, 1)]
    print(f"mean of the ratios: dtSSD {statistics.mean(ratios[0]):.3f}, MAE {statistics.mean(ratios[1]):.3f}")
    pooled = [sum(now[which] for _, now in rows) / sum(was[which] for was, _ in rows) for which in (0, 1)]
    print(f"ratio of the sums: dtSSD {pooled[0]:.3f}, MAE {pooled[1]:.3f}")


def hint(args: argparse.Namespace) -> None:
    """IoU of the mattes with the one asked for, of two that cross, when the first frame's hint is its alpha; and what
    carrying costs beside matting batches with a hint for each frame."""
    from ..matting.load import load_model
    from .clips import crossings
    from .plot import curves

    model = load_model(args.model, device=args.device)
    print("| clip | IoU, mean | least | last tenth | of the other at the end | ms a frame | with a hint each | ratio |")
    print("|---|" + "---:|" * 7)
    lines = {}
    for clip in crossings(args.cutouts, count=args.count, frames=args.frames, seed=args.seed):
        start = time.perf_counter()
        alpha = torch.stack(list(_carried(model, clip.frames, clip.asked[0], args.size)))
        taken = time.perf_counter() - start
        timed = min(len(alpha), TIMED)
        start = time.perf_counter()
        for first in range(0, timed, BATCH):
            some = slice(first, min(first + BATCH, timed))
            model.predict(clip.frames[some], size=args.size, hint=clip.asked[some], hint_is="mask")
        each = (time.perf_counter() - start) * len(alpha) / timed
        asked = [iou(*pair) for pair in zip(alpha, clip.asked)]
        tenth = -max(1, len(alpha) // 10)
        other = max(iou(*pair) for pair in zip(alpha[tenth:], clip.other[tenth:]))
        last = statistics.mean(asked[tenth:])
        times = 1000 * taken / len(alpha), 1000 * each / len(alpha)
        print(
            f"| {clip.name} | {statistics.mean(asked):.3f} | {min(asked):.3f} | {last:.3f} | {other:.3f} | "
            f"{times[0]:.0f} | {times[1]:.0f} | {taken / each:.2f} |",
            flush=True,
        )
        lines[clip.name] = asked
    if args.plot:
        title = "IoU of the one asked for, hint of the first frame carried along"
        picture = curves(title, lines, below="frame (the two cross in the middle)")
        picture.save(args.plot, optimize=True)


def _png(text: str) -> Path:
    """The type of the option that names the plot: an error at once, not after all is measured."""
    path = Path(text)
    if path.suffix.lower() != ".png" or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text} must be a .png in a folder that is there")
    return path


def _carried(model, frames: Tensor, first: Tensor, size: int | None) -> Iterator[Tensor]:
    carry = Carry(first, 25)
    for pixels in frames:
        hint = carry.hint(pixels)[None]
        alpha = model.predict(pixels[None], size=size, hint=hint, hint_is=carry.hint_is)[0]
        carry.take(alpha)
        yield alpha


def iou(alpha: Tensor, truth: Tensor) -> float:
    """Of what is more than half opaque, intersection over union; 1 where both are empty."""
    alpha, truth = alpha > 0.5, truth > 0.5
    union = (alpha | truth).sum().item()
    return (alpha & truth).sum().item() / union if union else 1.0


class _Item:
    def __init__(self, pixels: Tensor, alpha: Tensor) -> None:
        self.pixels, self.alpha = pixels, alpha


def _figures(was: tuple[float, float], now: tuple[float, float]) -> str:
    return " | ".join(
        f"{100 * before:.3f} | {100 * after:.3f} | {after / before:.2f}" for before, after in zip(was, now)
    )


def dtssd(alpha: Tensor, truth: Tensor) -> float:
    """How differently alpha [T, H, W] changes from frame to frame than the truth does: Erofeev et al., "Perceptually
    Motivated Benchmark for Video Matting" (2015), section 4, as the root of a mean over pixels."""
    return ((alpha.diff(dim=0) - truth.diff(dim=0)) ** 2).mean(dim=(1, 2)).sqrt().mean().item()


def mae(alpha: Tensor, truth: Tensor) -> float:
    return (alpha - truth).abs().mean().item()


def write_clip(path: Path, *, frames: int, size: tuple[int, int]) -> Path:
    """A generated H.264 clip: a smooth texture that drifts, with a sensor's noise. size: (width, height)."""
    import av

    width, height = size
    random = np.random.default_rng(0)
    coarse = random.integers(0, 255, (height // 16 + 2, width // 16 + 16, 3)).astype(np.uint8)
    texture = av.VideoFrame.from_ndarray(coarse, format="rgb24").reformat(
        width=width + 256, height=height, format="rgb24", interpolation="BICUBIC"
    )
    texture = texture.to_ndarray().astype(np.int16)
    noise = random.normal(0, 2, (height, width + 64, 1)).astype(np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(frames):
            left, shift = 2 * index % 256, int(random.integers(64))
            picture = texture[:, left : left + width] + noise[:, shift : shift + width]
            frame = av.VideoFrame.from_ndarray(picture.clip(0, 255).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m birefnet_core.bench.video", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("speed", help=speed.__doc__)
    command.add_argument("--clip", type=Path, help="default: a generated one of 1920 x 1080")
    command.add_argument("--frames", type=int, default=100, help="of the generated clip (default: 100)")
    command.add_argument("--format", action="append", choices=[name for name, row in FORMATS.items() if row.muxer])
    command.add_argument("--side", type=int, default=416, help="at which the stub sees frames (default: 416)")
    command.add_argument("--stabilise", type=float, default=0.0)
    command.add_argument("--repeats", type=int, default=3)
    command.set_defaults(run=speed)
    command = commands.add_parser("memory", help=memory.__doc__)
    command.add_argument(
        "--frames", type=int, default=300, help="of the short clip; the long one has ten times as many"
    )
    command.add_argument("--format", default="prores", choices=FORMATS)
    command.add_argument("--stabilise", type=float, default=0.8)
    command.set_defaults(run=memory)
    command = commands.add_parser("flicker", help=flicker.__doc__)
    command.add_argument("--cutouts", type=Path, required=True, help="a pack with foregrounds/ and backgrounds/")
    command.add_argument("--model", default="bundled")
    command.add_argument("--device", default="auto")
    command.add_argument("--count", type=int, default=12, help="clips (default: 12)")
    command.add_argument("--frames", type=int, default=24, help="of each clip (default: 24)")
    command.add_argument("--stabilise", type=float, default=1.0)
    command.set_defaults(run=flicker)
    command = commands.add_parser("hint", help=hint.__doc__)
    command.add_argument("--cutouts", type=Path, required=True, help="a pack with foregrounds/ and backgrounds/")
    command.add_argument("--model", default="bundled")
    command.add_argument("--device", default="auto")
    command.add_argument("--count", type=int, default=6, help="clips (default: 6)")
    command.add_argument("--frames", type=int, default=100, help="of each clip (default: 100)")
    command.add_argument("--size", type=int, help="at which the network sees frames (default: the model's own)")
    command.add_argument("--seed", type=int, default=0, help="of which cut-outs meet (default: 0)")
    command.add_argument("--plot", type=_png, help="a PNG of the IoU over time")
    command.set_defaults(run=hint)
    args = parser.parse_args(arguments)
    try:
        args.run(args)
    except (ValueError, OSError) as error:
        print(f"birefnet_core.bench.video: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
