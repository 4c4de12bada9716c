from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from collapsar.drawing.farthest import Farthest, farthest_points
from collapsar.drawing.rules import (
    Curated,
    Deduplicated,
    TopScored,
    Verified,
    discriminator_logits,
    ranks_within_classes,
)
from collapsar.drawing.selection import Judge, KeepAll, Selection
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.theory.recursions import curated_shares

CONF = Path(__file__).parents[2] / "conf" / "selection"


def first_column_probability(samples):
    """Two classes: the first column is the probability of class 1."""
    return torch.stack([1 - samples[:, 0], samples[:, 0]], dim=1)


def judge(**changes):
    settings = {
        "features": lambda samples: samples,
        "real_features": lambda: torch.arange(50.0).unsqueeze(1).repeat(1, 2),
        "class_probabilities": first_column_probability,
        "realism": lambda samples: samples.values[:, 1],
        "describe_space": lambda: {"name": "identity"},
    }
    return Judge(**(settings | changes))


class Uniform:
    """A "model" of two uniform columns that remembers what was drawn from it."""

    def __init__(self):
        self.generator = torch.Generator().manual_seed(0)
        self.drawn = torch.empty(0, 2)

    def __call__(self, num_samples):
        samples = torch.rand(num_samples, 2, generator=self.generator)
        labels = torch.arange(len(self.drawn), len(self.drawn) + num_samples)
        self.drawn = torch.cat([self.drawn, samples])
        return Samples(samples, labels)


def select(selection, *, num_samples=400, model=None, **changes):
    model = model or Uniform()
    generator = torch.Generator().manual_seed(1)
    selected = selection.select(model, num_samples=num_samples, judge=judge(**changes), generator=generator)
    assert selected.num_drawn == len(model.drawn)
    return selected


SELECTIONS = [
    KeepAll(),
    TopScored(score="realism", kept_fraction=0.3),
    TopScored(score="confidence", kept_fraction=1),
    TopScored(score="discriminator", kept_fraction=0.3),
    Verified(min_confidence=0.8, max_draws_per_sample=20),
    Curated(favoured_class=1, strength=1.0, max_draws_per_sample=20),
    Curated(favoured_class=[0, 1], strength=1.0, max_draws_per_sample=20, num_choices=3),
    Deduplicated(min_distance=0.2, max_draws_per_sample=20),
    Farthest(kept_fraction=0.3, group_size=7),
]


@settings(deadline=None)  # the first discriminator imports scikit-learn
@given(index=st.integers(0, len(SELECTIONS) - 1), num_samples=st.integers(10, 60))
def test_exactly_as_many_are_kept_as_asked_for_and_all_were_drawn(index, num_samples):
    model = Uniform()
    selected = select(SELECTIONS[index], num_samples=num_samples, model=model)
    assert len(selected.samples) == num_samples <= selected.num_drawn
    assert len(selected.samples.values.unique(dim=0)) == num_samples
    assert torch.isin(selected.samples.values, model.drawn).all()


@pytest.mark.parametrize("selection", SELECTIONS, ids=lambda selection: selection.name)
def test_kept_samples_keep_their_labels(selection):
    model = Uniform()
    kept = select(selection, num_samples=40, model=model).samples
    assert torch.equal(model.drawn[kept.labels], kept.values)


@pytest.mark.parametrize(
    ("selection", "judged_by"),
    list(zip(SELECTIONS, [{}, {"name": "critic"}, *[{"name": "identity"}] * 7], strict=True)),
    ids=lambda value: getattr(value, "name", ""),
)
def test_what_was_drawn_says_who_judged_it(selection, judged_by):
    assert select(selection, num_samples=20).judged_by == judged_by


def test_keeping_all_draws_no_more_than_it_keeps():
    model = Uniform()
    selected = select(KeepAll(), model=model)
    assert selected.num_drawn == 400
    assert torch.equal(selected.samples.values, model.drawn)


@pytest.mark.parametrize(
    ("score", "value"),
    [("realism", lambda samples: samples[:, 1]), ("confidence", lambda samples: (samples[:, 0] - 0.5).abs())],
)
def test_top_scored_keeps_the_best_share(score, value):
    model = Uniform()
    selected = select(TopScored(score=score, kept_fraction=0.25), model=model)
    assert selected.num_drawn == 1600
    assert value(selected.samples.values).min() == value(model.drawn).topk(400).values[-1]


def test_verified_keeps_only_what_the_judge_confirms():
    selected = select(Verified(min_confidence=0.9, max_draws_per_sample=20))
    assert first_column_probability(selected.samples.values).amax(1).min() >= 0.9
    assert selected.num_drawn == pytest.approx(400 / 0.2, rel=0.2)


