"""The command that finds and mends what killed processes left behind."""

from __future__ import annotations

import click

from orchestrator.cli import options


@click.command()
@click.option("--mend", is_flag=True, help="Put it right; without, it is only told.")
@options.storage
@options.tracking_uri
@click.pass_context
def doctor(context: click.Context, mend: bool, storage: str, tracking_uri: str | None) -> None:
    """Find what killed processes left behind: runs and trials that seem to run, half-written rows and checkpoints.

    A sweep does it for itself when it begins. The exit status is 1 where something is left to be done.
    """
    from orchestrator.studies import doctor as doctors
    from orchestrator.studies import storage as storages
    from orchestrator.tracking import store

    store.connect(tracking_uri, storage)
    trials = storages.connect(storage)
    found = doctors.mend(trials, asked=True) if mend else doctors.examine(trials)
    for each in found:
        done = mend and each.mend is not None
        click.echo(f"{each.what}: {'did' if done else 'to do'}: {each.remedy}")
    left = [each for each in found if not mend or each.mend is None]
    click.echo(f"{len(found)} found, {len(left)} left to do" if found else "nothing to mend")
    context.exit(1 if left else 0)
