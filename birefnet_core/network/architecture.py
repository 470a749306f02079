"""What varies between BiRefNet models: one frozen record, no global configuration."""

import json
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True)
class Architecture:
    """The shape of one BiRefNet. The defaults are those of every published checkpoint but the backbone.

    The switches are the rows of the paper's ablations: `reconstruction` (RM), `inward_reference` (InRef) and
    `outward_reference` (OutRef) of table 2, `multi_stage_supervision` (MSS) of table 1, `context_fusion` (CFF) and
    `image_pyramid` (IPT) of table 3. `classes` adds the auxiliary class head (219 for DIS5K-TR, 0 for none).

    `block_channels`, `branch_channels` and `inward_channels` are the widths inside a reconstruction block, of each of
    its deformable branches and inside an inward reference; narrow them for a small model.
    `hint` lets the encoder take a hint beside the picture, which says what is asked for (hint.py).
    `dropout` (after each reconstruction block's receptive fields) and `stochastic_depth` act in training only.

    Raises ValueError for values of another kind and for numbers below 0.
    """

    backbone: str = "swin_v1_l"
    image_pyramid: bool = True
    context_fusion: bool = True
    reconstruction: bool = True
    inward_reference: bool = True
    outward_reference: bool = True
    multi_stage_supervision: bool = True
    classes: int = 0
    block_channels: int = 64
    branch_channels: int = 256
    inward_channels: int = 64
    dropout: float = 0.5
    stochastic_depth: float = 0.0
    hint: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            kinds = (float, int) if isinstance(field.default, float) else (type(field.default),)
            if type(value) not in kinds or (kinds[-1] is int and value < 0):
                raise ValueError(f"architecture has {field.name} {value!r}")

    def to_json(self) -> str:
        """This architecture as one line of JSON, the form kept in a weight file's metadata. Without a hint it has no
        word of hints, so that versions from before there were any read it."""
        values = asdict(self)
        return json.dumps(values if self.hint else {k: v for k, v in values.items() if k != "hint"})

    @classmethod
    def from_json(cls, text: str) -> "Architecture":
        """The architecture written by `to_json`. Raises ValueError for other text, for fields unknown here and for
        values of another kind."""
        values = json.loads(text)
        if not isinstance(values, dict) or not isinstance(values.get("backbone"), str):
            raise ValueError(f"'{text}' is no architecture")
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"architecture has fields this version does not know: {', '.join(sorted(unknown))}")
        return cls(**values)