def test_curated_samples_are_p_times_exp_of_the_reward():
    strength = 3.0
    curated = Curated(favoured_class=1, strength=strength, max_draws_per_sample=20)
    selected = select(curated, num_samples=20_000)
    exp = torch.tensor(strength).exp()
    expected_mean = (exp * (strength - 1) + 1) / (strength * (exp - 1))  # of the density exp(3 x) on [0, 1]
    assert selected.samples.values[:, 0].mean().item() == pytest.approx(expected_mean.item(), abs=0.01)
    assert selected.samples.values[:, 1].mean().item() == pytest.approx(0.5, abs=0.01)


class Coins:
    """A "model" of classes 0, 1 and 2 with the shares .5, .3 and .2."""

    shares = (0.5, 0.3, 0.2)

    def __init__(self):
        self.generator, self.num_drawn = torch.Generator().manual_seed(0), 0

    def __call__(self, num_samples):
        self.num_drawn += num_samples
        codes = torch.multinomial(torch.tensor(self.shares), num_samples, replacement=True, generator=self.generator)
        return Samples(codes.float().unsqueeze(1), codes)


def one_hot(values):
    return torch.nn.functional.one_hot(values[:, 0].long(), 3).float()


@pytest.mark.parametrize("favoured", [1, [1], [0, 2]])
@pytest.mark.parametrize("num_choices", [2, 4])
def test_the_choice_among_k_has_its_law(favoured, num_choices):
    settings = {"favoured_class": favoured, "strength": 1.5, "num_choices": num_choices}
    model, number = Coins(), 40_000
    curated = Curated(**settings, max_draws_per_sample=1)
    drawn = curated.select(
        model, num_samples=number, judge=judge(class_probabilities=one_hot), generator=torch.Generator().manual_seed(1)
    )
    assert drawn.num_drawn == model.num_drawn == number * num_choices
    law = curated_shares(
        Coins.shares, favoured=curated.favoured, strength=curated.strength, num_choices=curated.num_choices
    )
    shares = drawn.samples.labels.bincount(minlength=3) / number
    assert shares.tolist() == pytest.approx(law, abs=4 * 0.5 / number**0.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_choices": 1}, "num_choices must be at least 2, or null: got 1"),
        ({"favoured_class": [0, 0], "num_choices": 2}, r"must hold different classes, at least one: got \[0, 0\]"),
        ({"favoured_class": [], "num_choices": 2}, r"must hold different classes, at least one: got \[\]"),
        ({"favoured_class": [0, 1]}, r"num_choices must be set for several favoured classes: got null for \[0, 1\]"),
    ],
)
def test_choices_that_cannot_be_made_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        Curated(**{"favoured_class": 0, "strength": 1.0, "max_draws_per_sample": 2} | settings)


def test_every_favoured_class_must_exist():
    curated = Curated(favoured_class=[0, 5], strength=1.0, max_draws_per_sample=2, num_choices=2)
    with pytest.raises(UsageError, match="favoured_class must be below 3, the number of classes: got 5"):
        curated.check(num_classes=3, has_critic=False)


def test_without_reward_curation_keeps_everything():
    assert select(Curated(favoured_class=0, strength=0, max_draws_per_sample=1)).num_drawn == 400


def test_deduplicated_samples_keep_their_distance_from_real_ones():
    deduplicated = Deduplicated(min_distance=0.3, max_draws_per_sample=20)
    selected = select(deduplicated)
    spacing = 2**0.5  # the real samples lie on the diagonal, one step apart
    assert judge().real_spacing == pytest.approx(spacing)
    assert torch.cdist(selected.samples.values, judge().real_features()).amin(1).min() >= 0.3 * spacing
    assert selected.num_drawn > 400


def test_copies_of_real_samples_are_all_refused():
    def copies(num_samples):
        return Samples(judge().real_features()[torch.arange(num_samples) % 50])

    with pytest.raises(UsageError, match="kept 0 of 100 samples drawn and needs 50"):
        Deduplicated(min_distance=0.1, max_draws_per_sample=2).select(
            copies, num_samples=50, judge=judge(), generator=torch.Generator()
        )


def test_farthest_points_are_spread_wider_than_draws():
    selected = select(Farthest(kept_fraction=0.1, group_size=400))
    drawn = Uniform()(400).values
    assert torch.pdist(selected.samples.values).min() > 10 * torch.pdist(drawn).min()


def test_farthest_points_of_a_line_are_its_ends_then_its_middle():
    line = torch.arange(11.0).unsqueeze(1)
    assert farthest_points(line, num_points=3, first=0).tolist() == [0, 10, 5]


def test_farthest_points_are_different_even_where_samples_coincide():
    assert sorted(farthest_points(torch.zeros(5, 2), num_points=5, first=2).tolist()) == [0, 1, 2, 3, 4]


