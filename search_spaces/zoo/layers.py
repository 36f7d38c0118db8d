"""Short hand for the operations of hand-made networks: every line names a node, what it reads and what is special about it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from nas.ops import OpSpec, out_size
from nas.ops.pooling_sizes import columns
from nas.space.graph import NetworkBuilder, Value

SAME_KIND = {
    "conv": "bare_conv",
    "conv_bias": "plain_conv",
    "conv_bias_sigmoid": "conv_sigmoid",
}
"""Chains of layers -> the kind of operation that they had before there were chains."""


class Layers:
    """The nodes of a hand-made network, while it is described.

    Args:
        builder: Where they go.
        num_classes: Classes K.
        passed: Names of the resizings that change no size in large images, and are none therefore; None: those that change none
            in these images, which may be so small that maps of unlike strides have one size.
    """

    def __init__(self, builder: NetworkBuilder, *, num_classes: int, passed: Collection[str] | None = None) -> None:
        self.builder, self.num_classes = builder, num_classes
        self.passed: set[str] = set()
        """Names of the resizings that were passed by."""
        self._passed = passed
        self.image = builder.image()

    def op(  # noqa: PLR0913
        self,
        name: str,
        kind: str,
        *inputs: Value,
        channels: int | None = None,
        size: tuple[int, int] | None = None,
        module: str | None = None,
        **fields: Any,
    ) -> Value:
        """Any operation.

        Args:
            name: Of the node.
            kind: Of the operation.
            inputs: What it reads; its spec states the shape of the first.
            channels: That go out; None: as many as come in.
            size: (height, width) that goes out; None: by the stride, which is 1 unless it is given.
            module: Name of a node whose weights it shares; None: it has its own.
            fields: Further fields of `OpSpec`.
        """
        first, stride = inputs[0], fields.get("stride", 1)
        height, width = size or (out_size(first.height, stride), out_size(first.width, stride))
        spec = OpSpec(
            kind=kind,
            in_channels=first.channels,
            height=first.height,
            width=first.width,
            out_channels=first.channels if channels is None else channels,
            out_height=height,
            out_width=width,
            **fields,
        )
        return self.builder.op(name, spec, *inputs, module_name=module)

    def conv(  # noqa: PLR0913
        self,
        name: str,
        x: Value,
        channels: int,
        kernel: int | tuple[int, int] = 3,
        *,
        layers: str = "conv_bn_relu",
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        module: str | None = None,
    ) -> Value:
        """A convolution with its norm and activation, padded so that ceil(size / stride) pixels go out.

        Args:
            name: Of the node.
            x: What it reads.
            channels: That go out.
            kernel: Kernel size, or (along the height, along the width).
            layers: The chain; see `nas.ops.chains`.
            stride: Stride.
            dilation: Dilation.
            groups: Groups.
            module: As for `op`.
        """
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        fields: dict[str, Any] = {"kernel": height, "stride": stride, "dilation": dilation, "groups": groups}
        if width != height:
            fields["kernel_width"] = width
        return self.op(name, SAME_KIND.get(layers, layers), x, channels=channels, module=module, **fields)

    def depthwise(  # noqa: PLR0913
        self,
        name: str,
        x: Value,
        kernel: int | tuple[int, int] = 3,
        *,
        layers: str = "conv_bn_relu",
        stride: int = 1,
        dilation: int = 1,
        times: int = 1,
    ) -> Value:
        """A convolution with a group for each channel, and `times` as many channels out."""
        return self.conv(name, x, times * x.channels, kernel, layers=layers, stride=stride, dilation=dilation, groups=x.channels)

    def deconv(  # noqa: PLR0913
        self, name: str, x: Value, like: Value, channels: int, kernel: int = 3, *, layers: str = "deconv_bias", stride: int = 2
    ) -> Value:
        """A transposed convolution to the size of `like`, which is `stride` times that of `x` or up to `stride` - 1 pixels less."""
        return self.op(name, layers, x, like, channels=channels, size=(like.height, like.width), kernel=kernel, stride=stride)

    def resize(self, name: str, x: Value, like: Value, *, kind: str = "resize") -> Value:
        """`x` at the size of `like`: `resize` (centres of pixels), `resize_corners` or `resize_nearest`; the same size is kept."""
        same = (x.height, x.width) == (like.height, like.width)
        if same if self._passed is None else name in self._passed:
            self.passed.add(name)
            return x
        return self.op(name, kind, x, like, size=(like.height, like.width))

    def pool(self, name: str, x: Value, kernel: int, *, kind: str = "max_pool", stride: int = 2) -> Value:
        """`max_pool` or `avg_pool` over windows."""
        return self.op(name, kind, x, kernel=kernel, stride=stride)

    def pool_positions(self, name: str, x: Value) -> Value:
        """Where the largest value of each window of 2x2 pixels stands, for `unpool`."""
        return self.op(name, "pool_positions", x, kernel=2, stride=2)

    def unpool(self, name: str, x: Value, positions: Value, like: Value) -> Value:
        """`x` spread to the size of `like`, each value at the position in its window of 2x2 pixels."""
        return self.op(name, "unpool", x, positions, like, size=(like.height, like.width), kernel=2, stride=2)

    def halve(self, name: str, x: Value, channels: int, *, conv: str = "conv_bias", norm: str = "bn3_relu") -> Value:
        """Half the size: a 3x3 convolution, beside max pooling where channels grow; then norm and activation.

        The initial block of Paszke et al., "ENet", 2016, arXiv:1606.02147, as several networks repeat it.

        Args:
            name: What the names of its nodes begin with.
            x: What it reads.
            channels: That go out.
            conv: Chain of the convolution.
            norm: Chain of what follows.
        """
        grows = channels > x.channels
        y = self.conv(f"{name}.conv", x, channels - x.channels if grows else channels, layers=conv, stride=2)
        if grows:
            y = self.concat(f"{name}.concat", [y, self.pool(f"{name}.pool", x, 2)])
        return self.op(f"{name}.norm", norm, y)

    def bins(self, name: str, x: Value, bins: int, *, square: bool = False) -> Value:
        """Average pooling to a grid: of `bins` x `bins`, or of `bins` rows of nearly square bins."""
        if not square:
            return self.op(name, "bin_pool", x, size=(bins, bins), kernel=bins)
        return self.op(name, "square_bin_pool", x, size=(bins, columns(bins, x.height, x.width)), kernel=bins)

    def global_pool(self, name: str, x: Value, *, kind: str = "global_pool") -> Value:
        """One pixel: the average (`global_pool`) or the largest value (`global_max_pool`) of each map."""
        return self.op(name, kind, x, size=(1, 1))

    def relu(self, name: str, x: Value) -> Value:
        """ReLU."""
        return self.op(name, "relu", x)

    def add(self, name: str, *terms: Value) -> Value:
        """The sum of maps of one shape."""
        return self.builder.add(name, terms)

    def concat(self, name: str, values: Sequence[Value]) -> Value:
        """Concatenation along the channels."""
        return self.builder.concat(name, values)

    def classifier(self, name: str, x: Value, *, bias: bool = True) -> Value:
        """Scores of the classes: a 1x1 convolution."""
        return self.op(name, "classifier" if bias else "bare_conv", x, channels=self.num_classes)
