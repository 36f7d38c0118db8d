"""The hand-made networks: one file each, or one for a network and its variants."""

from __future__ import annotations

from importlib import import_module

from search_spaces.zoo.hand_made import HandMade

FILES = {
    "bisenet_r18": "bisenet",
    "bisenet_v2": "bisenet_v2",
    "bisenet_xception39": "bisenet",
    "context_net": "context_net",
    "dabnet": "dabnet",
    "ddrnet_23_slim": "ddrnet_23_slim",
    "df1_seg": "df1_seg",
    "dfanet_a": "dfanet_a",
    "edanet": "edanet",
    "efficientvit_b0": "efficientvit_b0",
    "enet": "enet",
    "erfnet": "erfnet",
    "espnet": "espnet",
    "espnet_v2": "espnet_v2",
    "fanet_18": "fanet",
    "fanet_34": "fanet",
    "fassd_net": "fassd_net",
    "fassd_net_l1": "fassd_net",
    "fassd_net_l2": "fassd_net",
    "fast_scnn": "fast_scnn",
    "fc_hardnet_70": "hardnet",
    "ffnet_40s": "ffnet",
    "ffnet_54s": "ffnet",
    "ffnet_78s": "ffnet",
    "hyperseg_m": "hyperseg",
    "hyperseg_s": "hyperseg",
    "icnet": "icnet",
    "jetseg_agx": "jetseg",
    "jetseg_nano": "jetseg",
    "jetseg_nano_512": "jetseg",
    "jetseg_workstation": "jetseg",
    "ldn121": "ldn121",
    "lednet": "lednet",
    "linknet": "linknet",
    "pidnet_s": "pidnet_s",
    "pp_liteseg_t": "pp_liteseg",
    "regseg": "regseg",
    "segnet": "segnet",
    "segnet_basic": "segnet",
    "shelfnet18": "shelfnet18",
    "sqnet": "sqnet",
    "stdc1": "stdc",
    "stdc2": "stdc",
    "swiftnet_rn18": "swiftnet_rn18",
    "topformer_t": "topformer",
}
"""Network -> module of this package, which has it in `NETWORKS`."""


def find_network(name: str) -> HandMade:
    """A network by name; its file is loaded only then.

    Raises:
        KeyError: If there is none.
    """
    networks: dict[str, HandMade] = import_module(f"{__name__}.{FILES[name]}").NETWORKS
    return networks[name]
