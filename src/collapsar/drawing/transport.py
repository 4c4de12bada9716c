"""The correction by optimal transport of drawn samples to real anchors, one minibatch at a time."""

from math import ceil

import torch

from collapsar.drawing.correction import Points, Reference, Targets, TowardsReal, stratified_choice
from collapsar.foundations.errors import UsageError, check_positive
from collapsar.foundations.seeding import make_generator

SMALLEST_REGULARISATION = 0.01  # the number of Sinkhorn steps grows with its inverse; below, the exact plan is faster
MOST_SINKHORN_STEPS = 1_000
SINKHORN_PRECISION = 1e-6  # error of the plan's marginals at which the steps end


class OptimalTransport(TowardsReal):
    """T is the barycentric map of an optimal transport plan from drawn samples to real anchors.

    The plan moves the equally weighted samples of a minibatch to equally weighted anchors at the cost of squared
    distance. T(z_i) is the mean of the anchors that sample i goes to, weighted by the plan (Ferradans et al. 2014,
    arXiv:1307.5551, eq. 15; minibatches: Fatras et al. 2020, arXiv:1910.04091). The anchors are drawn once, with each
    class in proportion. A minibatch has at most `batch_size` samples, and as many random anchors at most. At least
    `batch_size` samples are drawn; those beyond the wanted are dropped. `regularisation` is the weight of the plan's
    entropy (Cuturi 2013, arXiv:1306.0895) in units of the mean cost; null takes the exact plan.
    """

    name = "optimal_transport"
    recorded = ("strength", "num_anchors", "is_exact")

    def __init__(
        self, *, strength: int | float, num_anchors: int, batch_size: int, regularisation: int | float | None
    ) -> None:
        super().__init__(strength=strength)
        check_positive(**{"correction.num_anchors": num_anchors, "correction.batch_size": batch_size})
        if regularisation is not None and regularisation < SMALLEST_REGULARISATION:
            allowed = f"at least {SMALLEST_REGULARISATION}, or null for the exact plan"
            raise UsageError(f"correction.regularisation must be {allowed}: got {regularisation}")
        self.num_anchors, self.batch_size, self.least_drawn = num_anchors, batch_size, batch_size
        self.regularisation = None if regularisation is None else float(regularisation)
        self.is_exact = regularisation is None

    def prepare(self, reference: Reference) -> Targets:
        generator = make_generator(reference.seed, 0, "anchors")
        chosen = stratified_choice(reference.real, self.num_anchors, generator=generator)
        return reference.embed(reference.real[chosen])

    def destinations(self, points: Points, *, targets: Targets, generator: torch.Generator) -> Points:
        led_to = []
        for some in points.tensor_split(ceil(len(points) / self.batch_size)):
            anchors = targets
            if len(targets) > self.batch_size:
                anchors = targets[torch.randperm(len(targets), generator=generator)[: self.batch_size]]
            led_to.append(barycentres(some, anchors, regularisation=self.regularisation))
        return torch.cat(led_to)

    def check_sizes(self, *, num_real: int, num_classes: int) -> None:
        if self.num_anchors > num_real:
            most = f"at most the {num_real} real training samples"
            raise UsageError(f"correction.num_anchors must be {most}: got {self.num_anchors}; set fewer")


def barycentres(points: Points, anchors: Targets, *, regularisation: float | None) -> Points:
    """T of each point: the mean of its anchors in the optimal plan between two equally weighted point clouds."""
    import ot  # takes seconds

    costs = torch.cdist(points.double(), anchors.double()).square()
    if regularisation is None:
        plan = torch.from_numpy(ot.emd([], [], costs.numpy()))
    else:
        weight = regularisation * max(costs.mean().item(), torch.finfo(torch.float64).tiny)
        limits = {"numItermax": MOST_SINKHORN_STEPS, "stopThr": SINKHORN_PRECISION}
        plan = ot.sinkhorn([], [], costs, weight, method="sinkhorn_log", warn=False, **limits)
    shares = plan / plan.sum(1, keepdim=True)
    return (shares @ anchors.double()).to(points.dtype)
