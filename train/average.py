"""Average the weights of models that came from one another: often better outside of what either was trained on.

    python -m train.average second.safetensors=0.4 third.safetensors=0.6 --out model.safetensors

The shares are divided by their sum. The result has the last one's metadata, and takes a hint if that one does: the
weights for hints are then the mean of those that have any. Where some have none, the other layers are used to hints in
part only, and --hint-strength tells them more loudly (train/recipes/README.md has what that brings). Wortsman et al.,
"Model soups", ICML 2022.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path

import birefnet_core as bc
from birefnet_core.network import BiRefNet, build_network
from birefnet_core.weights.published import export_published, load_published
from birefnet_core.weights.save import save_model

HINT_WEIGHT = ".hint.weight"  # of a HintedConv


def average(models: dict[str, float], out: Path, hint_strength: float = 1.0) -> None:
    """Write the average of `models` (name or file: share) to `out`, its weights for hints times `hint_strength`.

    Raises:
        ValueError: fewer than two models, a share or strength that is not above 0, a strength where the result takes no
            hint, models of different networks or made for different pictures, or a file that is no model.
    """
    if not 0 < hint_strength < math.inf:
        raise ValueError(f"the hint's strength must be above 0, not {hint_strength:g}")
    if len(models) < 2 or not all(0 < share < math.inf for share in models.values()):
        raise ValueError("give two models or more, each with a share above 0")
    options = {"device": "cpu", "dtype": "float32", "fold": False}
    last = bc.load_model(list(models)[-1], **options)
    if hint_strength != 1 and not last.takes_hint:
        raise ValueError(f"{list(models)[-1]} takes no hint that could be told more loudly")
    loaded = [*(bc.load_model(name, **options, hint=last.takes_hint) for name in list(models)[:-1]), last]
    states = [_like(loaded[-1].network, model.network).state_dict() for model in loaded]
    shapes = [{key: value.shape for key, value in state.items()} for state in states]
    for name, found in zip(models, shapes):
        if found != shapes[-1]:
            raise ValueError(f"{name} and {list(models)[-1]} are different networks")
    for name, model in zip(models, loaded):
        if (model.spec.mean, model.spec.std) != (last.spec.mean, last.spec.std):
            raise ValueError(f"{name} and {list(models)[-1]} were made for pictures of another mean and std each")
    whole = sum(models.values())
    hinted = [model.network.architecture.hint for model in loaded]
    for key, value in states[-1].items():
        if value.is_floating_point():
            # A model that takes no hint has nothing to say of one: its zeros would only make the others' weaker.
            given = [
                (share, state[key])
                for share, state, takes in zip(models.values(), states, hinted)
                if takes or not key.endswith(HINT_WEIGHT)
            ]
            value.copy_(sum(share * each for share, each in given) / sum(share for share, _ in given))
            if key.endswith(HINT_WEIGHT):
                value.mul_(hint_strength)
    shares = ", ".join(f"{share / whole:.2f}" for share in models.values())
    out.parent.mkdir(parents=True, exist_ok=True)
    save_model(
        loaded[-1].network, out, spec=loaded[-1].spec, extra={"averaged": shares, "hint_strength": f"{hint_strength:g}"}
    )


def _like(last: BiRefNet, network: BiRefNet) -> BiRefNet:
    """The network, or where only `last` takes a hint, one that takes a hint too and gives what the network gives."""
    if network.architecture.hint or not last.architecture.hint:
        return network
    hinted = build_network(replace(network.architecture, hint=True))
    load_published(hinted, export_published(network))
    return hinted


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.average", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", metavar="MODEL=SHARE", help="a name or file, and its share")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where the average goes")
    parser.add_argument(
        "--hint-strength", type=float, default=1.0, metavar="X", help="the weights for hints are multiplied by it (1)"
    )
    options = parser.parse_args(arguments)
    try:
        average(_shares(options.models), options.out, options.hint_strength)
    except (ValueError, OSError, RuntimeError) as error:
        raise SystemExit(f"nothing was averaged: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("stopped: nothing was averaged") from None
    print(f"{options.out} written")


def _shares(texts: list[str]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for name, share in map(_share, texts):
        if name in shares:
            raise ValueError(f"{name} is given twice: give it once, with the sum of its shares")
        shares[name] = share
    return shares


def _share(text: str) -> tuple[str, float]:
    name, _, share = text.rpartition("=")
    try:
        return name, float(share)
    except ValueError:
        raise ValueError(f"{text}: write MODEL=SHARE, with a number as share") from None


if __name__ == "__main__":
    main()
