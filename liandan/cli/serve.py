"""liandan serve"""

from __future__ import annotations

import typer

from liandan.cli.output import error, say


def command(
    target: str = typer.Argument(help="A run directory, a run's name, or last."),
    host: str = typer.Option("127.0.0.1", "--host", help="The address to listen on; beyond this machine a token is needed."),
    port: int = typer.Option(8000, "--port", min=0, max=65535, help="0 takes a free one and says which."),
    token: str = typer.Option("", "--token", envvar="LIANDAN_TOKEN", help="What clients must show: Authorization: Bearer <token>."),
    queue: int = typer.Option(256, "--queue", min=1, help="Predictions and texts that may wait or be in work; more get 503."),
    batch_size: int = typer.Option(16, "--batch-size", min=1, help="Predictions made together."),
    batch_wait: float = typer.Option(2.0, "--batch-wait", min=0, help="Time that a first prediction waits for others (milliseconds)."),
    timeout: float = typer.Option(60.0, "--timeout", min=0.1, help="Deadline of a request (seconds), after which it gets 504."),
    patience: float = typer.Option(10.0, "--patience", min=0.1, help="Time for a request to arrive (seconds), 64 KiB/s for larger ones."),
    max_body: float = typer.Option(16.0, "--max-body", min=0.001, help="Size of a request (MiB)."),
    max_tokens: int = typer.Option(1024, "--max-tokens", min=1, help="Length of a text that is written (tokens)."),
    drain: float = typer.Option(30.0, "--drain", min=1, help="Time to answer what is in work when told to end (seconds)."),
) -> None:
    """Serve a run over HTTP: predictions, and for language runs OpenAI's chat and completions. Its log is JSON, a line a request."""
    from liandan.runs.layout import RunError, find

    try:
        from liandan.deploy.server import Settings, serve
    except ImportError as missing:
        raise RunError(f"serving needs packages that cannot be imported here ({missing}): pip install 'liandan[serve]'") from missing
    settings = Settings(
        host=host, port=port, token=token, queue=queue, batch_size=batch_size, batch_wait=batch_wait / 1000, timeout=timeout,
        patience=patience, max_body=int(max_body * 2**20), max_tokens=max_tokens, drain=drain,
    )  # fmt: skip
    if not settings.local and not token:
        error(f"serve: {host} can be reached from other machines: give a --token (or LIANDAN_TOKEN), or listen on 127.0.0.1")
        raise typer.Exit(2)
    raise typer.Exit(serve(find(target), settings, say))
