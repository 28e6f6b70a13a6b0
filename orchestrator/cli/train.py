"""The command that trains one network."""

from __future__ import annotations

from contextlib import closing

import click

from orchestrator.cli import options
from orchestrator.cli.progress import bar, epoch_line, open_set


@click.command()
@click.option("--model", metavar="NETWORK", required=True, help="A file of architectures/, such as lens_flow.")
@click.option("--data", metavar="SET", default="simulated-space", help="A folder, simulated-space or simulated-ground.")
@click.option("--test-data", metavar="SET", help="A set of its own to test on.")
@click.option(
    "--epochs", metavar="N[,N…]", default="10", help="One count, or several that one training passes: 5,10,25."
)
@click.option("--batch-size", metavar="N", default="32", help="Images a step.")
@click.option("--learning-rate", type=float, default=1e-3, help="Of Adam.")
@click.option("--normalisation", metavar="NAME", default="zscale", help="zscale, asinh or none.")
@click.option("--augment", type=bool, is_flag=False, flag_value=True, default=True, help="Augment the training images.")
@click.option("--no-augment", is_flag=True, help="The same as --augment false.")
@click.option("--split", metavar="SCHEME", default="0.7/0.1/0.2", help="Shares, lexactum, or official.")
@click.option("--seed", metavar="N", default="0", help="Decides weights, order, augmentation and split.")
@click.option(
    "--hyperparameter", "hyperparameters", metavar="NAME=VALUE", multiple=True, help="A hyperparameter of the network."
)
@options.max_bad
@options.device
@options.tracking_uri
def train(
    model: str,
    data: str,
    test_data: str | None,
    epochs: str,
    batch_size: str,
    learning_rate: float,
    normalisation: str,
    augment: bool,
    no_augment: bool,
    split: str,
    seed: str,
    hyperparameters: tuple[str, ...],
    max_bad: float,
    device: str | None,
    tracking_uri: str | None,
) -> None:
    """Train one network, and record a row of results at each epoch count.

    Interrupted and run again, it goes on from its checkpoint.
    """
    from rich.console import Console

    from orchestrator.learning import devices
    from orchestrator.learning.recipe import recipe as make_recipe
    from orchestrator.reports import tables
    from orchestrator.studies import trial
    from orchestrator.tracking import runs, store

    counts = sorted({_whole("--epochs", each) for each in epochs.split(",")})
    if counts[0] < 1:
        raise click.BadParameter(f"{counts[0]}: counts from 1 on are expected", param_hint="--epochs")
    recipe = make_recipe(
        {
            "architecture": model,
            "hyperparameters": dict(_hyperparameter(each) for each in hyperparameters),
            "normalisation": normalisation,
            **({} if augment and not no_augment else {"augment": ()}),
            "learning_rate": learning_rate,
            "batch_size": _whole("--batch-size", batch_size),
            "epochs": counts[-1],
            "split": split,
            "seed": _whole("--seed", seed),
        }
    )
    chosen = devices.choose(device)
    uri = store.connect(tracking_uri)
    cutouts = {normalisation: open_set(data, normalisation, max_bad)}
    tested = {normalisation: open_set(test_data, normalisation, max_bad)} if test_data else None
    study = f"train-{cutouts[normalisation].set.name}"
    bench = trial.Bench(cutouts, tested, chosen, store.experiment(study), study)
    training = closing(trial.run(recipe, counts, bench, None, f"{model} seed {recipe.seed}"))
    with bar(f"Training {model} on {chosen}", counts[-1]) as say, training as done:
        for epoch in done:
            say(epoch.number, line=epoch_line(model, epoch, counts[-1]))
    same = (recipe.digest, cutouts[normalisation].digest)
    Console().print(tables.as_table([row for row in runs.rows(study) if (row.recipe, row.dataset) == same]))
    click.echo(f"Recorded in {uri}; `orchestrator table --study {study}` compares all, `orchestrator ui` shows them.")


def _whole(option: str, text: str) -> int:
    """A whole number; `mlflow run` may write it as 32.0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.5
    if not number.is_integer():
        raise click.BadParameter(f"'{text}' is not a whole number", param_hint=option)
    return int(number)


def _hyperparameter(text: str) -> tuple[str, bool | int | float | str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise click.BadParameter(f"'{text}' is not NAME=VALUE, such as hidden=128", param_hint="--hyperparameter")
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    return name, value
