"""What a run leaves to use: OUT/model.safetensors, and OUT/README.md, its model card."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError

from birefnet_core.names import readable
from birefnet_core.network import BiRefNet
from birefnet_core.weights.catalog import IMAGENET_MEAN, IMAGENET_STD, ModelSpec
from birefnet_core.weights.files import read_metadata
from birefnet_core.weights.save import save_model
from train.recipe import Recipe, square
from train.shared import hints
from train.shared.files import write_text

MODEL, CARD = "model.safetensors", "README.md"
REMBG = """For rembg 2.0.86 export it with `--size 1024{without}`, put the file at
`~/.rembg/models/birefnet-general/birefnet-general.onnx` and take `rembg.new_session("birefnet-general")`: whatever a
model was made for, rembg gives it pictures of 1024 x 1024."""
HINTED = "alpha = model.predict(images, hint=hints)  # [B,h,w] in 0..1, 1 = belongs to what is asked for\n"
CARD_TEXT = """---
library_name: birefnet
tags:
- background-removal
- mask-generation
- {tag}
pipeline_tag: image-segmentation
---
# {name}

A BiRefNet ([Bilateral Reference for High-Resolution Dichotomous Image Segmentation](https://arxiv.org/abs/2401.03407)).
Task: {task}. Backbone `{backbone}`, {size}, patch order {patch_order}{hint}.

### Training Sets:
{training}

### Validation Sets:
{validation}

### Performance:
{table}

{conditions}

### Training:
{settings}

### Use:

```python
import birefnet_core as bc

model = bc.load_model("{file}")
alpha = model.predict(images)  # [B,H,W,3] in 0..1 -> [B,H,W], 1 = foreground
{hinted}```

In ComfyUI put the file into `models/background_removal` and choose it in "Load BiRefNet".

As ONNX (`train/train.py --export onnx` wrote it, or `python -m birefnet_core export {file} -o model.onnx` does):

```python
import numpy
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
(logits,) = session.run(None, {{{feed}}})  # {takes}, (picture 0..1 - mean) / std
alpha = 1 / (1 + numpy.exp(-logits))  # [N,1,H,W], 1 = foreground
```

{rembg}

### Licence:
{licence}
"""


@dataclass(frozen=True)
class Outcome:
    """How the weights that ship came about.

    step: of the weights. ended: the run's last. scores: of validation, by name, empty without one. names: data sets of
    training and of validation, a line each.
    """

    step: int
    ended: int
    scores: dict[str, float] = field(default_factory=dict)
    names: tuple[list[str], list[str]] = ([], [])


def save_bundle(network: BiRefNet, path: Path, *, recipe: Recipe, outcome: Outcome, patch_order: str = "2025") -> None:
    """Write `network` as fp16 safetensors in the published layout, with what it needs and how it came about."""
    spec = ModelSpec(
        name=recipe.name,
        backbone=recipe.architecture.backbone,
        size=square(recipe.model_size) if recipe.model_size else None,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        edge_radius=recipe.edge_radius,
        task=recipe.task,
        patch_order=patch_order,
        licence=recipe.licence,
        source="trained with train/train.py",
        note="",
    )
    extra = {"recipe": recipe.name, "steps": str(outcome.step), "run_steps": str(outcome.ended)}
    extra |= {f"held_out_{name}": f"{value:.5f}" for name, value in outcome.scores.items()}
    if outcome.names[0]:
        extra["trained_on"] = readable("; ".join(outcome.names[0]))
    save_model(network, path, spec=spec, extra=extra)


def made_of(path: Path) -> tuple[int, str] | None:
    """The steps of the run that a result was written after, and its patch order; None where there is none, or none that
    is whole."""
    if not path.is_file():
        return None
    try:
        metadata = read_metadata(path)
        return int(metadata.get("run_steps", 0)), metadata.get("patch_order", "")
    except (SafetensorError, ValueError, OSError):
        return None


def save_card(
    path: Path, *, recipe: Recipe, outcome: Outcome, table: dict[str, float], patch_order: str = "2025"
) -> None:
    """Write the model card: training sets, validation sets, metric table (`table`, by column), in the form of the
    published ones."""
    size = "any size" if not recipe.model_size else "{} x {}".format(*square(recipe.model_size))
    header = ["Dataset", "Method", *table]
    cells = ["validation", f"{recipe.name}--step_{outcome.step}"]
    cells += [f"{value:.3f}".removeprefix("0") for value in table.values()]
    rows = "\n".join(f"| {' | '.join(row)} |" for row in (header, [":---:"] * len(header), cells))
    at = "{} x {}".format(*square(recipe.validation_size))
    text = CARD_TEXT.format(
        name=recipe.name,
        tag={"matting": "Image Matting", "portrait": "Image Matting"}.get(recipe.task, recipe.task),
        task=recipe.task,
        backbone=recipe.architecture.backbone,
        size=size,
        patch_order=patch_order,
        hint=", takes a hint" if recipe.hint else "",
        hinted=HINTED if recipe.hint else "",
        feed='"input_image": pictures' + (', "hint": hints' if recipe.hint else ""),
        takes="[N,3,H,W] float32" + (" and [N,1,H,W], 0.5 = nothing is said" if recipe.hint else ""),
        rembg=REMBG.format(without=" --no-hint" if recipe.hint else ""),
        training=_bullets(outcome.names[0]),
        validation=_bullets(outcome.names[1]),
        table=rows if table else "Not measured; `train/evaluate.py` does it.",
        conditions=f"Measured by training itself, at {at}; `train/evaluate.py` measures at the pictures' own sizes."
        if table
        else "",
        settings=_bullets(_settings(recipe, outcome)),
        file=MODEL,
        licence=recipe.licence or "Not stated. The licences of the training sets may restrict it.",
    )
    write_text(path, text)


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"+ {line}" for line in lines or ["none"])


def _settings(recipe: Recipe, outcome: Outcome) -> list[str]:
    sizes = " then ".join(
        f"{phase.dynamic[0]} to {phase.dynamic[1]} px" if phase.dynamic else "{} x {}".format(*square(phase.size))
        for phase in recipe.phases
    )
    batches = " then ".join(str(phase.batch_size) for phase in recipe.phases)
    hinted = [f"{name.removeprefix('hinted_')} {value:.4f}" for name, value in outcome.scores.items() if "hint" in name]
    measured = f"; validated with hints: {', '.join(hinted)}" if hinted else ""
    learnt = [f"learnt hints: {hints.in_words(recipe.hints)}{measured}"] if recipe.hint else []
    return [
        f"from {recipe.init}, {outcome.step} of {recipe.steps} steps, batch {batches}, at {sizes}",
        f"{recipe.optimiser}, learning rate {recipe.learning_rate:g} (backbone {recipe.backbone_learning_rate:g}), "
        f"{recipe.precision}" + (f", weights averaged with decay {recipe.ema:g}" if recipe.ema else ""),
        *learnt,
    ]
