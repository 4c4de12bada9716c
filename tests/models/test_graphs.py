"""Steps as CUDA graphs, and compiled networks: the same step as without, on a CPU by its parts, on a GPU as a whole."""

from dataclasses import replace
from functools import partial

import jaxtyping
import pytest
import torch
from lightning import Trainer

from collapsar.data.pool import REAL, Part, Pool
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.foundations.seeding import derive_seed
from collapsar.models.course import compiled, networks_of
from collapsar.models.flow.flow import Flow
from collapsar.models.gan.gan import GAN
from collapsar.models.learned import LearnedModel
from collapsar.models.plan import DEFAULT_PLAN
from collapsar.models.vae.vae import VAE
from collapsar.training import hardware
from collapsar.training.hardware import choose_compiled, choose_graphs
from collapsar.training.train import Recipe, train
from tiny_models import FLOW_SETTINGS, GAN_SETTINGS, VAE_SETTINGS

NUM_STEPS = 40
NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

vae = partial(VAE, **VAE_SETTINGS)
gan = partial(GAN, **{**GAN_SETTINGS, "body": "sn_conv", "critic_steps": 2, "adam_betas": [0.0, 0.9]})
MODELS = {"vae": vae, "gan": gan, "wgan_gp": partial(gan, loss="wgan_gp"), "flow": partial(Flow, **FLOW_SETTINGS)}
SCHEDULED = replace(DEFAULT_PLAN, schedule="linear", warmup_fraction=0.1)
CLIPPED = replace(SCHEDULED, gradient_clip_norm=0.5)


