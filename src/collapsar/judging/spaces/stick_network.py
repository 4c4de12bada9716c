"""The network of a measuring stick, from float images in [0, 1] to features."""

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn


class StickEncoder(nn.Module):
    """A convolution, blocks that halve the image, and the maximum of each channel over all positions.

    A block is convolution, max pooling over 2x2, normalisation, SiLU, convolution, normalisation, SiLU; convolutions
    are 3x3. SiLU instead of ReLU keeps every feature alive.

    Args:
        stem_width: Channels of the first convolution.
        widths: Channels of each block; the last is the number of features.
    """

    def __init__(self, *, num_channels: int, stem_width: int, widths: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = [convolution(num_channels, stem_width), nn.BatchNorm2d(stem_width), nn.SiLU()]
        for in_width, width in pairwise((stem_width, *widths)):
            layers += [convolution(in_width, width), nn.MaxPool2d(2), nn.BatchNorm2d(width), nn.SiLU()]
            layers += [convolution(width, width), nn.BatchNorm2d(width), nn.SiLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Float[Tensor, "sample channel height width"]) -> Float[Tensor, "sample feature"]:
        features: Tensor = self.layers(images).amax(dim=(2, 3))
        return features


def convolution(in_width: int, out_width: int) -> nn.Conv2d:
    """A 3x3 convolution that keeps the image size; normalisation would cancel a bias, so there is none."""
    return nn.Conv2d(in_width, out_width, kernel_size=3, padding=1, bias=False)
