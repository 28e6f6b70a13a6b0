"""Training: decided by the recipe alone, to the bit, however often it is broken off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score

import architectures
from orchestrator.data.challenge import scan
from orchestrator.data.fits import read_cutout
from orchestrator.data.normalise import prepare
from orchestrator.errors import RecipeError
from orchestrator.learning.batches import Batch, Batches
from orchestrator.learning.inference import score
from orchestrator.learning.recipe import Recipe, recipe
from orchestrator.learning.training import Epoch, Training, begin, learning_rate, restore, save, train

CPU = torch.device("cpu")
SIZE = 69
"""The smallest image that every network takes."""


def rings(count: int, bands: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Noise, and a ring in it where there is a lens."""
    random = np.random.default_rng(0)
    pixels = random.normal(0, 0.5, (count, bands, SIZE, SIZE)).astype(np.float32)
    labels = (np.arange(count) % 2).astype(np.int8)
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    for image in pixels[labels == 1]:
        image += np.exp(-((np.hypot(x, y) - random.uniform(10, 20)) ** 2) / 8)
    pixels[labels == 1] += np.exp(-((np.hypot(x, y) - 15) ** 2) / 8).astype(np.float32)
    return pixels, labels


def ask(**settings: Any) -> Recipe:
    return recipe({"architecture": "lens_flow", "epochs": 4, "batch_size": 8, "seed": 3, **settings})


def start(wanted: Recipe, count: int = 24) -> tuple[Training, Batches]:
    pixels, labels = rings(count)
    batches = Batches(pixels, labels, np.arange(count), wanted.batch_size, CPU, wanted.augment, wanted.seed)
    return begin(wanted, 1, SIZE, CPU), batches


def run(training: Training, batches: Batches, until: int) -> list[Epoch]:
    return list(train(training, batches.epoch, until, lambda network: {}))


def state(training: Training) -> list[torch.Tensor]:
    adam = training.optimiser.state_dict()["state"]
    return [*training.network.state_dict().values(), *(value for each in adam.values() for value in each.values())]


def same(one: Training, other: Training) -> bool:
    return all(torch.equal(a, b) for a, b in zip(state(one), state(other), strict=True))


def values(epochs: list[Epoch]) -> list[tuple[int, float, dict[str, float]]]:
    return [(epoch.number, epoch.loss, dict(epoch.metrics)) for epoch in epochs]


@pytest.mark.parametrize("architecture", ["lens_flow", "lastro_epfl"])  # dropout; and batch norm with it
@pytest.mark.slow
def test_a_training_that_was_killed_goes_on_to_the_very_same_network(architecture: str, tmp_path: Path) -> None:
    wanted = ask(
        architecture=architecture, **({} if architecture == "lens_flow" else {"hyperparameters": {"hidden": 32}})
    )
    through, batches = start(wanted)
    expected = run(through, batches, 4)

    killed, batches = start(wanted)
    run(killed, batches, 2)
    save(killed, tmp_path / "deep" / "checkpoint.pt", {"run_id": "abc"})
    for epoch in train(killed, lambda number: list(batches.epoch(number))[:1], 3, lambda network: {}):
        assert epoch.number == 3  # what was done since the checkpoint is lost

    resumed, batches = start(wanted)
    assert restore(resumed, tmp_path / "deep" / "checkpoint.pt") == {"run_id": "abc"}
    assert resumed.epoch == 2
    assert values(run(resumed, batches, 4)) == values(expected[2:])
    assert same(resumed, through)


