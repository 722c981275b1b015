"""liandan VERB [TARGET ...] [key=value ...] [--flags]

One thin file a command; the only room that prints. Heavy imports happen inside the command that needs them.
"""

from __future__ import annotations

import logging
import signal
import sys

import typer

from liandan.cli import bench, chat, compare, data, doctor, evaluate, explain, export, model, plan, predict, recipe, runs, serve, train
from liandan.cli.output import error

# exit codes: 0 done; 1 judged bad; 2 usage or recipe; 3 refused; 130 / 143 interrupted after a complete checkpoint.
# looked up among the modules already imported: an error's own module is
_EXIT_CODES = [
    ("liandan.recipe", "RecipeError", 2),
    ("liandan.data.errors", "DataError", 2),
    ("liandan.data.errors", "Unreadable", 2),
    ("liandan.data.loader", "LoaderError", 1),
    ("liandan.models", "ModelError", 2),
    ("liandan.models.weights", "WeightsError", 3),
    ("liandan.sources", "SourceError", 1),
    ("liandan.runs.lock", "LockHeld", 3),
    ("liandan.engine.session", "Refused", 3),
    ("liandan.engine.state", "StateError", 3),
    ("liandan.engine.sharing", "Unsupported", 2),
    ("liandan.engine.turn", "NonFinite", 1),
    ("liandan.engine.turn", "OutOfMemory", 1),
    ("liandan.runs.layout", "RunError", 2),
    ("liandan.studies.experts", "ConfigError", 2),
    ("liandan.deploy.artefact", "Altered", 3),
    ("liandan.deploy.artefact", "ArtefactError", 2),
    ("liandan.deploy.bench", "BenchError", 1),
    ("liandan.deploy.export", "Unfaithful", 1),
    ("liandan.deploy.export", "NotWorthIt", 3),
    ("liandan.deploy.export", "ExportError", 2),
]

# memory that a step exhausts is the engine's business, which halves the micro-batch; this is for all else
_LESS = (
    "lower data.workers, evaluate.batch_size or train.batch_size, use a smaller model, or a device with more memory; "
    "a run that has a checkpoint goes on from it with --resume"
)

app = typer.Typer(
    help="From your own data to a trained, measured and served model.  炼丹：从自己的数据到训练好的模型。",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip
app.command("train")(train.command)
app.command("plan")(plan.command)
app.command("evaluate")(evaluate.command)
app.command("predict")(predict.command)
app.command("explain")(explain.command)
app.command("chat")(chat.command)
app.command("export")(export.command)
app.command("serve")(serve.command)
app.command("compare")(compare.command)
app.command("bench")(bench.command)
app.command("doctor")(doctor.command)
for group in (recipe, data, model, runs):
    app.add_typer(group.app, name=group.__name__.rpartition(".")[2])


def exit_code(failure: BaseException) -> int | None:
    """The exit code of an error that is a person's to mend, or None for a defect of ours."""
    for module, name, code in _EXIT_CODES:
        known = getattr(sys.modules.get(module), name, None)
        if known is not None and isinstance(failure, known):
            return code
    return None


def main() -> None:
    """Entry point: errors a person can mend are told without a traceback."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `liandan runs list | head` ends quietly
    # transformers imports DeepSpeed wherever it is installed, whose remarks go to standard output, where results stand alone
    logging.getLogger("DeepSpeed").addFilter(lambda record: record.levelno > logging.WARNING)
    try:
        app()
    except Exception as failure:
        code, text = exit_code(failure), str(failure)
        device = sys.modules.get("liandan.runtime.device")
        if code is None and device is not None and (exhausted := device.out_of_memory(failure)):
            code, text = 1, f"out of memory: {exhausted}; {_LESS}"
        if code is None:
            raise
        error(text)
        sys.exit(code)
