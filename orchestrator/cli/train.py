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
@click.option("--schedule", metavar="NAME", default="constant", help="Of the learning rate: constant or cosine.")
@click.option(
    "--ema", type=float, default=0.0, help="Decay of a running average of the weights, such as 0.999; 0: none."
)
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
@click.option(
    "--gpus",
    type=click.IntRange(1),
    default=1,
    help="GPUs that train the network together, each on a share of each batch.",
)
@options.tracking_uri
def train(
    model: str,
    data: str,
    test_data: str | None,
    epochs: str,
    batch_size: str,
    learning_rate: float,
    schedule: str,
    ema: float,
    normalisation: str,
    augment: bool,
    no_augment: bool,
    split: str,
    seed: str,
    hyperparameters: tuple[str, ...],
    max_bad: float,
    device: str | None,
    gpus: int,
    tracking_uri: str | None,
) -> None:
    """Train one network, and record a row of results at each epoch count.

    Interrupted and run again, it goes on from its checkpoint.
    """
    from rich.console import Console

    from orchestrator.errors import without_password
    from orchestrator.learning import devices
    from orchestrator.learning.recipe import recipe as make_recipe
    from orchestrator.reports import tables
    from orchestrator.studies import trial
    from orchestrator.studies.bench import Bench
    from orchestrator.tracking import leftovers, records, store

    counts = options.counts("--epochs", epochs)
    recipe = make_recipe(
        {
            "architecture": model,
            "hyperparameters": dict(_hyperparameter(each) for each in hyperparameters),
            "normalisation": normalisation,
            **({} if augment and not no_augment else {"augment": ()}),
            "learning_rate": learning_rate,
            "schedule": schedule,
            "ema": ema,
            "batch_size": options.whole("--batch-size", batch_size),
            "epochs": counts[-1],
            "split": split,
            "seed": options.whole("--seed", seed),
        }
    )
    chosen = devices.first_of(gpus, devices.choose(device))
    uri = leftovers.connect(tracking_uri)
    cutouts = {normalisation: open_set(data, normalisation, max_bad)}
    tested = {normalisation: open_set(test_data, normalisation, max_bad)} if test_data else None
    study = f"train-{cutouts[normalisation].set.name}"
    bench = Bench(cutouts, tested, chosen, store.experiment(study), study, gpus)
    trainings = recipe.trainings(counts)
    done = 0
    with bar(f"Training {model} on {chosen}", sum(each.epochs for each, _ in trainings)) as say:
        for each, passed in trainings:
            with closing(trial.run(each, passed, bench, None, f"{model} seed {recipe.seed}")) as training:
                for epoch in training:
                    say(done + epoch.number, line=epoch_line(model, epoch, each.epochs))
            done += each.epochs
    done_in = {records.find_training(study, each, bench.data_digest, bench.test_digest) for each, _ in trainings}
    rows = [row for row in records.rows(study) if row.trial in done_in]
    Console().print(tables.as_table(rows))
    where = without_password(uri)
    click.echo(f"Recorded in {where}; `orchestrator table --study {study}` compares all, `orchestrator ui` shows them.")


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