def test_a_checkpoint_of_before_channels_came_last_is_gone_on_with_to_the_very_same_network(tmp_path: Path) -> None:
    through, batches = start(ask())
    run(through, batches, 2)
    save(through, tmp_path / "checkpoint.pt", {})
    stored = torch.load(tmp_path / "checkpoint.pt")
    for tensors in (stored["network"], *stored["optimiser"]["state"].values()):
        tensors |= {key: value.contiguous() for key, value in tensors.items()}
    torch.save(stored, tmp_path / "before.pt")

    resumed, _ = start(ask())
    restore(resumed, tmp_path / "before.pt")
    for weights, moments in resumed.optimiser.state.items():
        assert moments["exp_avg"].stride() == moments["exp_avg_sq"].stride() == weights.stride()
    run(through, batches, 4)
    run(resumed, batches, 4)
    assert same(resumed, through)


@pytest.mark.parametrize("architecture", architectures.names())
def test_channels_come_last_in_memory_and_change_neither_logits_nor_gradients(architecture: str) -> None:
    trained = begin(ask(architecture=architecture), 4, SIZE, CPU).network.eval()
    before = architectures.create(architecture, bands=4, size=SIZE).eval()
    before.load_state_dict(trained.state_dict())
    images = torch.from_numpy(rings(2, bands=4)[0])
    for network in (trained, before):
        network(images).sum().backward()
    for last, first in zip(trained.parameters(), before.parameters(), strict=True):
        assert last.is_contiguous(memory_format=torch.channels_last) or last.dim() != 4
        torch.testing.assert_close(last.grad, first.grad, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(trained(images), before(images), rtol=1e-4, atol=1e-4)


def test_the_third_of_five_epochs_is_the_last_of_three() -> None:
    short, batches = start(ask(epochs=3))
    long, _ = start(ask(epochs=5))
    assert values(run(short, batches, 3)) == values(run(long, batches, 3))
    assert same(short, long)
    assert [epoch.number for epoch in run(long, batches, 5)] == [4, 5]
    assert not same(short, long)


def test_the_global_random_state_neither_matters_nor_changes() -> None:
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        training, batches = start(ask())
        run(training, batches, 2)
        assert torch.equal(before, torch.get_rng_state())
        states.append(training)
    assert same(*states)


def test_what_watches_a_training_does_not_change_it() -> None:
    def validate(network: torch.nn.Module) -> dict[str, float]:
        torch.rand(10)
        network.eval()
        return {"score": score(network, rings(4)[0], CPU).mean()}

    watched, batches = start(ask())
    for epoch in train(watched, batches.epoch, 2, validate):
        assert set(epoch.metrics) == {"accuracy", "score"}
        torch.rand(3)
    alone, _ = start(ask())
    run(alone, batches, 2)
    assert same(watched, alone)


def test_the_seed_decides_weights_order_and_dropout() -> None:
    one, other, again = (start(ask(seed=seed))[0] for seed in (1, 2, 1))
    assert same(one, again)
    assert not same(one, other)
    _, batches = start(ask())  # the same order and augmentation for both
    losses = []
    for seed in (1, 2):
        training, _ = start(ask(seed=seed))
        training.network.load_state_dict(one.network.state_dict())
        losses.append(run(training, batches, 1)[0].loss)
    assert losses[0] != losses[1]


def test_an_easy_set_is_learned() -> None:
    training, batches = start(ask(epochs=8, learning_rate=2e-3), count=96)
    epochs = run(training, batches, 8)
    assert epochs[-1].loss < epochs[0].loss / 2
    pixels, labels = rings(300)
    assert roc_auc_score(labels[200:], score(training.network, pixels, CPU, rows=np.arange(200, 300))) > 0.95


def test_loss_and_accuracy_are_those_of_the_images_as_they_are_seen() -> None:
    # So small a step changes nothing within one epoch, and without dropout training sees what scoring sees.
    wanted = ask(learning_rate=1e-12, augment=[], hyperparameters={"dropout": 0.0})
    training, batches = start(wanted, count=21)
    [epoch] = run(training, batches, 1)
    pixels, labels = rings(21)
    logits = score(training.network, pixels, CPU)
    assert epoch.loss == pytest.approx(log_loss(labels, 1 / (1 + np.exp(-logits))), abs=1e-6)
    assert epoch.metrics["accuracy"] == pytest.approx(((logits > 0) == labels).mean(), abs=1e-6)
    assert epoch.seconds > 0


def test_one_step_is_one_step_of_adam_as_keras_has_it() -> None:
    wanted = ask(batch_size=24, augment=[], hyperparameters={"dropout": 0.0}, learning_rate=0.01)
    training, batches = start(wanted)
    before = [parameter.detach().clone() for parameter in training.network.parameters()]
    run(training, batches, 1)
    for old, new in zip(before, training.network.parameters(), strict=True):
        assert new.grad is not None  # of the only step there was
        expected = old - 0.01 * new.grad / (new.grad.abs() + 1e-7)
        torch.testing.assert_close(new.detach(), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("architecture", "scale", "loss"),
    [("lens_flow", 1e38, "nan"), ("lastro_epfl", 1e20, "0.693147")],  # there, only batch norm's variance overflows
)
def test_a_training_that_diverges_says_so(architecture: str, scale: float, loss: str) -> None:
    training, batches = start(ask(architecture=architecture, batch_size=24, augment=[], learning_rate=1.0))
    batches.pixels[:] *= np.float32(scale)
    complaint = f"{architecture} diverged in epoch 1, with a loss of {loss}; a learning_rate below 1 may help"
    with pytest.raises(RecipeError, match=complaint):
        run(training, batches, 1)
    assert training.epoch == 0


def interrupted(batches: Batches, at: int) -> Iterator[Batch]:
    for number, batch in enumerate(batches.epoch(2)):
        if number == at:
            raise KeyboardInterrupt
        yield batch


def test_ctrl_c_passes_through_and_leaves_checkpoint_and_random_state_as_they_were(tmp_path: Path) -> None:
    training, batches = start(ask())
    run(training, batches, 1)
    save(training, tmp_path / "checkpoint.pt", {})
    before = torch.get_rng_state()
    epochs = train(training, lambda number: interrupted(batches, at=1), 2, lambda network: {})
    with pytest.raises(KeyboardInterrupt):
        next(epochs)
    with pytest.raises(StopIteration):
        next(epochs)
    assert torch.equal(before, torch.get_rng_state())
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    resumed, _ = start(ask())
    restore(resumed, tmp_path / "checkpoint.pt")
    assert resumed.epoch == 1


def test_images_too_small_for_the_network_are_refused() -> None:
    with pytest.raises(RecipeError, match="lens_flow: images of 23 x 23 pixels are too small"):
        begin(ask(), 1, 23, CPU)


@pytest.mark.parametrize("count", [2, 9])
def test_batch_norm_gets_two_images_even_where_one_is_left_over(count: int) -> None:
    training, batches = start(ask(architecture="lastro_epfl", hyperparameters={"hidden": 8}), count)
    assert np.isfinite(run(training, batches, 1)[0].loss)


def test_half_precision_trains_where_it_is_asked_for() -> None:
    full, batches = start(ask(precision="float32", augment=[]))
    half, _ = start(ask(precision="bfloat16", augment=[]))
    losses = [run(training, batches, 2)[-1].loss for training in (full, half)]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], abs=0.05)
    assert all(parameter.dtype == torch.float32 for parameter in half.network.parameters())


