import contextlib
import io
import itertools
import math
from dataclasses import asdict, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prdc import compute_prdc
from torch_fidelity.metric_prc import calculate_precision_recall_full

from collapsar.foundations.errors import UsageError
from collapsar.metrics.neighbours import nearest
from collapsar.metrics.neighbours.scores import (
    NeighbourScores,
    RealSide,
    clipped_scores,
    count_members,
    neighbour_scores,
    prepare_real_side,
    score_classes,
    summarise,
    symmetric_scores,
    tail_recall,
)

FIELDS = ("precision", "recall", "density", "coverage")


def draw(num_samples, feature_dim, *, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_samples, feature_dim, generator=generator, dtype=dtype)


def draw_modes(num_samples, feature_dim, *, num_modes, seed=0, radius=10.0, dtype=torch.float64):
    labels = torch.arange(num_samples) % num_modes
    centres = radius * draw(num_modes, feature_dim, seed=99, dtype=dtype)
    return centres[labels] + draw(num_samples, feature_dim, seed=seed, dtype=dtype), labels


def reference_scores(*, real, synthetic, num_neighbours):
    with contextlib.redirect_stdout(io.StringIO()):
        return compute_prdc(real.numpy(), synthetic.numpy(), num_neighbours)


def brute_force(*, real, synthetic, num_neighbours):
    """The definitions with differences in float64 and closed balls, one pair after the other."""

    def distances(x, y):
        return (x.double()[:, None] - y.double()[None]).square().sum(2).sqrt()

    real_radii = distances(real, real).sort(1).values[:, num_neighbours]
    synthetic_radii = distances(synthetic, synthetic).sort(1).values[:, num_neighbours]
    across = distances(real, synthetic)
    in_real, in_synthetic = across <= real_radii[:, None], across <= synthetic_radii[None]
    return NeighbourScores(
        precision=float(in_real.any(0).double().mean()),
        recall=float(in_synthetic.any(1).double().mean()),
        density=float(in_real.sum(0).double().mean()) / num_neighbours,
        coverage=float(in_real.any(1).double().mean()),
    )


def assert_equal_scores(scores, expected, tolerance=1e-6):
    expected = expected if isinstance(expected, dict) else asdict(expected)
    for field in FIELDS:
        assert getattr(scores, field) == pytest.approx(float(expected[field]), abs=tolerance), field


SIZES = [(300, 200, 2), (257, 400, 16), (500, 500, 64), (64, 100, 200)]


@pytest.mark.parametrize("num_neighbours", [1, 3, 5, 10])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("num_real", "num_synthetic", "feature_dim"), SIZES)
def test_random_features_equal_prdc(num_real, num_synthetic, feature_dim, dtype, num_neighbours):
    real = draw(num_real, feature_dim, dtype=dtype)
    synthetic = 0.9 * draw(num_synthetic, feature_dim, seed=1, dtype=dtype) + 0.1
    expected = reference_scores(real=real, synthetic=synthetic, num_neighbours=num_neighbours)
    assert_equal_scores(neighbour_scores(real=real, synthetic=synthetic, num_neighbours=num_neighbours), expected)


@pytest.mark.parametrize("num_neighbours", [1, 3, 5, 10])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_clustered_features_equal_prdc(dtype, num_neighbours):
    real, _ = draw_modes(700, 16, num_modes=10, radius=100.0, dtype=dtype)
    synthetic, _ = draw_modes(500, 16, num_modes=7, radius=100.0, seed=1, dtype=dtype)
    expected = reference_scores(real=real, synthetic=synthetic, num_neighbours=num_neighbours)
    assert_equal_scores(neighbour_scores(real=real, synthetic=synthetic, num_neighbours=num_neighbours), expected)


