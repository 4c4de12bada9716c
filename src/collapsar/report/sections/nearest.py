"""Late samples beside the real images nearest to them: copies, or a world of their own."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from collapsar.report.sections import panels
from collapsar.report.sections.films import cell_pixels, data_uri, encode, stored_images
from collapsar.study.chains import Chain
from collapsar.study.study import Study


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Samples above, and below each its nearest real image, as a PNG in a data URI."""

    uri: str
    generation: int
    num_pairs: int
    cell_pixels: int

    @property
    def pixels(self) -> int:
        """Width of the whole picture."""
        return self.cell_pixels * self.num_pairs


def content(study: Study) -> dict[str, Any] | None:
    """The last generation of each chain that stored the nearest real images."""
    return panels(study, pairs)


def pairs(chain: Chain) -> Pairs | None:
    """The last generation's first samples and their nearest real images; None if these were not stored."""
    generation = chain.last_generation
    nearest = stored_images(chain.folder, generation, "nearest")
    samples = stored_images(chain.folder, generation, "samples") if nearest is not None else None
    if nearest is None or samples is None or nearest.shape[1:] != samples.shape[1:]:
        return None
    count = min(len(samples), len(nearest), 10 if nearest.shape[-1] <= 32 else 6)
    stack = np.stack([samples[:count], nearest[:count]], axis=1)  # [sample, row, channel, height, width]
    return Pairs(
        uri=data_uri(encode(stack)),
        generation=generation,
        num_pairs=count,
        cell_pixels=cell_pixels(nearest.shape[-1]),
    )