def test_too_low_a_yield_stops_the_chain():
    with pytest.raises(UsageError, match=r"selection=verified kept \d+ of \d+ samples drawn and needs 400"):
        select(Verified(min_confidence=0.999, max_draws_per_sample=5))


@pytest.mark.parametrize(
    ("selection", "lacking", "message"),
    [
        (TopScored(score="realism", kept_fraction=0.5), {"has_critic": False}, "=most_realistic .* choose model=gan"),
        (
            TopScored(score="confidence", kept_fraction=0.5),
            {"num_classes": 0},
            "=most_confident needs a judge with classes",
        ),
        (
            Verified(min_confidence=0.5, max_draws_per_sample=2),
            {"num_classes": 0},
            "=verified needs a judge with classes",
        ),
        (
            Curated(favoured_class=0, strength=1, max_draws_per_sample=2),
            {"num_classes": 0},
            "needs a judge with classes",
        ),
        (Curated(favoured_class=2, strength=1, max_draws_per_sample=2), {}, "favoured_class must be below 2.*got 2"),
    ],
)
def test_a_judge_that_lacks_what_is_needed_is_refused(selection, lacking, message):
    with pytest.raises(UsageError, match=message):
        selection.check(**{"num_classes": 2, "has_critic": True, **lacking})


@pytest.mark.parametrize(
    "build",
    [
        lambda: TopScored(score="realism", kept_fraction=0.0),
        lambda: TopScored(score="realism", kept_fraction=1.5),
        lambda: Verified(min_confidence=1.1, max_draws_per_sample=2),
        lambda: Verified(min_confidence=0.5, max_draws_per_sample=0.5),
        lambda: Curated(favoured_class=-1, strength=1, max_draws_per_sample=2),
        lambda: Deduplicated(min_distance=-0.1, max_draws_per_sample=2),
        lambda: Farthest(kept_fraction=0.5, group_size=0),
    ],
)
def test_settings_out_of_range_are_refused(build):
    with pytest.raises(UsageError, match="must"):
        build()


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_selection_in_conf_builds(path):
    selection = instantiate(OmegaConf.load(path), _convert_="object")
    assert isinstance(selection, Selection)
    assert path.stem == selection.name
    assert len(select(selection, num_samples=30, real_features=lambda: torch.full((5, 2), -9.0)).samples) == 30


def test_the_discriminators_logit_is_the_log_ratio_of_two_gaussians():
    """Of N(a, 1) and N(b, s) the log ratio is ((x - b) / s)^2 / 2 - (x - a)^2 / 2 + log s, summed over features."""
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(8000, 2, generator=generator) + torch.tensor([1.0, 0.0])
    spread = torch.tensor([1.0, 1.3])
    candidates = torch.randn(9000, 2, generator=generator) * spread + torch.tensor([0.0, 0.5])
    terms = ((candidates - torch.tensor([0.0, 0.5])) / spread).square() / 2 + spread.log()
    expected = (terms - (candidates - torch.tensor([1.0, 0.0])).square() / 2).sum(1).double()
    found = discriminator_logits(candidates, real=real)
    assert (found - expected).abs().mean() < 0.06
    assert torch.corrcoef(torch.stack([found, expected]))[0, 1] > 0.99


def test_the_discriminator_keeps_candidates_that_lie_where_real_samples_do():
    """Real samples lie beyond the candidates along both columns."""
    drawn = Samples(torch.rand(1000, 2, generator=torch.Generator().manual_seed(0)))
    selection = TopScored(score="discriminator", kept_fraction=0.1)
    chosen = selection.choose(drawn, num_wanted=100, judge=judge(), generator=torch.Generator())
    assert len(chosen) == 100
    assert drawn.values[chosen].sum(1).mean() > 1.4 * drawn.values.sum(1).mean()


def test_the_discriminator_keeps_the_same_share_of_each_class():
    values = torch.rand(1000, 2, generator=torch.Generator().manual_seed(0))
    labels = (values[:, 0] > 0.6).long()  # the class of what looks real
    selection = TopScored(score="discriminator", kept_fraction=0.1)
    chosen = selection.choose(Samples(values, labels), num_wanted=100, judge=judge(), generator=torch.Generator())
    assert labels[chosen].double().mean().item() == pytest.approx(labels.double().mean().item(), abs=0.01)


def test_ranks_within_classes_are_shares_of_the_class():
    scores, labels = torch.tensor([5.0, 1.0, 3.0, -2.0]), torch.tensor([0, 0, 1, 1])
    assert ranks_within_classes(scores, labels).tolist() == [0.5, 0.0, 0.5, 0.0]
    assert ranks_within_classes(scores, None).tolist() == [0.75, 0.25, 0.5, 0.0]
