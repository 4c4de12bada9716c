"""The correction that moves drawn samples to the nearest of a few means of real samples."""

import warnings

import torch
from threadpoolctl import threadpool_limits

from collapsar.drawing.correction import Points, Reference, Targets, TowardsReal
from collapsar.foundations.errors import UsageError, check_positive
from collapsar.foundations.seeding import make_generator

POINTS_PER_CHUNK = 1024  # bounds memory only


class NearestMean(TowardsReal):
    """T(z) is the nearest of the K-means centres of real samples: `num_means` of each class, if there are classes.

    A class that has fewer samples has these as its centres. A strength of 1 is the projection of the paper. Source:
    Gillman et al. 2024, "Self-correcting self-consuming loops" (ICML, arXiv:2402.07087).
    """

    name = "nearest_mean"
    recorded = ("strength", "num_means")

    def __init__(self, *, strength: int | float, num_means: int) -> None:
        super().__init__(strength=strength)
        check_positive(**{"correction.num_means": num_means})
        self.num_means = num_means

    def prepare(self, reference: Reference) -> Targets:
        points, labels = reference.embed(reference.real), reference.real.labels
        generator = make_generator(reference.seed, 0, "means")
        classes = [points] if labels is None else [points[labels == number] for number in labels.unique()]
        return torch.cat([means_of(some, num_means=self.num_means, generator=generator) for some in classes])

    def destinations(self, points: Points, *, targets: Targets, generator: torch.Generator) -> Points:
        return targets[torch.cat([torch.cdist(some, targets).argmin(1) for some in points.split(POINTS_PER_CHUNK)])]

    def check_sizes(self, *, num_real: int, num_classes: int) -> None:
        most = num_real // max(num_classes, 1)
        if self.num_means > most:
            allowed = f"at most {most}, the real training samples in a class"
            raise UsageError(f"correction.num_means must be {allowed}: got {self.num_means}; set fewer")


def means_of(points: Points, *, num_means: int, generator: torch.Generator) -> Targets:
    """K-means centres of the points; the points themselves if there are at most `num_means`."""
    if len(points) <= num_means:
        return points
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    start = int(torch.randint(2**31, (), generator=generator))
    with threadpool_limits(limits=1), warnings.catch_warnings():  # several threads sum in another order
        warnings.simplefilter("ignore", ConvergenceWarning)  # raised if samples coincide
        found = KMeans(num_means, random_state=start).fit(points.double().numpy())
    return torch.from_numpy(found.cluster_centers_).to(points.dtype)
