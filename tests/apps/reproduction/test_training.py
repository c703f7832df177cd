"""Training many networks at once, against torch's own layers, autograd and optimizer, one network at a time."""

import math
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from relu_regions.apps.reproduction import training, training_loop
from relu_regions.apps.reproduction.batched_sgd import TrainingConfig, sample_order, unstack
from relu_regions.apps.reproduction.training import side_by_side, train

WIDTHS = (6, 32, 24, 3)
FAST = TrainingConfig(WIDTHS, learning_rate=0.05, momentum=0.9, batch_size=8, checkpoints=(0, 1, 5))


def samples(number: int = 43) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(number, 6, generator=generator), torch.randint(0, 3, (number,), generator=generator)


def trained_by_torch(
    x: torch.Tensor, labels: torch.Tensor, seed: int, config: TrainingConfig
) -> tuple[nn.Module, list[float], list[int]]:
    """From the same first weights in the same order of samples."""
    model = train(x, labels, [seed], replace(config, max_epochs=1, checkpoints=(0,)))[0].model(0)
    optimizer = torch.optim.SGD(
        model.parameters(), config.learning_rate, config.momentum, weight_decay=config.weight_decay
    )
    losses, errors = [], []
    for epoch in range(1, config.max_epochs + 1):
        loss_sum, wrong = 0.0, 0
        for chosen in sample_order(seed, epoch, len(x)).split(config.batch_size):
            logits = model(x[chosen])
            loss = nn.functional.cross_entropy(logits, labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.item() * len(chosen)
            wrong += int((logits.argmax(1) != labels[chosen]).sum())
        losses.append(loss_sum / len(x))
        errors.append(wrong)
    return model, losses, errors


@pytest.mark.long
@pytest.mark.parametrize("momentum", [0.0, 0.8])
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
@pytest.mark.parametrize("batch_size", [1, 8, 100])
@pytest.mark.parametrize("widths", [WIDTHS, (6, 3)])
def test_every_network_is_what_torch_would_train_alone(momentum, weight_decay, batch_size, widths):
    x, labels = samples()
    label_sets = torch.stack([labels, labels.flip(0), labels])
    config = TrainingConfig(
        widths, learning_rate=0.1, momentum=momentum, weight_decay=weight_decay, batch_size=batch_size,
        target_loss=1e-9, max_epochs=4, checkpoints=(2, 4),
    )  # fmt: skip
    for network, seed, classes in zip(train(x, label_sets, [3, 3, 4], config), [3, 3, 4], label_sets):
        model, losses, errors = trained_by_torch(x, classes, seed, config)
        torch.testing.assert_close(network.model().state_dict(), model.state_dict(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(network.losses.tolist(), losses, rtol=1e-4, atol=1e-5)
        assert network.error_counts.tolist() == errors
        halfway, _, _ = trained_by_torch(x, classes, seed, replace(config, max_epochs=2, checkpoints=()))
        torch.testing.assert_close(network.model(2).state_dict(), halfway.state_dict(), rtol=1e-4, atol=1e-5)
        assert torch.equal(network.checkpoints[4], network.parameters)
        assert (network.epochs, network.converged) == (4, False)


def test_networks_may_have_samples_of_their_own():
    x, labels = samples()
    config = replace(FAST, max_epochs=3, checkpoints=())
    both = train(torch.stack([x, -x]), labels, [1, 1], config)
    for network, own in zip(both, (x, -x)):
        alone = train(own, labels, [1], config)[0]
        torch.testing.assert_close(network.parameters, alone.parameters, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(both[0].parameters, both[1].parameters)


@pytest.mark.parametrize("target_loss", [0.05, math.inf])
def test_training_stops_at_zero_error_and_small_loss(target_loss):
    x, labels = samples()
    label_sets = torch.stack([(x[:, 0] > 0).long(), labels, labels])
    networks = train(x, label_sets, [0, 1, 2], replace(FAST, target_loss=target_loss))
    assert len({network.epochs for network in networks}) > 1
    for network, classes in zip(networks, label_sets):
        with torch.no_grad():
            logits = network.model()(x)
        assert network.converged
        assert network.errors == int((logits.argmax(1) != classes).sum()) == 0
        assert network.loss == pytest.approx(float(nn.functional.cross_entropy(logits, classes)), rel=1e-4)
        assert network.loss <= target_loss
        assert (network.error_counts[-1], len(network.losses)) == (0, network.epochs)
        # It would not have stopped at any earlier epoch that looked finished from its visits.
        early = [e for e in range(network.epochs - 1) if network.error_counts[e] == 0]
        for epoch in early:
            before = train(x, classes, [network.seed], replace(FAST, max_epochs=epoch + 1, checkpoints=()))[0]
            assert before.errors > 0 or before.loss > target_loss or network.losses[epoch] > target_loss


def test_the_networks_that_go_on_are_not_disturbed_by_those_that_end():
    x, labels = samples()
    easy = (x[:, 0] > 0).long()
    config = replace(FAST, target_loss=0.1)
    together = train(x, torch.stack([easy, labels, easy]), [0, 1, 2], config)
    alone = train(x, labels, [1], config)[0]
    assert together[0].epochs < together[1].epochs > together[2].epochs
    torch.testing.assert_close(together[1].losses[:20], alone.losses[:20], rtol=1e-3, atol=1e-4)


def test_the_epochs_run_out_and_infinite_losses_end_a_training():
    x, labels = samples()
    short = train(x, labels, [0], replace(FAST, max_epochs=5))[0]
    assert (short.epochs, short.converged) == (5, False)
    wild = train(x * 1e18, labels, [0], replace(FAST, learning_rate=1e6, momentum=0.0))[0]
    assert not wild.converged and wild.epochs < 50 and not math.isfinite(wild.losses[-1])


@pytest.mark.parametrize("initialisation", ["fan_in", "fixed"])
def test_first_weights_are_uniform(initialisation):
    x, labels = torch.zeros(1, 100), torch.zeros(1, dtype=torch.int64)
    config = TrainingConfig((100, 300, 2), initialisation=initialisation, checkpoints=(0,), max_epochs=1)
    first, second = (network.model(0) for network in train(x, labels, [0, 1], config))
    bound = {"fan_in": 0.1, "fixed": 0.05}[initialisation]
    weights, biases = first[0].weight.detach(), first[0].bias.detach()
    assert weights.abs().max() <= bound
    counts = torch.histc(weights, 10, -bound, bound)
    assert (counts - 3000).abs().max() < 5 * math.sqrt(3000)
    if initialisation == "fan_in":
        assert 0.09 < biases.abs().max() <= 0.1
        assert first[2].weight.abs().max() <= 300**-0.5
    else:
        assert biases.abs().max() == 0
    assert not torch.equal(weights, second[0].weight)


def test_unstack_gives_ordinary_networks():
    generator = torch.Generator().manual_seed(1)
    models = [nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)).double() for _ in range(3)]
    stacked = torch.stack([nn.utils.parameters_to_vector(model.parameters()) for model in models]).detach()
    state = torch.get_rng_state()
    again = unstack(stacked, (4, 5, 2))
    assert torch.equal(torch.get_rng_state(), state)
    x = torch.rand(7, 4, dtype=torch.float64, generator=generator)
    for model, copy in zip(models, again):
        assert torch.equal(model(x), copy(x))
        assert not copy.training
        assert repr(copy) == repr(model)
    with torch.no_grad():
        again[0][0].weight.zero_()
    assert stacked[0].abs().min() > 0
    with pytest.raises(ValueError, match=r"\(M, 37\), got \(3, 36\)"):
        unstack(stacked[:, :36], (4, 5, 2))


def test_what_is_cached_is_not_trained_again(tmp_path: Path, monkeypatch):
    x, labels = samples()
    first = train(x, labels, [0, 1], replace(FAST, max_epochs=6), cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    epochs = count_epochs(monkeypatch)
    again = train(x, labels, [1, 0], replace(FAST, max_epochs=6), cache_dir=tmp_path)
    assert epochs == []
    for network, cached in zip(first, again[::-1]):
        assert torch.equal(network.parameters, cached.parameters)
        assert torch.equal(network.losses, cached.losses)
        assert torch.equal(network.error_counts, cached.error_counts)
        assert (network.seed, network.loss, network.errors) == (cached.seed, cached.loss, cached.errors)
        assert network.checkpoints.keys() == cached.checkpoints.keys() == {0, 1, 5}
        assert all(torch.equal(network.checkpoints[e], cached.checkpoints[e]) for e in (0, 1, 5))
    # Of the next call, only the new seed is trained.
    train(x, labels, [0, 7], replace(FAST, max_epochs=6), cache_dir=tmp_path)
    assert epochs == [1] * 6


def count_epochs(monkeypatch) -> list[int]:
    """The number of networks in each epoch that is run from now on."""
    run, epochs = training_loop.run_epoch, []

    def counted(trainee, batch_size):
        epochs.append(len(trainee.active))
        return run(trainee, batch_size)

    monkeypatch.setattr(training_loop, "run_epoch", counted)
    return epochs


def test_another_configuration_seed_sample_or_label_is_another_network(tmp_path: Path):
    x, labels = samples()
    config = replace(FAST, max_epochs=1, checkpoints=())
    variants = [
        (x, labels, [0], config),
        (x, labels, [1], config),
        (x + 1e-3, labels, [0], config),
        (x, labels.roll(1), [0], config),
        *((x, labels, [0], replace(config, **change)) for change in (
            {"learning_rate": 0.2}, {"momentum": 0.5}, {"weight_decay": 0.1}, {"batch_size": 9},
            {"initialisation": "fixed"}, {"target_loss": 0.5}, {"max_epochs": 2}, {"checkpoints": (1,)},
            {"widths": (6, 5, 3)},
        )),
    ]  # fmt: skip
    for number, variant in enumerate(variants, start=1):
        train(*variant, cache_dir=tmp_path)
        assert len(list(tmp_path.iterdir())) == number
    # Samples per network are the same samples.
    train(torch.stack([x, x + 1e-3]), labels, [0, 0], config, cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == len(variants)


LONG = replace(FAST, target_loss=1e-9, max_epochs=400, checkpoints=(2, 300))
SCRIPT = """
import sys, torch
from dataclasses import replace
sys.path.insert(0, sys.argv[1])
from test_training import LONG, samples
from relu_regions.apps.reproduction.training import side_by_side, train
torch.set_num_threads(1)
x, labels = samples()
train(x, labels, [0, 1, 2], LONG, cache_dir=sys.argv[2], save_every=0.0)
"""


@pytest.mark.long
def test_a_killed_training_goes_on_where_it_was_saved(tmp_path: Path, monkeypatch):
    x, labels = samples()
    whole = train(x, labels, [0, 1, 2], LONG)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent), str(tmp_path)]
    process = subprocess.Popen(command, env=environment)
    try:
        while saved_epochs(tmp_path) < [20] * 3:
            assert process.poll() is None, "ended before it could be killed"
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    reached = saved_epochs(tmp_path)
    assert max(reached) < 400
    epochs = count_epochs(monkeypatch)
    resumed = train(x, labels, [0, 1, 2], LONG, cache_dir=tmp_path)
    assert sum(epochs) == sum(400 - epoch for epoch in reached)
    for network, other in zip(whole, resumed):
        torch.testing.assert_close(network.parameters, other.parameters, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(network.losses, other.losses, rtol=1e-3, atol=1e-4)
        assert other.checkpoints.keys() == {2, 300}
        torch.testing.assert_close(network.checkpoints[300], other.checkpoints[300], rtol=1e-3, atol=1e-4)


def saved_epochs(folder: Path) -> list[int]:
    epochs = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as file:
            epochs.append(len(file["losses"]))
    return epochs if len(epochs) == 3 else []


def test_unfinished_networks_are_saved_now_and_then(tmp_path: Path, monkeypatch):
    """An interruption by the person at the keyboard loses no more than the time between saves."""
    x, labels = samples()
    run, epochs = training_loop.run_epoch, []

    def interrupted(*arguments):
        epochs.append(1)
        if len(epochs) == 8:
            raise KeyboardInterrupt
        return run(*arguments)

    monkeypatch.setattr(training_loop, "run_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(x, labels, [0], LONG, cache_dir=tmp_path, save_every=0.0)
    with np.load(next(tmp_path.iterdir()), allow_pickle=False) as file:
        assert len(file["losses"]) == 7
    epochs.clear()
    with pytest.raises(KeyboardInterrupt):
        train(x, labels, [5], LONG, cache_dir=tmp_path, save_every=1e9)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_damaged_file_is_named(tmp_path: Path):
    x, labels = samples()
    train(x, labels, [0], replace(FAST, max_epochs=5), cache_dir=tmp_path)
    path = next(tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=rf"{path.name} is damaged .* delete it"):
        train(x, labels, [0], replace(FAST, max_epochs=5), cache_dir=tmp_path)


def test_a_model_of_no_checkpoint_is_refused():
    x, labels = samples()
    network = train(x, labels, [0], replace(FAST, max_epochs=5))[0]
    with pytest.raises(KeyError, match=r"epoch 3; there are \[0, 1, 5\]"):
        network.model(3)
    assert repr(network).startswith("TrainedNetwork(widths=(6, 32, 24, 3), seed=0, epochs=5, loss=")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": torch.zeros(43, 6, dtype=torch.uint8)}, TypeError, "uint8"),
        ({"x": torch.zeros(43, 5)}, ValueError, r"\(N, 6\)"),
        ({"x": torch.zeros(3, 43, 6)}, ValueError, r"\(2, N, 6\)"),
        ({"x": torch.full((43, 6), math.nan)}, ValueError, "finite"),
        ({"labels": torch.zeros(43, dtype=torch.int32)}, TypeError, "int32"),
        ({"labels": torch.zeros(42, dtype=torch.int64)}, ValueError, r"\(43,\) or \(2, 43\)"),
        ({"labels": torch.full((43,), 3)}, ValueError, "from 0 to 2"),
        ({"seeds": []}, ValueError, "seeds"),
        ({"seeds": [0, -1]}, ValueError, "negative"),
    ],
)
def test_bad_input_is_refused(change, error, message):
    x, labels = samples()
    arguments = {"x": x, "labels": labels, "seeds": [0, 1], **change}
    with pytest.raises(error, match=message):
        train(**arguments, config=FAST)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widths": (3,)}, "widths"),
        ({"widths": (3, 0, 2)}, "widths"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"momentum": 1.0}, "momentum"),
        ({"batch_size": 0}, "batch_size"),
        ({"target_loss": 0.0}, "target_loss"),
        ({"initialisation": "zeros"}, "'fan_in' or 'fixed'"),
        ({"checkpoints": (20_000,)}, "checkpoints"),
    ],
)
def test_bad_configurations_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(FAST, **change)


def test_large_networks_train_one_by_one_and_small_ones_together(monkeypatch):
    """How many go side by side changes nothing but rounding."""
    assert side_by_side((784, 128, 128, 128, 10)) == 1 and side_by_side((2, 128, 128, 128, 2)) == 7
    x, labels = samples()
    together = train(x, labels, [0, 1, 2], replace(FAST, max_epochs=6))
    monkeypatch.setattr(training, "_TOGETHER", 1)
    for one, alone in zip(together, train(x, labels, [0, 1, 2], replace(FAST, max_epochs=6)), strict=True):
        torch.testing.assert_close(one.parameters, alone.parameters, rtol=1e-4, atol=1e-5)
        assert one.epochs == alone.epochs and sorted(one.checkpoints) == sorted(alone.checkpoints)
