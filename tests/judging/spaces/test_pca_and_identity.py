"""Spaces without a network: principal axes of images, and vectors as they are."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sklearn.decomposition import PCA

from collapsar.data.real_data import RealData
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.judging.spaces.identity import IdentitySpace
from collapsar.judging.spaces.pca import PCASpace

CPU = torch.device("cpu")


def fit_pca(real, *, num_components, cache_dir: Path):
    return PCASpace(num_components=num_components, chunk_size=500).fit(real, device=CPU, cache_dir=cache_dir)


def test_pca_agrees_with_scikit_learn_up_to_sign(digits, tmp_path):
    space = fit_pca(digits, num_components=10, cache_dir=tmp_path)
    reference = PCA(10, svd_solver="full").fit(digits.train.values.flatten(1).double().numpy() / 255)
    expected = torch.tensor(
        reference.transform(digits.test.values.flatten(1).double().numpy() / 255), dtype=torch.float32
    )
    torch.testing.assert_close(space.extract(digits.test.values).abs(), expected.abs(), rtol=1e-4, atol=1e-5)


def test_pca_on_all_axes_preserves_distances(digits, tmp_path):
    space = fit_pca(digits, num_components=64, cache_dir=tmp_path)
    pixels = digits.test.values.flatten(1) / 255
    torch.testing.assert_close(
        torch.pdist(space.extract(digits.test.values)), torch.pdist(pixels), rtol=1e-4, atol=1e-5
    )


def test_pca_has_no_more_features_than_the_samples_dimensions(tmp_path):
    vectors = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    real = RealData(train=Samples(vectors), test=Samples(vectors), num_classes=0)
    space = fit_pca(real, num_components=64, cache_dir=tmp_path)
    assert space.feature_dim == 3
    torch.testing.assert_close(torch.pdist(space.extract(vectors)), torch.pdist(vectors), rtol=1e-4, atol=1e-5)


def test_pca_is_fitted_on_training_samples_only(digits, tmp_path):
    space = fit_pca(digits, num_components=8, cache_dir=tmp_path)
    inverted_test = fit_pca(
        replace(digits, test=Samples(255 - digits.test.values)), num_components=8, cache_dir=tmp_path
    )
    assert torch.equal(space.extract(digits.test.values), inverted_test.extract(digits.test.values))


def test_pca_has_no_classes(digits, tmp_path):
    space = fit_pca(digits, num_components=8, cache_dir=tmp_path)
    with pytest.raises(UsageError, match="'pca' has no classes"):
        space.classify(space.extract(digits.test.values))


def test_identity_features_are_the_vectors(tmp_path):
    vectors = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    real = RealData(train=Samples(vectors), test=Samples(vectors), num_classes=0)
    assert torch.equal(IdentitySpace().fit(real, device=CPU, cache_dir=tmp_path).extract(vectors), vectors)
