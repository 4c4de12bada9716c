"""The loop: pools follow the regime, finished generations are not trained again, nothing is made that nobody needs."""

import pytest
import torch

from collapsar.chain.loop import Loop, Maker
from collapsar.data.pool import REAL
from collapsar.data.real_data import RealData
from collapsar.data.regimes import Accumulate, FreshReal, Replace
from collapsar.drawing.selection import Drawn
from collapsar.foundations.errors import NonFiniteError
from collapsar.foundations.samples import Samples
from collapsar.models.analytic.analytic import Gaussian
from collapsar.training.trainer import Training

NUM_REAL, NUM_GENERATIONS = 6, 4


class Studio(Maker):
    """What trains and draws in a loop, and a note of what was asked for."""

    def __init__(self, *, error=None, earlier_seconds=0.0):
        self.trained, self.drawn, self.error, self.earlier_seconds = [], [], error, earlier_seconds

    def train(self, pool, generation):
        self.trained.append((generation, pool.origins()))
        model = Gaussian(sample_shape=[1], covariance="diagonal", variance="maximum_likelihood")
        return Training(
            model=model,
            summary={"steps": 7.0, "epochs": 2.0},
            curve=[],
            save=lambda path: None,
            earlier_seconds=self.earlier_seconds,
        )

    def draw(self, model, generation):
        self.drawn.append(generation)
        if self.error:
            raise self.error
        return Drawn(samples_of(generation, num_samples=NUM_REAL + 3), num_drawn=20)


def samples_of(generation, *, num_samples=NUM_REAL):
    """Samples that say which generation they are of, with labels."""
    return Samples(torch.full((num_samples, 1), float(generation)), torch.full((num_samples,), generation))


def make_loop(studio, *, regime=None, reserve=None, num_generations=NUM_GENERATIONS):
    real = RealData(samples_of(-1), samples_of(-1), num_classes=0, reserve=reserve)
    return Loop(
        real=real,
        regime=regime or Replace(),
        seed=0,
        num_synthetic=[NUM_REAL] * num_generations,
        maker=studio,
    )


def origins(*parts):
    return dict.fromkeys(parts, NUM_REAL)


def test_the_seconds_of_a_training_count_what_it_took_before_it_was_stopped():
    assert next(make_loop(Studio(earlier_seconds=100.0)).turns()).seconds["train"] >= 100


def test_a_generation_is_trained_on_what_the_regime_makes_of_the_one_before():
    studio = Studio()
    assert [turn.generation for turn in make_loop(studio).turns()] == [0, 1, 2, 3]
    assert studio.trained == [(0, origins("real")), (1, origins("0")), (2, origins("1")), (3, origins("2"))]


def test_real_data_and_the_reserve_are_marked_as_real():
    regime = FreshReal(fresh_fraction=0.5, is_recycled=True)
    last = list(make_loop(Studio(), regime=regime, reserve=samples_of(-1)).turns())[-1]
    assert [part.origin for part in last.pool.parts] == [REAL, NUM_GENERATIONS - 2]
    assert last.pool.describe()["real_fraction"] == 0.5


def test_labels_of_synthetic_samples_reach_the_next_pool():
    second = list(make_loop(Studio(), num_generations=2).turns())[1]
    assert second.pool.parts[0].samples.labels.tolist() == [0] * NUM_REAL


def test_the_next_pool_gets_no_more_than_it_asks_for_though_more_are_drawn():
    turn = next(make_loop(Studio()).turns())
    assert len(turn.drawn.samples) == NUM_REAL + 3
    assert len(turn.synthetic) == NUM_REAL
    assert turn.synthetic.values.untyped_storage().nbytes() == NUM_REAL * 4  # not a view of all that was drawn


def test_a_pool_is_made_when_the_next_turn_is_asked_for():
    studio = Studio()
    turns = make_loop(studio).turns()
    next(turns)
    assert studio.drawn == []
    next(turns)
    assert studio.drawn == [0]


def test_nothing_is_drawn_from_the_last_generation_unless_somebody_asks():
    studio = Studio()
    for turn in make_loop(studio).turns():
        assert turn.generation not in studio.drawn
    assert studio.drawn == [0, 1, 2]


@pytest.mark.parametrize("num_finished", range(NUM_GENERATIONS + 1))
def test_finished_generations_give_their_stored_samples_and_are_not_trained_again(num_finished):
    whole, continued, read = Studio(), Studio(), []

    def stored(generation):
        read.append(generation)
        return samples_of(generation)

    pools = [turn.pool for turn in make_loop(whole, regime=Accumulate()).turns()]
    loop = make_loop(continued, regime=Accumulate())
    turns = list(loop.turns(num_finished=num_finished, stored=stored))
    assert [turn.generation for turn in turns] == list(range(num_finished, NUM_GENERATIONS))
    assert continued.trained == whole.trained[num_finished:]
    assert read == list(range(min(num_finished, NUM_GENERATIONS - 1)))
    for turn, pool in zip(turns, pools[num_finished:], strict=True):
        assert torch.equal(turn.pool.concatenated(), pool.concatenated())


def test_loops_can_be_stepped_side_by_side():
    studios = Studio(), Studio()
    for first, second in zip(*(make_loop(studio).turns() for studio in studios), strict=True):
        assert first.generation == second.generation
    assert studios[0].trained == studios[1].trained


def test_seconds_are_noted_as_phases_end():
    turn = next(make_loop(Studio()).turns())
    assert list(turn.seconds) == ["train"]
    assert turn.drawn.num_drawn == 20
    assert list(turn.seconds) == ["train", "sample"]


def test_samples_that_break_down_name_generation_epoch_and_step():
    turn = next(make_loop(Studio(error=NonFiniteError("samples hold 3 NaN"))).turns())
    with pytest.raises(NonFiniteError, match="samples hold 3 NaN, in generation 0 after epoch 2, step 7:"):
        _ = turn.drawn
