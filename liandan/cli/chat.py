"""liandan chat"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import typer

from liandan.cli.output import JSON, result, say


def command(
    target: str = typer.Argument(help="A run directory, a run's name, or last."),
    once: str = typer.Option(None, "--once", help="Ask this alone, print the answer, and end."),
    system: str = typer.Option(None, "--system", help="What the model is told before the conversation."),
    temperature: float = typer.Option(0.0, "--temperature", help="0: the most likely answer; 1: as likely as the model says."),
    top_p: float = typer.Option(1.0, "--top-p", help="Only the likeliest tokens that reach this probability together."),
    limit: int = typer.Option(512, "--max-tokens", min=1, help="Length of an answer (tokens)."),
    stops: list[str] = typer.Option([], "--stop", help="Text that ends an answer and is no part of it; may be given several times."),
    seed: int = typer.Option(0, "--seed", min=0, help="Of the draws."),
    int8: bool = typer.Option(False, "--int8", help="Round the weights to 8 bits: faster on a CPU, and not quite the same answers."),
    as_json: bool = JSON,
) -> None:
    """Talk with a run that has learned to answer. An empty line or Ctrl-D ends it."""
    from liandan.deploy.chat import Chat, Sampling
    from liandan.runs.layout import find
    from liandan.runtime.opened import open_run

    try:
        how = Sampling(temperature, top_p=top_p)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if "" in stops:
        raise typer.BadParameter("--stop: expected a text of at least one character, received an empty one")
    chat = Chat(open_run(find(target), warn=say), how, system=system, seed=seed, limit=limit, stops=stops, int8=int8)
    if once is not None:
        pieces = chat.ask(once)
        if as_json:
            answer = "".join(pieces)
            result({"prompt": once, "text": answer})
        else:
            speak(pieces)
        return
    watched = sys.stdin.isatty()
    while line := ask(watched):
        speak(chat.ask(line))


def ask(watched: bool) -> str:
    """The next line a person types; empty at the end."""
    try:
        return input("> " if watched else "").strip()
    except EOFError:
        return ""


def speak(pieces: Iterator[str]) -> None:
    """Print pieces of text as they come."""
    for piece in pieces:
        print(piece, end="", flush=True)
    print()
