"""Corrections: towards what samples move, how far, and from which weights they are drawn."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from collapsar.config.composition import build
from collapsar.drawing.correction import Reference, check_correction, stratified_choice
from collapsar.drawing.extrapolation import Extrapolation, extrapolated
from collapsar.drawing.nearest_mean import NearestMean, means_of
from collapsar.drawing.partial_samples import PartialSamples, is_redrawn, shuffled_rounds
from collapsar.drawing.transport import OptimalTransport, barycentres
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.models.analytic.analytic import Categorical, Gaussian
from collapsar.models.bias import UNBIASED, TemperedLikelihood
from collapsar.models.flow.flow import Flow
from collapsar.models.gan.gan import GAN
from collapsar.models.generative import GenerativeModel
from collapsar.models.vae.vae import VAE
from tiny_chains import compose_settings
from tiny_models import FLOW_SETTINGS, GAN_SETTINGS, VAE_SETTINGS

NUM_REAL, NUM_CLASSES = 90, 3
TRANSPORT = {"num_anchors": 30, "batch_size": 30, "regularisation": 0.05}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def made(model_class, settings, *, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model_class(**settings).eval()


@pytest.fixture(scope="module")
def vae():
    return made(VAE, VAE_SETTINGS | {"sample_from": "likelihood"})


@pytest.fixture(scope="module")
def gan():
    return made(GAN, GAN_SETTINGS)


@pytest.fixture(scope="module")
def flow():
    return made(Flow, FLOW_SETTINGS | {"sample_shape": [2], "width": 2})


def real_images():
    values = torch.randint(256, (NUM_REAL, 1, 8, 8), generator=seeded(5)).to(torch.uint8)
    return Samples(values, torch.arange(NUM_REAL) % NUM_CLASSES)


def real_vectors():
    labels = torch.arange(NUM_REAL) % NUM_CLASSES
    return Samples(torch.randn(NUM_REAL, 2, generator=seeded(6)) + 5.0 * labels.unsqueeze(1), labels)


def reference_of(correction, *, real, first=None):
    return Reference(
        correction=correction,
        real=real,
        seed=0,
        has_encoder=first is not None and first.encode is not None,
        load_first=lambda: first,
    )


def sampler(model, *, seed=1):
    generator = seeded(seed)
    return lambda num_samples: model.sample(num_samples, generator)


def corrected(correction, model, *, real, num_samples=60, first=None, draw=None, bias=UNBIASED):
    """Samples of a model after a correction, drawn at generation 1."""
    reference = reference_of(correction, real=real, first=first or model)
    return reference.corrected(draw or sampler(model), model=model, bias=bias, generation=1)(num_samples)


class Cloud(GenerativeModel):
    """A model of vectors, which has no encoder."""

    name, is_trained_in_steps = "cloud", False

    def sample(self, num_samples, generator, *, bias=UNBIASED):
        return Samples(torch.randn(num_samples, 2, generator=generator) * 3)


TOWARDS_REAL = {
    "sinkhorn": lambda strength: OptimalTransport(strength=strength, **TRANSPORT),
    "exact": lambda strength: OptimalTransport(strength=strength, **TRANSPORT | {"regularisation": None}),
    "nearest_mean": lambda strength: NearestMean(strength=strength, num_means=4),
}


# Towards real samples


@pytest.mark.parametrize("kind", TOWARDS_REAL)
@pytest.mark.parametrize("family", ["vae", "gan", "flow", "cloud"])
def test_a_strength_of_0_moves_nothing(kind, family, request):
    model = Cloud() if family == "cloud" else request.getfixturevalue(family)
    real = real_images() if family in ("vae", "gan") else real_vectors()
    moved = corrected(TOWARDS_REAL[kind](0), model, real=real)
    assert torch.equal(moved.values, sampler(model)(60).values)


@pytest.mark.parametrize("kind", TOWARDS_REAL)
@pytest.mark.parametrize("family", ["vae", "gan", "flow", "cloud"])
def test_samples_come_nearer_to_where_they_are_led_the_stronger_it_is(kind, family, request, monkeypatch):
    model = Cloud() if family == "cloud" else request.getfixturevalue(family)
    real = real_images() if family in ("vae", "gan") else real_vectors()

    def distance(strength):
        """From where samples end up, before they are decoded, to where they are led."""
        correction = TOWARDS_REAL[kind](strength)
        reference = reference_of(correction, real=real, first=model)
        before = reference.embed(sampler(model)(60))
        led_to = correction.destinations(before, targets=reference.prepared, generator=seeded(2))
        reached = [before]
        monkeypatch.setattr(Reference, "restore", lambda self, points, *, like, **_: reached.append(points) or like)
        reference.corrected(sampler(model), model=model, bias=UNBIASED, generation=1)(60)
        return (reached[-1] - led_to).norm(dim=1).mean().item()

    distances = [distance(strength) for strength in (0, 0.25, 0.5, 1)]
    assert distances == pytest.approx([distances[0] * share for share in (1, 0.75, 0.5, 0)], rel=1e-3, abs=1e-4)


def test_moved_vectors_lie_nearer_to_the_real_ones():
    def distance(strength):
        moved = corrected(TOWARDS_REAL["exact"](strength), Cloud(), real=real_vectors()).values
        return torch.cdist(moved, real_vectors().values).amin(1).mean().item()

    distances = [distance(strength) for strength in (0, 0.3, 0.6, 1)]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] == pytest.approx(0, abs=1e-3)


def test_images_of_a_vae_are_moved_in_the_latents_of_generation_0_and_decoded_by_it(vae):
    first = made(VAE, VAE_SETTINGS, seed=9)
    drawn = sampler(vae)(60)
    latents = corrected(TOWARDS_REAL["nearest_mean"](1), vae, real=real_images(), first=first)
    means = reference_of(TOWARDS_REAL["nearest_mean"](1), real=real_images(), first=first).prepared
    nearest = means[torch.cdist(first.encode(drawn), means).argmin(1)]
    assert torch.equal(latents.values, first.render(nearest, torch.Generator()))


def test_images_of_a_gan_are_moved_as_they_are(gan):
    moved = corrected(TOWARDS_REAL["exact"](1), gan, real=real_images())
    distances = torch.cdist(moved.values.float().flatten(1), real_images().values.float().flatten(1))
    assert distances.amin(1).max() == 0  # with as many anchors as samples each goes to one of its own


def test_a_biased_decoder_stays_biased_when_moved_samples_are_decoded(vae, monkeypatch):
    spreads = []

    def render(self, latents, generator, *, labels=None, likelihood_spread=1.0):
        spreads.append(likelihood_spread)
        return torch.zeros(len(latents), 1, 8, 8, dtype=torch.uint8)

    drawn = sampler(vae)
    monkeypatch.setattr(VAE, "render", render)
    corrected(TOWARDS_REAL["exact"](1), vae, real=real_images(), draw=drawn, bias=TemperedLikelihood(spread=0.25))
    assert spreads == [1.0, 0.25]  # to draw, as the test does without a bias, and to move


def test_labels_of_drawn_samples_are_kept():
    class Labelled(Cloud):
        def sample(self, num_samples, generator, *, bias=UNBIASED):
            return Samples(super().sample(num_samples, generator).values, torch.arange(num_samples))

    moved = corrected(TOWARDS_REAL["exact"](1), Labelled(), real=real_vectors(), num_samples=20)
    assert moved.labels.tolist() == list(range(20))


# Optimal transport


def test_the_exact_plan_between_two_clouds_of_one_size_is_the_best_assignment():
    points, anchors = (torch.randn(6, 2, generator=seeded(seed)) for seed in (1, 2))
    rows, columns = linear_sum_assignment(torch.cdist(points, anchors).square().numpy())
    assert rows.tolist() == list(range(6))
    torch.testing.assert_close(barycentres(points, anchors, regularisation=None), anchors[columns])


def test_with_half_as_many_anchors_two_points_share_one():
    points = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
    led_to = barycentres(points, torch.tensor([[9.0], [2.0]]), regularisation=None)
    assert led_to.tolist() == [[2.0], [2.0], [9.0], [9.0]]


@given(st.integers(0, 50))
def test_a_plan_keeps_the_mean_of_the_anchors(seed):
    points, anchors = (torch.randn(size, 3, generator=seeded(seed + size)) for size in (7, 11))
    for regularisation in (None, 0.1):
        led_to = barycentres(points, anchors, regularisation=regularisation)
        torch.testing.assert_close(led_to.mean(0), anchors.mean(0), rtol=1e-3, atol=1e-3)


def test_sinkhorn_comes_to_the_exact_plan_as_its_regularisation_falls():
    points, anchors = (torch.randn(8, 2, generator=seeded(seed)) for seed in (1, 2))
    exact = barycentres(points, anchors, regularisation=None)
    errors = [
        (barycentres(points, anchors, regularisation=weight) - exact).norm().item() for weight in (1.0, 0.1, 0.01)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.1 * errors[0]


def test_points_that_are_all_the_same_go_to_the_mean_of_the_anchors():
    anchors = torch.zeros(4, 2)
    assert torch.equal(barycentres(torch.zeros(3, 2), anchors, regularisation=0.05), torch.zeros(3, 2))


def test_anchors_have_the_shares_of_their_classes():
    labels = torch.cat([torch.full((size,), number) for number, size in enumerate((60, 30, 10))])
    samples = Samples(torch.arange(100.0).unsqueeze(1), labels)
    chosen = stratified_choice(samples, 10, generator=seeded())
    assert labels[chosen].bincount().tolist() == [6, 3, 1]
    assert len(stratified_choice(samples, 100, generator=seeded()).unique()) == 100


def test_a_few_samples_are_moved_with_a_whole_minibatch():
    sizes = []

    def draw(num_samples):
        sizes.append(num_samples)
        return sampler(Cloud())(num_samples)

    few = corrected(TOWARDS_REAL["exact"](1), Cloud(), real=real_vectors(), num_samples=3, draw=draw)
    many = corrected(TOWARDS_REAL["exact"](1), Cloud(), real=real_vectors(), num_samples=30)
    assert sizes == [30]
    assert torch.equal(few.values, many.values[:3])


def test_more_anchors_than_a_minibatch_holds_are_drawn_anew_for_each():
    correction = OptimalTransport(strength=1, num_anchors=80, batch_size=20, regularisation=None)
    moved = corrected(correction, Cloud(), real=real_vectors(), num_samples=40).values
    reached = [set(map(tuple, some.tolist())) for some in moved.split(20)]
    assert [len(some) for some in reached] == [20, 20]
    assert reached[0] != reached[1]


# The nearest mean


def test_a_sample_is_projected_to_the_nearest_mean_of_any_class():
    moved = corrected(TOWARDS_REAL["nearest_mean"](1), Cloud(), real=real_vectors()).values
    means = reference_of(TOWARDS_REAL["nearest_mean"](1), real=real_vectors()).prepared
    for before, after in zip(sampler(Cloud())(60).values, moved, strict=True):
        assert torch.equal(after, min(means, key=lambda mean: (mean - before).square().sum().item()))


def test_each_class_has_means_of_its_own():
    means = reference_of(NearestMean(strength=1, num_means=1), real=real_vectors()).prepared
    real = real_vectors()
    expected = torch.stack([real.values[real.labels == number].mean(0) for number in range(NUM_CLASSES)])
    torch.testing.assert_close(means, expected)


def test_without_labels_the_means_are_of_all_samples_together():
    means = reference_of(NearestMean(strength=1, num_means=3), real=Samples(real_vectors().values)).prepared
    assert len(means) == 3


def test_a_class_with_fewer_samples_than_means_has_one_at_each():
    points = torch.randn(3, 2, generator=seeded())
    assert torch.equal(means_of(points, num_means=4, generator=seeded()), points)


# Extrapolated weights


@pytest.mark.parametrize(("model_class", "settings"), [(VAE, VAE_SETTINGS), (GAN, GAN_SETTINGS)])
@pytest.mark.parametrize("weight", [-1.0, 0.0, 0.5])
def test_weights_are_extrapolated_as_stated_and_are_the_models_own_again(model_class, settings, weight):
    real, own = made(model_class, settings, seed=1), made(model_class, settings, seed=2)
    before = copy.deepcopy(own.state_dict())
    with extrapolated(own, real=real, weight=weight):
        during = {name: value.clone() for name, value in own.state_dict().items()}
    parameters = {name for name, _ in own.named_parameters()}
    for name, value in during.items():
        expected = (
            (1 + weight) * real.state_dict()[name] - weight * before[name] if name in parameters else before[name]
        )
        assert torch.equal(value, expected), name
    assert all(torch.equal(value, before[name]) for name, value in own.state_dict().items())


@pytest.mark.parametrize(("weight", "whose"), [(0, 1), (-1, 2)])
def test_a_weight_of_0_samples_generation_0_and_of_minus_1_the_model_itself(weight, whose):
    models = {seed: made(VAE, VAE_SETTINGS, seed=seed) for seed in (1, 2)}
    drawn = corrected(Extrapolation(weight=weight), models[2], real=real_images(), first=models[1])
    assert torch.equal(drawn.values, sampler(models[whose])(60).values)


def test_generation_0_is_not_extrapolated():
    correction = Extrapolation(weight=1)
    assert [correction.acts_at(generation) for generation in range(3)] == [False, True, True]


# Partial samples


def test_a_share_of_0_gives_the_real_images(vae):
    partial = corrected(PartialSamples(share=0), vae, real=real_images(), num_samples=NUM_REAL)
    assert sorted(partial.values.flatten(1).tolist()) == sorted(real_images().values.flatten(1).tolist())


def test_a_share_of_1_gives_what_replace_would_have_drawn(vae):
    assert torch.equal(corrected(PartialSamples(share=1), vae, real=real_images()).values, sampler(vae)(60).values)


@pytest.mark.parametrize("share", [0, 0.5])
def test_a_redrawn_image_has_the_label_that_a_conditional_model_is_told_and_else_none(share, vae):
    conditional = made(VAE, VAE_SETTINGS | {"num_classes": NUM_CLASSES})
    order = shuffled_rounds(NUM_REAL, 60, generator=reference_generator())
    told = corrected(PartialSamples(share=share), conditional, real=real_images()).labels
    assert torch.equal(told, real_images().labels[order])
    assert corrected(PartialSamples(share=share), vae, real=real_images()).labels is None


@pytest.mark.parametrize("kind", TOWARDS_REAL)
def test_moved_images_of_a_conditional_model_keep_the_class_they_were_drawn_for(kind):
    conditional = made(VAE, VAE_SETTINGS | {"num_classes": NUM_CLASSES})
    moved = corrected(TOWARDS_REAL[kind](1), conditional, real=real_images())
    assert torch.equal(moved.labels, sampler(conditional)(60).labels)


def test_images_leave_the_real_ones_further_behind_the_more_is_redrawn(vae):
    def distance(share):
        partial = corrected(PartialSamples(share=share), vae, real=real_images(), num_samples=NUM_REAL)
        order = shuffled_rounds(NUM_REAL, NUM_REAL, generator=reference_generator())
        return (partial.values.double() - real_images().values[order].double()).abs().mean().item()

    distances = [distance(share) for share in (0, 0.25, 0.5, 0.75)]
    assert distances[0] == 0
    assert distances == sorted(distances)


def reference_generator():
    from collapsar.foundations.seeding import make_generator

    return make_generator(0, 1, "correction")


def test_vectors_of_a_flow_are_redrawn_around_the_real_ones(flow):
    partial = corrected(PartialSamples(share=0.5), flow, real=real_vectors(), num_samples=NUM_REAL).values
    order = shuffled_rounds(NUM_REAL, NUM_REAL, generator=reference_generator())
    differs = (partial - real_vectors().values[order]).abs() > 1e-3
    assert differs.any(1).all()


def test_the_formula_of_partial_samples_holds_pixel_by_pixel():
    model = made(VAE, VAE_SETTINGS)  # decodes means, so that nothing but latents is drawn
    partial = corrected(PartialSamples(share=0.5), model, real=real_images(), num_samples=20)
    generator = reference_generator()
    originals = real_images()[shuffled_rounds(NUM_REAL, 20, generator=generator)]
    latents = model.encode(originals)
    anew = torch.randn(20, 4, generator=generator)
    changed = torch.where(is_redrawn(latents, share=0.5, generator=generator), anew, latents)
    reconstruction, image = (model.render(some, torch.Generator()).double() for some in (latents, changed))
    expected = image + 0.5 * (originals.values.double() - reconstruction)
    assert (partial.values.double() - expected.clamp(0, 255)).abs().max() <= 0.5 + 1e-3


def test_of_each_sample_the_stated_share_of_latents_is_redrawn():
    redrawn = is_redrawn(torch.zeros(500, 8), share=0.25, generator=seeded())
    assert (redrawn.sum(1) == 2).all()
    assert redrawn.float().mean(0).sub(0.25).abs().max() < 0.08


def test_every_real_image_is_taken_once_before_any_is_taken_twice():
    rounds = shuffled_rounds(10, 25, generator=seeded())
    assert [len(some.unique()) for some in rounds.split(10)] == [10, 10, 5]


# What does not go together


@pytest.mark.parametrize(
    ("correction", "message"),
    [
        (lambda: OptimalTransport(strength=1.5, **TRANSPORT), "correction.strength must lie between 0 and 1: got 1.5"),
        (
            lambda: OptimalTransport(strength=1, **TRANSPORT | {"num_anchors": 0}),
            "correction.num_anchors must be above 0: got 0",
        ),
        (
            lambda: OptimalTransport(strength=1, **TRANSPORT | {"batch_size": 0}),
            "correction.batch_size must be above 0: got 0",
        ),
        (lambda: OptimalTransport(strength=1, **TRANSPORT | {"regularisation": 1e-3}), "at least 0.01, or null"),
        (lambda: NearestMean(strength=1, num_means=0), "correction.num_means must be above 0: got 0"),
        (lambda: PartialSamples(share=-0.1), "correction.share must lie between 0 and 1: got -0.1"),
        (lambda: Extrapolation(weight=math.inf), "correction.weight must be a finite number: got inf"),
        (lambda: check_correction(3), "correction must be a correction: got 3; choose a file of conf/correction"),
    ],
)
def test_values_out_of_range_are_refused(correction, message):
    with pytest.raises(UsageError, match=message):
        correction()


def test_models_that_cannot_be_corrected_so_are_refused(gan):
    gaussian = Gaussian(sample_shape=[2], covariance="diagonal", variance="unbiased")
    histogram = Categorical(sample_shape=[1], num_categories=3)
    with pytest.raises(
        UsageError, match="correction=partial_samples needs a model with an encoder: choose model=vae or flow"
    ):
        PartialSamples(share=0.5).check(gan)
    with pytest.raises(UsageError, match="correction=extrapolation needs a model that is trained in steps: choose"):
        Extrapolation(weight=1).check(gaussian)
    with pytest.raises(UsageError, match="those of model=categorical are categories: choose correction=none"):
        NearestMean(strength=1, num_means=2).check(histogram)


def test_more_anchors_or_means_than_real_samples_are_refused():
    with pytest.raises(UsageError, match="num_anchors must be at most the 29 real training samples: got 30"):
        OptimalTransport(strength=1, **TRANSPORT).check_sizes(num_real=29, num_classes=10)
    with pytest.raises(UsageError, match="num_means must be at most 3, the real training samples in a class: got 4"):
        NearestMean(strength=1, num_means=4).check_sizes(num_real=39, num_classes=10)


@pytest.mark.parametrize(("chosen", "begun_with"), [("null", "weights"), ("weights_and_optimizer",) * 2])
def test_a_correction_that_needs_a_warm_start_switches_it_on_where_none_is_chosen(chosen, begun_with):
    settings = "correction=extrapolation", f"training.warm_start={chosen}"
    plan, without = (build(compose_settings(*some)).parts.recipe.plan for some in (settings, ()))
    assert plan == replace(without, warm_start=begun_with)


def test_an_extrapolated_chain_begins_with_the_last_weights():
    assert build(compose_settings("correction=extrapolation")).parts.recipe.plan.warm_start == "weights"