@pytest.mark.parametrize("set_name", ["space", "ground"])
def test_real_cutouts_are_trained_on_and_scored(set_name: str, challenge1: Path) -> None:
    cutouts = [read_cutout(each.paths) for each in scan(challenge1 / set_name).objects]
    pixels = prepare(np.stack(cutouts), "zscale")[0].astype(np.float32)
    labels = (np.arange(len(pixels)) % 2).astype(np.int8)
    batches = Batches(pixels, labels, np.arange(len(pixels)), 4, CPU, ask().augment, 0)
    training = begin(ask(), pixels.shape[1], pixels.shape[-1], CPU)
    assert np.isfinite(run(training, batches, 1)[0].loss)
    assert np.isfinite(score(training.network, pixels, CPU)).all()


@pytest.mark.parametrize("architecture", ["lens_flow", "lastro_epfl"])
@pytest.mark.slow
def test_the_ladder_at_two_epochs_is_a_training_that_was_asked_for_two(architecture: str) -> None:
    small = {} if architecture == "lens_flow" else {"hyperparameters": {"hidden": 32}}
    ladder, batches = start(ask(architecture=architecture, epochs=5, **small))
    alone, others = start(ask(architecture=architecture, epochs=2, **small))
    assert values(run(ladder, batches, 2)) == values(run(alone, others, 2))
    assert same(ladder, alone)


