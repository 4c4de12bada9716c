"""Any two levers, causes and corrections train two generations together, or are refused when they are composed.

As many as go together are switched on in one chain, until each pair of them has stood in one. What this file says does
not suit a model is refused for it, by itself.
"""

from functools import cache
from itertools import combinations

import pytest
from omegaconf import OmegaConf

from collapsar.config.choices import check_levers
from collapsar.config.composition import config_folder
from collapsar.foundations.errors import UsageError
from collapsar.foundations.settings import flatten
from tiny_chains import NARROW, TINY, build_and_run

GROUPS = ("lever", "cause", "correction")
NOT_OF_DIGITS = ("none", "simplified_world")  # the latter is of scenes
MODELS = ("vae", "gan", "flow")
SHORT = (
    *TINY, "data.num_train=1000", "num_synthetic=200", "tracking=none", "trainer.max_steps=6",
    "evaluation.metrics=[frechet,classes]",
)  # fmt: skip
MILD = {  # by choice: what leaves enough real samples when all causes are planted together
    "few_samples": ("cause.few_samples.kept_fraction=0.8",),
    "long_tail": ("cause.long_tail.factor=2",),
    "missing_classes": ("cause.missing_classes.classes=[0]",),
    "biased_subset": ("cause.biased_subset.kept_fraction=0.9",),
    "optimal_transport": ("correction.num_anchors=100", "correction.batch_size=50"),
    "optimal_transport_exact": ("correction.num_anchors=100", "correction.batch_size=50"),
    "nearest_mean": ("correction.num_means=2",),
}


@cache
def choices(group):
    return [path.stem for path in sorted((config_folder() / group).glob("*.yaml")) if path.stem not in NOT_OF_DIGITS]


@cache
def keys(lever):
    return flatten(OmegaConf.to_container(OmegaConf.load(config_folder() / "lever" / f"{lever}.yaml"), resolve=False))


def set_one_key(first, second):
    """Whether two levers set a key to different values."""
    try:
        check_levers({first: keys(first), second: keys(second)})
    except UsageError:
        return True
    return False


NOT_OF_A_FLOW = (
    "input_noise", "fading_noise", "fewer_latents", "more_latents", "over_capacity", "under_capacity",
    "self_supervised_rotation", "self_supervised_contrastive",
)  # fmt: skip
SOME_MODELS = {  # choices that go with some of the models only
    "kl_warmup": {"vae"},
    "free_bits": {"vae"},
    "truncated_cross_entropy": {"vae"},
    "residual": {"vae"},
    "latent_mixture": {"vae"},
    "partial_samples": {"vae", "flow"},
    **{lever: {"vae", "gan"} for lever in NOT_OF_A_FLOW},
}
APART: tuple[set[str], ...] = ()  # pairs that do not go together, beside levers that set one key


def goes_with(choice, model):
    return model in SOME_MODELS.get(choice, MODELS)


def go_together(first, second, model):
    """What nobody should expect to be refused; a new choice goes with everything until this file says otherwise."""
    (group, name), (other_group, other) = first, second
    if not (goes_with(name, model) and goes_with(other, model)):
        return False
    if group == other_group == "correction" or {name, other} in APART:
        return False
    return not (group == other_group == "lever" and set_one_key(name, other))


def covering_chains(model):
    """Sets of choices of which any two go together, until each pair that does stands in one of them."""
    everything = [(group, name) for group in GROUPS for name in choices(group) if goes_with(name, model)]
    possible = {frozenset(pair) for pair in combinations(everything, 2) if go_together(*pair, model)}
    partners = {choice: sum(choice in pair for pair in possible) for choice in everything}
    missing = set(possible)
    while missing:
        chain = sorted(min(missing, key=lambda pair: (sum(partners[choice] for choice in pair), sorted(pair))))
        while fitting := [one for one in everything if all(frozenset((one, other)) in possible for other in chain)]:
            news = {one: sum(frozenset((one, other)) in missing for other in chain) for one in fitting}
            chain.append(max(fitting, key=lambda one: (news[one], -partners[one])))
        missing -= {frozenset(pair) for pair in combinations(chain, 2)}
        yield tuple(chain)


def overrides(chain):
    lists = {group: [name for own, name in chain if own == group] for group in GROUPS}
    corrections = [f"correction={name}" for name in lists.pop("correction")]
    mild = [override for _, name in chain for override in MILD.get(name, ())]
    return [*corrections, *(f"{group}=[{','.join(names)}]" for group, names in lists.items()), *mild]


CHAINS = [  # those of the GAN take a minute and a half
    pytest.param(model, chain, marks=[] if model == "vae" else [pytest.mark.slow])
    for model in MODELS
    for chain in covering_chains(model)
]


@pytest.mark.parametrize(("model", "chain"), CHAINS)
def test_all_that_goes_together_trains_two_generations(model, chain, tmp_path):
    records = build_and_run(tmp_path, *SHORT, f"model={model}", *NARROW[model], *overrides(chain))
    assert [record.generation for record in records] == [0, 1]


UNSUITED = [(name, model) for name, models in SOME_MODELS.items() for model in MODELS if model not in models]


@pytest.mark.parametrize(("name", "model"), UNSUITED)
def test_what_suits_some_models_only_is_refused_for_the_others(name, model, tmp_path):
    (group,) = [group for group in GROUPS if name in choices(group)]
    with pytest.raises(UsageError):
        build_and_run(tmp_path, *SHORT, f"model={model}", *overrides([(group, name)]))
    assert not list(tmp_path.iterdir())
