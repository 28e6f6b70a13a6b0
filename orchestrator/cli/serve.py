"""The command that serves a model over HTTP."""

from __future__ import annotations

import contextlib

import click

from orchestrator.cli import options

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@click.command()
@click.option("--model", metavar="URI", required=True, help="Such as models:/lens-finder-space@champion.")
@click.option("--host", default="127.0.0.1", help="Address to listen on; by default of this machine alone.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000)
@click.option(
    "--allowed-hosts",
    metavar="NAME[,NAME…]",
    default="",
    help="Further names that it is reached by, such as that of a proxy in front: requests to others are refused.",
)
@click.option("--max-request-mb", type=click.IntRange(1), default=64, help="Largest request, in megabytes.")
@options.device
@options.tracking_uri
def serve(
    model: str,
    host: str,
    port: int,
    allowed_hosts: str,
    max_request_mb: int,
    device: str | None,
    tracking_uri: str | None,
) -> None:
    """Score cutouts that are sent over HTTP, until Ctrl-C or SIGTERM; what has come by then is answered.

    Takes FITS files, arrays of numpy and JSON. The model stays the one that was loaded, wherever its alias moves.
    """
    options.free(host, port)
    from orchestrator.learning import devices
    from orchestrator.studies import serving, visitors
    from orchestrator.tracking import models, store

    chosen = devices.choose(device)
    store.connect(tracking_uri)
    loaded = models.load(model, chosen)
    names = {name.strip().lower() for name in allowed_hosts.split(",") if name.strip()}
    if host not in LOOPBACK:
        click.echo(
            f"{host}: anyone who reaches this port can send, there is no authentication; put a proxy with TLS and a"
            " login, such as nginx or Caddy, in front.",
            err=True,
        )
    click.echo(f"{loaded.version} on http://{host}:{port} (Ctrl-C stops it)")
    with contextlib.suppress(KeyboardInterrupt):  # after the last answer uvicorn raises what it was sent
        visitors.server(serving.app(loaded, chosen, max_request_mb * 10**6, names), host, port).run()
    click.echo("stopped")
