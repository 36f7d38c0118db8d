"""Command lines of a second or two, from which the golden tests put theirs together."""

from __future__ import annotations

CPU = ("trainer.accelerator=cpu", "trainer.threads=1")
DATA = ("data.size=[32,48]", "data.train=4", "data.val=2", "data.test=2")
SEARCH = ("search.epochs=2", "search.batch_size=2", "search.log_every=1", "search.recalibrate=1")
TRAIN = ("train.epochs=2", "train.batch_size=2", "train.log_every=1", "train.eval_every=1")

_CELLS = ("space.num_cells=3", "space.reduction_cells=[1,2]", "space.head_channels=8", "space.guided_dim=8")
_CHANNELS = ("search.init_channels=4", "deploy.init_channels=4")
_FUSED = "space.fused_cells=[0,1,2]"
_BLOCKS = (
    "space.stages=[[8,2,2],[12,2,2],[16,2,1]]",
    "space.low_level_block=1",
    "space.last_channels=16",
    "space.decoder_channels=8",
    "space.stem_channels=8",
)
_LATTICE = ("space.layers=4", "space.filters=1", "space.widths=[6,12]", "data.size=[64,64]", "data.val=1")
SPACES: dict[str, tuple[str, ...]] = {
    "lgcnet": ("space=lgcnet", *_CELLS, _FUSED, *_CHANNELS),
    "gas": ("space=gas", *_CELLS, *_CHANNELS),
    "cas": ("space=cas", *_CELLS, _FUSED, *_CHANNELS),
    "squeezenas_small": ("space=squeezenas_small", *_BLOCKS),
    "squeezenas_large": ("space=squeezenas_large", *_BLOCKS),
    "squeezenas_xlarge": ("space=squeezenas_xlarge", *_BLOCKS),
    "fasterseg": ("space=fasterseg", *_LATTICE, "search.warmup_epochs=1", "search.weight_lr=2e-3", "search.weight_lr_end=1e-3"),
}
"""Every space about as small as it gets, for `nas search`. FasterSeg's maps are no smaller, lest batch norms see two numbers a
channel, which would magnify every rounding."""

_ONE_BY_ONE = "search.checkpoint_every=1"
BEFORE: dict[str, tuple[str, ...]] = {
    "gas_search": (
        "search",
        *(*DATA, *CPU, *SEARCH, _ONE_BY_ONE, "data.train=6", "latency.table=macs", "space=gas", "space.num_cells=2"),
        *("space.reduction_cells=[1]", "space.head=none", "space.ops=[skip_connect,conv_3x3,none]", "space.guided_dim=4"),
        *("space.num_nodes=1", *_CHANNELS),
    ),
    "squeezenas_search": (
        "search",
        *(*DATA, *CPU, *SEARCH, _ONE_BY_ONE, "data.train=8", "latency.table=macs", "search.level=bilevel"),
        *("space=squeezenas_small", "space.stages=[[4,1,2],[4,1,2],[8,1,2]]", "space.ops=[k3_e1_g1,skip]"),
        *("space.low_level_block=1", "space.last_channels=8", "space.decoder_channels=4", "space.stem_channels=4"),
    ),
    "training": (
        "train",
        *(
            *DATA,
            *CPU,
            *TRAIN,
            "data.train=6",
            "train.checkpoint_every=1",
            "train.eval_every=0",
            "genotype=genotypes/gas_tiny.yaml",
        ),
    ),
}
"""The runs that the version before was stopped in, each to be resumed with `out` and `resume` being its folder."""
