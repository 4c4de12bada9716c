"""What scikit-learn fits: on one thread, so that a chain's numbers do not depend on how many the machine has."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_info, threadpool_limits

from collapsar.cases.tables.measures import predict
from collapsar.drawing.nearest_mean import means_of
from collapsar.metrics.modes import fit_bins
from collapsar.models.analytic.analytic import Mixture


def seeded():
    return torch.Generator().manual_seed(0)


CLOUD = torch.randn(2000, 8, generator=seeded())
ROWS = CLOUD.double().numpy()
ROW_CLASSES = (CLOUD[:, 0] > 0).long().numpy()
MIXTURE = {"num_components": 5, "num_starts": 1, "max_steps": 3, "min_variance": 1e-4}

FITS = {
    "bins": lambda: fit_bins(CLOUD, num_bins=5, seed=0),
    "means": lambda: means_of(CLOUD, num_means=5, generator=seeded()),
    "mixture": lambda: Mixture(sample_shape=[8], **MIXTURE).fit(CLOUD, weights=None, generator=seeded()),
    "predictor": lambda: predict(LogisticRegression(), ROWS, ROW_CLASSES, test=ROWS, num_classes=2),
}


@pytest.mark.parametrize("fit", FITS)
def test_a_fit_takes_one_thread_whatever_it_may_take(fit, monkeypatch):
    taken = set()
    for kind in (KMeans, GaussianMixture, LogisticRegression):
        original = kind.fit

        def noted(self, *arguments, original=original, **others):
            taken.update(pool["num_threads"] for pool in threadpool_info())
            return original(self, *arguments, **others)

        monkeypatch.setattr(kind, "fit", noted)
    with threadpool_limits(2):
        FITS[fit]()
    assert taken == {1}


def test_clusters_are_the_same_for_any_number_of_threads():
    found = []
    for num_threads in (1, 2, 4):
        with threadpool_limits(num_threads):
            found.append(fit_bins(CLOUD, num_bins=5, seed=0).centres.numpy())
    assert all(np.array_equal(some, found[0]) for some in found)  # by bits: the same calls on the same shapes
