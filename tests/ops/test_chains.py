"""Chains of layers by name."""

from __future__ import annotations

from nas.ops.chains import ACTIVATIONS, BIAS, CHAINS, CONVOLUTIONS, LAYERS, NORMS, layers_of


def test_every_chain_is_made_of_known_layers_with_one_convolution_norm_and_activation_at_most():
    for name in CHAINS:
        layers = layers_of(name)
        assert set(layers) <= set(LAYERS)
        for some in (CONVOLUTIONS, (BIAS,), tuple(NORMS), ACTIVATIONS):
            assert sum(layer in some for layer in layers) <= 1
        if BIAS in layers:
            assert layers[layers.index(BIAS) - 1] in CONVOLUTIONS
    assert len(set(CHAINS)) == len(CHAINS)