@pytest.mark.parametrize("num_neighbours", [1, 3, 5, 10])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_and_recall_equal_torch_fidelity(dtype, num_neighbours):
    real, synthetic = draw(400, 16, dtype=dtype), 0.9 * draw(300, 16, seed=1, dtype=dtype)
    # Its own distances are float32 products where the features are: give it the same values in float64.
    precision, recall = calculate_precision_recall_full(synthetic.double(), real.double(), num_neighbours)
    scores = neighbour_scores(real=real, synthetic=synthetic, num_neighbours=num_neighbours)
    assert scores.precision == pytest.approx(precision, abs=1e-6)
    assert scores.recall == pytest.approx(recall, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_offset_features_score_as_centred_ones(dtype):
    real, synthetic = draw(600, 8, dtype=dtype) + 1e4, 0.9 * draw(500, 8, seed=1, dtype=dtype) + 1e4
    offset = neighbour_scores(real=real, synthetic=synthetic)
    centred = neighbour_scores(real=real.double() - 1e4, synthetic=synthetic.double() - 1e4)
    assert offset == centred
    assert offset == brute_force(real=real, synthetic=synthetic, num_neighbours=5)


@pytest.mark.parametrize("scale", [2.0**-900, 2.0**900])
def test_scale_loses_no_digit(scale):
    """Squares of such features would be zero or infinite."""
    real, synthetic = draw(300, 8), draw(250, 8, seed=1)
    scores = neighbour_scores(real=real * scale, synthetic=synthetic * scale, num_neighbours=5)
    assert scores == neighbour_scores(real=real, synthetic=synthetic, num_neighbours=5)


def test_tight_clusters_far_apart_are_told_apart_in_float32():
    """Distances of 1e-3 at a distance of 100 from the centre: the float32 product alone would see noise."""
    centres = torch.cat([draw(4, 6, dtype=torch.float32) * 100.0] * 50)
    real, synthetic = centres + 1e-3 * draw(200, 6), centres + 2e-3 * draw(200, 6, seed=1)
    real, synthetic = real.float(), synthetic.float()
    scores = neighbour_scores(real=real, synthetic=synthetic, num_neighbours=3)
    assert_equal_scores(scores, brute_force(real=real, synthetic=synthetic, num_neighbours=3), tolerance=1e-9)


@pytest.mark.parametrize(("feature_dim", "seed"), [(1, 0), (1, 1), (1, 2), (8, 0)])
def test_clusters_that_products_in_float64_blur_are_still_told_apart(feature_dim, seed):
    """Radii of 1e-6 of the distance from the centre: the error of a product is then a hundredth of their square."""
    centres = draw(5, feature_dim, seed=10 + seed) * 50
    real = centres[torch.arange(460) % 5] + 0.01 * draw(460, feature_dim, seed=20 + seed)
    synthetic = centres[torch.arange(430) % 3] + 0.02 * draw(430, feature_dim, seed=30 + seed)
    expected = brute_force(real=real, synthetic=synthetic, num_neighbours=1)
    assert_equal_scores(neighbour_scores(real=real, synthetic=synthetic, num_neighbours=1), expected)


@pytest.mark.parametrize("scale", [0.05, 0.3, 3.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_crowded_balls_are_counted_like_sparse_ones(dtype, scale):
    """A shrunken set lies in many real balls at once, where whole tiles are counted and not groups."""
    real, synthetic = draw(400, 32, dtype=dtype), scale * draw(300, 32, seed=1, dtype=dtype)
    expected = brute_force(real=real, synthetic=synthetic, num_neighbours=5)
    assert_equal_scores(neighbour_scores(real=real, synthetic=synthetic), expected, tolerance=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_duplicated_features_score_by_the_definition(dtype):
    real = draw(60, 5, dtype=dtype).repeat(4, 1)
    scores = neighbour_scores(real=real, synthetic=real[:120].clone(), num_neighbours=3)
    assert scores == NeighbourScores(precision=1.0, recall=1.0, density=4 / 3, coverage=1.0)


@pytest.mark.parametrize(("side", "copies"), [(3, 1), (16, 1), (3, 300), (16, 20)])
def test_ties_of_a_rotated_grid_count_as_inside(side, copies):
    """Rounding spreads the distances of a rotated grid around 1; few such ties are settled singly, crowds together.

    On the small grid most groups of references have hits on and whole tiles are counted, on the large one few have.
    """
    grid = torch.cartesian_prod(torch.arange(float(side)), torch.arange(float(side))).double()
    rotation = torch.linalg.qr(draw(2, 2))[0]
    real, synthetic = grid, grid[::2].repeat_interleave(copies, 0)
    expected = brute_force(real=real, synthetic=synthetic, num_neighbours=4)
    assert_equal_scores(
        neighbour_scores(real=real @ rotation, synthetic=synthetic @ rotation, num_neighbours=4), expected, 1e-12
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ties_on_a_grid_count_as_inside(dtype):
    """On the integers every k-th neighbour is a tie: the balls of radius 1 touch both neighbours."""
    real = torch.arange(-20.0, 21.0, dtype=dtype)[:, None]
    synthetic = torch.arange(-21.0, 23.0, dtype=dtype)[:, None]
    scores = neighbour_scores(real=real, synthetic=synthetic, num_neighbours=1)
    assert scores == brute_force(real=real, synthetic=synthetic, num_neighbours=1)
    assert scores.precision == 43 / 44


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("feature_dim", [1, 64])
def test_point_mass_generator_has_no_recall(dtype, feature_dim):
    real = draw(300, feature_dim, dtype=dtype)
    synthetic = real.mean(0, keepdim=True).repeat(200, 1) + 0.01
    side = prepare_real_side(real, num_neighbours=5)
    members = count_members(real=side, synthetic=synthetic)
    scores = summarise(members, real=side)
    assert scores.recall == 0.0
    assert symmetric_scores(members) == {"symmetric_precision": 0.0, "symmetric_recall": 0.0}
    every = asdict(scores) | clipped_scores(members, real=side)
    assert all(math.isfinite(value) for value in every.values())


def test_a_constant_on_both_sides_is_perfect():
    real = torch.full((40, 3), 7.0)
    scores = neighbour_scores(real=real, synthetic=real[:30].clone(), num_neighbours=5)
    assert (scores.precision, scores.recall, scores.coverage) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("tile_elements", [1, 1000, 2**16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tiles_do_not_change_the_result(tile_elements, dtype, monkeypatch):
    real, synthetic = draw(333, 12, dtype=dtype), 0.9 * draw(210, 12, seed=1, dtype=dtype)
    whole = prepare_real_side(real, num_neighbours=5)
    expected = count_members(real=whole, synthetic=synthetic)
    monkeypatch.setattr(nearest, "TILE_ELEMENTS", tile_elements)
    tiled = prepare_real_side(real, num_neighbours=5)
    assert torch.equal(whole.radii, tiled.radii)
    found = count_members(real=tiled, synthetic=synthetic)
    for name, value in vars(expected).items():
        assert torch.equal(value, getattr(found, name)), name


def test_coarse_products_do_not_change_the_result():
    real, synthetic = draw(200, 8, dtype=torch.float32), draw(150, 8, seed=1, dtype=torch.float32)
    expected = neighbour_scores(real=real, synthetic=synthetic)
    torch.set_float32_matmul_precision("medium")
    try:
        assert neighbour_scores(real=real, synthetic=synthetic) == expected
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_device_does_not_change_the_result():
    real, synthetic = draw(2000, 64, dtype=torch.float32), 0.9 * draw(1500, 64, seed=1, dtype=torch.float32)
    assert neighbour_scores(real=real.cuda(), synthetic=synthetic.cuda()) == neighbour_scores(
        real=real, synthetic=synthetic
    )


def test_equal_distributions_have_the_expected_coverage_and_density_one():
    num_real, num_synthetic, num_neighbours = 400, 300, 3
    scores = [
        neighbour_scores(
            real=draw(num_real, 4, seed=seed),
            synthetic=draw(num_synthetic, 4, seed=seed + 1000),
            num_neighbours=num_neighbours,
        )
        for seed in range(30)
    ]
    missed = math.prod(  # of coverage: 1 - prod_{i=1..k} (N - i) / (N + M - i) (Naeem et al. 2020)
        (num_real - i) / (num_real + num_synthetic - i) for i in range(1, num_neighbours + 1)
    )
    assert sum(score.coverage for score in scores) / 30 == pytest.approx(1 - missed, abs=0.01)
    assert sum(score.density for score in scores) / 30 == pytest.approx(1.0, abs=0.02)


def test_dropping_modes_lowers_recall_and_coverage_but_not_precision():
    real, _ = draw_modes(1000, 8, num_modes=10)
    full, labels = draw_modes(1000, 8, num_modes=10, seed=1)
    complete = neighbour_scores(real=real, synthetic=full)
    dropped = neighbour_scores(real=real, synthetic=full[labels < 5])
    assert dropped.recall < complete.recall - 0.3
    assert dropped.coverage < complete.coverage - 0.3
    assert dropped.precision == pytest.approx(complete.precision, abs=0.03)


def test_noise_lowers_precision_but_not_recall():
    real, synthetic = draw(1000, 8), draw(1000, 8, seed=1)
    clean = neighbour_scores(real=real, synthetic=synthetic)
    noisy = neighbour_scores(real=real, synthetic=synthetic + 1.5 * draw(1000, 8, seed=2))
    assert noisy.precision < clean.precision - 0.3
    assert noisy.recall >= clean.recall - 0.02


def test_shrinking_lowers_recall_where_coverage_is_blind():
    real, synthetic = draw(1500, 32), draw(1500, 32, seed=1)
    whole = neighbour_scores(real=real, synthetic=synthetic)
    shrunk = neighbour_scores(real=real, synthetic=0.8 * synthetic)
    assert shrunk.recall < whole.recall - 0.4
    assert shrunk.coverage > whole.coverage - 0.01


def test_swapping_the_arguments_swaps_precision_and_recall():
    real, synthetic = draw(300, 6), 1.3 * draw(250, 6, seed=1)
    there, back = neighbour_scores(real=real, synthetic=synthetic), neighbour_scores(real=synthetic, synthetic=real)
    assert (there.precision, there.recall) == (back.recall, back.precision)


def test_a_lost_class_empties_its_own_recall_and_hardly_moves_the_whole():
    real, real_labels = draw_modes(1000, 8, num_modes=10)
    synthetic, labels = draw_modes(1000, 8, num_modes=10, seed=1)
    side = prepare_real_side(real, num_neighbours=5)
    members = count_members(real=side, synthetic=synthetic[labels != 3])
    scores = score_classes(members.is_recalled, real_labels=real_labels, num_classes=10)
    assert min(scores, key=scores.__getitem__) == 3
    assert scores[3] < 0.05
    macro_mean = sum(scores.values()) / 10
    assert macro_mean == pytest.approx(summarise(members, real=side).recall, abs=1e-9)
    assert macro_mean > 0.7
    assert score_classes(members.is_covered, real_labels=real_labels, num_classes=10)[3] < 0.05


def test_tails_are_lost_before_the_bulk():
    real, synthetic = draw(2000, 4), draw(2000, 4, seed=1)
    side = prepare_real_side(real, num_neighbours=5)
    members = count_members(real=side, synthetic=synthetic[synthetic.norm(dim=1) < 2.5])
    assert tail_recall(members, real=side) < summarise(members, real=side).recall - 0.3


def test_symmetric_scores_are_the_minimum_over_both_sides_balls():
    real, synthetic = draw(300, 6), 2.0 * draw(250, 6, seed=1)
    side = prepare_real_side(real, num_neighbours=5)
    members = count_members(real=side, synthetic=synthetic)
    forward = neighbour_scores(real=real, synthetic=synthetic)
    backward = neighbour_scores(real=synthetic, synthetic=real)
    found = symmetric_scores(members)
    assert found["symmetric_precision"] == min(forward.precision, backward.coverage)
    assert found["symmetric_recall"] == min(forward.recall, forward.coverage)


@pytest.mark.parametrize("share", [1.0, 0.7, 0.4, 0.1])
def test_clipped_scores_are_the_share_of_good_samples(share):
    """Salvy et al. 2025: linear in the share of samples that are drawn from the real distribution."""
    num_samples = 2000
    real, synthetic = draw(num_samples, 8), draw(num_samples, 8, seed=1)
    num_good = round(share * num_samples)
    synthetic[num_good:] += 1000.0
    side = prepare_real_side(real, num_neighbours=5)
    members = count_members(real=side, synthetic=synthetic)
    found = clipped_scores(members, real=side)
    assert found["clipped_density"] == pytest.approx(share, abs=0.05)
    assert found["clipped_coverage"] == pytest.approx(share, abs=0.08)


def test_real_side_survives_the_disk(tmp_path):
    side = prepare_real_side(draw(100, 4), num_neighbours=5)
    torch.save(asdict(side), tmp_path / "real.pt")
    loaded = RealSide(**torch.load(tmp_path / "real.pt", weights_only=True))
    synthetic = draw(80, 4, seed=1)
    assert summarise(count_members(real=loaded, synthetic=synthetic), real=loaded) == neighbour_scores(
        real=side.features, synthetic=synthetic
    )


BAD_FEATURES = {
    "1 NaN or infinite": torch.tensor([[1.0, math.nan]] + [[0.0, 1.0]] * 6),
    "2 NaN or infinite": torch.tensor([[math.inf, -math.inf]] + [[0.0, 1.0]] * 6),
    "at least 2 samples: got 0": torch.zeros(0, 2),
    "num_samples, feature_dim": torch.zeros(7),
    "float32 or float64": torch.zeros(7, 2, dtype=torch.int64),
    "same dimension: got 2 and 3": torch.zeros(7, 3),
    "got 5 for 5 samples": torch.zeros(5, 2),
}


@pytest.mark.parametrize("message", BAD_FEATURES)
def test_bad_features_are_refused_with_a_sentence(message):
    with pytest.raises(UsageError, match=message):
        neighbour_scores(real=draw(10, 2), synthetic=BAD_FEATURES[message])


@pytest.mark.parametrize(("num_neighbours", "num_samples"), [(0, 10), (-1, 10), (8, 8), (10, 10)])
def test_num_neighbours_out_of_range_is_refused(num_neighbours, num_samples):
    with pytest.raises(UsageError, match=f"got {num_neighbours} for {num_samples} samples"):
        neighbour_scores(real=draw(10, 2), synthetic=draw(8, 2), num_neighbours=num_neighbours)


def test_classes_without_real_samples_have_no_score_and_wrong_labels_are_refused():
    side = prepare_real_side(draw(20, 2), num_neighbours=2)
    is_recalled = count_members(real=side, synthetic=draw(10, 2)).is_recalled
    expected = {1: float(is_recalled.double().mean())}
    assert score_classes(is_recalled, real_labels=torch.ones(20, dtype=torch.int64), num_classes=3) == expected
    for labels, message in ((torch.zeros(19), "one for each sample"), (torch.full((20,), 3), r"0\.\.2: got 3\.\.3")):
        with pytest.raises(UsageError, match=message):
            score_classes(is_recalled, real_labels=labels.long(), num_classes=3)


@st.composite
def feature_pairs(draw_value):
    seed = draw_value(st.integers(0, 2**31))
    num_real, num_synthetic = draw_value(st.integers(12, 90)), draw_value(st.integers(12, 90))
    feature_dim = draw_value(st.integers(1, 12))
    scale, shift = draw_value(st.floats(0.1, 3.0)), draw_value(st.floats(-2.0, 2.0))
    real = draw(num_real, feature_dim, seed=seed)
    return real, scale * draw(num_synthetic, feature_dim, seed=seed + 1) + shift


@settings(max_examples=25, deadline=None)
@given(pair=feature_pairs(), seed=st.integers(0, 1000))
def test_order_of_samples_does_not_matter(pair, seed):
    real, synthetic = pair
    generator = torch.Generator().manual_seed(seed)
    shuffled = [features[torch.randperm(len(features), generator=generator)] for features in pair]
    expected = neighbour_scores(real=real, synthetic=synthetic)
    assert_equal_scores(neighbour_scores(real=shuffled[0], synthetic=shuffled[1]), expected, tolerance=1e-12)


@settings(max_examples=25, deadline=None)
@given(pair=feature_pairs())
def test_scores_stay_in_range_and_grow_with_k(pair):
    real, synthetic = pair
    scores = [neighbour_scores(real=real, synthetic=synthetic, num_neighbours=k) for k in (1, 2, 5, 10)]
    for score in scores:
        assert all(0.0 <= getattr(score, field) <= 1.0 for field in ("precision", "recall", "coverage"))
        assert score.density >= 0.0
    for smaller, larger in itertools.pairwise(scores):
        assert all(getattr(smaller, f) <= getattr(larger, f) for f in ("precision", "recall", "coverage"))


@settings(max_examples=25, deadline=None)
@given(pair=feature_pairs(), scale=st.floats(1e-6, 1e6), shift=st.floats(-1e3, 1e3), seed=st.integers(0, 1000))
def test_rotation_shift_and_common_scale_do_not_matter(pair, scale, shift, seed):
    real, synthetic = pair
    rotation = torch.linalg.qr(draw(real.shape[1], real.shape[1], seed=seed)).Q
    moved = [(features @ rotation + shift) * scale for features in pair]
    expected = neighbour_scores(real=real, synthetic=synthetic)
    assert neighbour_scores(real=moved[0], synthetic=moved[1]) == expected


@settings(max_examples=25, deadline=None)
@given(pair=feature_pairs(), num_neighbours=st.integers(1, 8))
def test_scores_equal_the_definition_pair_by_pair(pair, num_neighbours):
    real, synthetic = (features.float() for features in pair)
    expected = brute_force(real=real, synthetic=synthetic, num_neighbours=num_neighbours)
    assert_equal_scores(
        neighbour_scores(real=real, synthetic=synthetic, num_neighbours=num_neighbours), expected, tolerance=1e-12
    )


def test_saved_side_with_other_k_is_refused_for_few_samples():
    side = replace(prepare_real_side(draw(20, 2), num_neighbours=2), num_neighbours=9)
    with pytest.raises(UsageError, match="got 9 for 5 samples"):
        count_members(real=side, synthetic=draw(5, 2))