def test_a_cosine_falls_from_the_recipes_rate_and_ends_near_zero() -> None:
    wanted = ask(schedule="cosine", epochs=10, learning_rate=0.01)
    rates = [learning_rate(wanted, epoch) for epoch in range(1, 11)]
    assert rates[0] == 0.01
    assert rates == sorted(rates, reverse=True)
    assert rates[5] == pytest.approx(0.005)
    assert 0 < rates[-1] < 0.0003
    training, batches = start(wanted)
    run(training, batches, 4)
    assert training.optimiser.param_groups[0]["lr"] == rates[3]


def test_a_cosine_at_two_of_four_epochs_is_another_network_than_one_of_two() -> None:
    of_four, batches = start(ask(schedule="cosine", epochs=4))
    of_two, others = start(ask(schedule="cosine", epochs=2))
    run(of_four, batches, 2)
    run(of_two, others, 2)
    assert not same(of_four, of_two)


def test_a_running_average_follows_the_weights_step_by_step() -> None:
    training, batches = start(ask(ema=0.5))
    assert training.average is not None
    plain, others = start(ask())
    seen = []
    for epoch in (1, 2):
        run(training, batches, epoch)
        run(plain, others, epoch)
        seen.append({name: each.clone() for name, each in training.average.network.state_dict().items()})
    assert all(
        torch.equal(a, b) for a, b in zip(training.network.parameters(), plain.network.parameters(), strict=True)
    )
    assert training.average.steps == 6  # 24 images, 8 a step

    again, batches = start(ask(ema=0.5))
    expected = {name: each.clone() for name, each in again.network.state_dict().items()}
    assert again.average is not None
    original = again.average.follow

    def follow(network: torch.nn.Module) -> None:
        decay = min(0.5, again.average.steps / (again.average.steps + 9))
        for name, now in network.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * now
        original(network)

    again.average.follow = follow  # type: ignore[method-assign]
    run(again, batches, 2)
    for name, each in again.average.network.state_dict().items():
        torch.testing.assert_close(each, expected[name])


@pytest.mark.parametrize("settings", [{"ema": 0.9}, {}])
def test_a_finished_training_is_extended_to_the_very_network_of_a_longer_one(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    through, batches = start(ask(epochs=5, **settings))
    expected = run(through, batches, 5)

    short, batches = start(ask(epochs=3, **settings))
    run(short, batches, 3)
    save(short, tmp_path / "checkpoint.pt", {})
    longer, batches = start(ask(epochs=5, **settings))
    restore(longer, tmp_path / "checkpoint.pt")
    assert values(run(longer, batches, 5)) == values(expected)[3:]
    assert same(longer, through)
    if through.average:
        assert longer.average is not None
        pairs = zip(longer.average.network.parameters(), through.average.network.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_a_cosine_cannot_be_extended(tmp_path: Path) -> None:
    training, _ = start(ask(schedule="cosine", epochs=3))
    save(training, tmp_path / "checkpoint.pt", {})
    longer, _ = start(ask(schedule="cosine", epochs=5))
    with pytest.raises(RecipeError, match="a checkpoint of another recipe"):
        restore(longer, tmp_path / "checkpoint.pt")