def trained(model, *, plan=SCHEDULED, accelerator="cpu", precision="32-true", num_steps=NUM_STEPS):
    """A model after some steps on random images."""
    images = torch.randint(256, (64, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    trainer = partial(
        Trainer,
        accelerator=accelerator,
        precision=precision,
        devices=1,
        max_steps=num_steps,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    recipe = Recipe(model=model, trainer=trainer, plan=plan, batch_size=16)
    pool = Pool((Part(Samples(images), REAL),))
    return train(recipe, pool, seed=0, generation=0, on_steps=lambda epoch, steps: None)


@pytest.fixture
def unchecked():
    """No shapes are checked while a test runs: a compiler traces tensors without values, which no check takes."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


def weights(training):
    return weights_of(training.model)


def weights_of(model):
    return {name: tensor.cpu() for name, tensor in model.state_dict().items()}


def flat(named):
    """All floating-point weights as one vector."""
    return torch.cat([tensor.flatten().float() for tensor in named.values() if tensor.is_floating_point()])


def seeded(model):
    """The model that `trained` begins with."""
    torch.manual_seed(derive_seed(0, 0, "train"))
    return model()


def assert_equal(first, second):
    assert all(torch.equal(first[name], second[name]) for name in first | second)


@pytest.mark.parametrize("plan", [SCHEDULED, CLIPPED], ids=["scheduled", "clipped"])
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_a_step_without_the_trainer_moves_what_a_step_with_it_moves(model, plan, monkeypatch):
    with_trainer = weights(trained(model, plan=plan))

    def without(self, batch, movers, move):
        if move != self._move:
            return original(self, batch, movers, move)
        self._optimizers()[0]._on_before_step()
        losses = self._move_all(batch, movers)
        self._optimizers()[0]._on_after_step()
        return losses

    original = LearnedModel._step
    monkeypatch.setattr(LearnedModel, "_step", without)
    assert_equal(weights(trained(model, plan=plan)), with_trainer)


GRAPHED, PLAIN, MOVING = (
    replace(DEFAULT_PLAN, **keys) for keys in ({"cuda_graphs": True}, {"cuda_graphs": False}, {"optimizer": "sgd"})
)


@pytest.mark.parametrize(
    ("plan", "device", "expected"),
    [
        (GRAPHED, "cuda", True),
        (DEFAULT_PLAN, "cuda", True),
        (PLAIN, "cuda", False),
        (MOVING, "cuda", False),
        (DEFAULT_PLAN, "cpu", None),
    ],
)
def test_graphs_are_taken_on_a_cuda_device_where_nothing_prevents_it(plan, device, expected):
    assert choose_graphs(plan, device=device, precision="bf16-mixed") is expected


@pytest.mark.parametrize(("device", "precision"), [("cpu", "32-true"), ("cuda", "16-mixed"), ("cpu", None)])
def test_graphs_are_refused_where_there_can_be_none(device, precision):
    with pytest.raises(UsageError, match=r"training\.cuda_graphs=null"):
        choose_graphs(GRAPHED, device=device, precision=precision)


@pytest.mark.parametrize(
    ("wanted", "graphs", "is_long", "expected"),
    [
        (None, True, True, True),
        (None, True, False, False),
        (True, True, False, True),
        (False, True, True, False),
        (None, False, True, False),
        (None, None, True, None),
    ],
)
def test_networks_are_compiled_where_steps_are_graphs_and_a_training_is_long(
    wanted, graphs, is_long, expected, monkeypatch
):
    monkeypatch.setattr(hardware, "has_compiler", lambda: True)
    assert choose_compiled(replace(DEFAULT_PLAN, compiled=wanted), graphs=graphs, is_long=is_long) is expected


def test_without_a_compiler_nothing_is_compiled(monkeypatch):
    monkeypatch.setattr(hardware, "has_compiler", lambda: False)
    assert choose_compiled(DEFAULT_PLAN, graphs=True, is_long=True) is False
    with pytest.raises(UsageError, match="needs triton and a C compiler"):
        choose_compiled(replace(DEFAULT_PLAN, compiled=True), graphs=True, is_long=True)


def test_a_compiler_is_looked_for_on_the_path(monkeypatch, tmp_path):
    monkeypatch.setattr(hardware, "find_spec", lambda name: name == "triton")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert not hardware.has_compiler()
    (tmp_path / "gcc").touch(mode=0o755)
    assert hardware.has_compiler()


@pytest.mark.parametrize("graphs", [False, None])
def test_compiled_networks_are_refused_where_steps_are_no_graphs(graphs):
    with pytest.raises(UsageError, match=r"training\.compiled=null"):
        choose_compiled(replace(DEFAULT_PLAN, compiled=True), graphs=graphs, is_long=True)


def test_a_penalty_of_gradients_is_not_compiled():
    penalised = partial(gan, loss="wgan_gp")()
    assert not penalised.may_be_compiled
    with pytest.raises(UsageError, match=r"training\.compiled=true does not go with model\.loss=wgan_gp"):
        penalised.check_plan(replace(DEFAULT_PLAN, compiled=True))


@pytest.mark.parametrize(
    ("model", "names"), [("vae", ["encoder", "decoder"]), ("gan", ["critic", "generator"]), ("flow", ["network"])]
)
def test_networks_run_compiled_code_until_they_are_trained(model, names, monkeypatch):
    made, calls = MODELS[model](), []

    def compile_(forward, *, dynamic):
        return lambda *arguments: calls.append(forward.__self__) or forward(*arguments)

    monkeypatch.setattr(torch, "compile", compile_)
    networks = networks_of(made, made.players())
    assert networks == [getattr(made, name) for name in names]
    batch = Samples(torch.randint(256, (4, 1, 8, 8), dtype=torch.uint8))
    with compiled(networks):
        inside = made.validation_scores(batch, made.share(batch, movers=[0]))
    assert set(calls) == set(networks)
    assert all("forward" not in vars(network) for network in networks)
    calls.clear()
    outside = made.validation_scores(batch, made.share(batch, movers=[0]))
    assert calls == []
    assert inside.keys() == outside.keys()


@pytest.mark.gpu
@NEEDS_GPU
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
@pytest.mark.parametrize("more", [{}, {"average_decay": 0.9}, {"compiled": True}], ids=["", "averaged", "compiled"])
@pytest.mark.usefixtures("unchecked")
def test_graphed_training_repeats_itself(model, precision, more):
    graphed = replace(SCHEDULED, cuda_graphs=True, **more)
    if graphed.compiled and not model().may_be_compiled:
        pytest.skip("its networks cannot be compiled")
    first, second = (trained(model, plan=graphed, accelerator="cuda", precision=precision) for _ in range(2))
    assert_equal(weights(first), weights(second))


@pytest.mark.gpu
@NEEDS_GPU
@pytest.mark.parametrize("more", [{}, {"average_decay": 0.9}, {"compiled": True}], ids=["", "averaged", "compiled"])
@pytest.mark.parametrize("plan", [SCHEDULED, CLIPPED], ids=["scheduled", "clipped"])
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
@pytest.mark.usefixtures("unchecked")
def test_a_graphed_training_goes_where_one_without_graphs_goes(model, plan, more):
    """For a few steps: rounding is another, and an Adam makes a whole step of the sign of the smallest gradient."""
    if more.get("compiled") and not model().may_be_compiled:
        pytest.skip("its networks cannot be compiled")
    fresh = flat(weights_of(seeded(model)))
    graphed = trained(model, plan=replace(plan, cuda_graphs=True, **more), accelerator="cuda", num_steps=8)
    plain = trained(
        model, plan=replace(plan, cuda_graphs=False, **(more | {"compiled": None})), accelerator="cuda", num_steps=8
    )
    assert graphed.summary["steps"] == plain.summary["steps"] == 8
    ended, expected = flat(weights(graphed)), flat(weights(plain))
    assert (ended - expected).norm() < 0.1 * (expected - fresh).norm()
