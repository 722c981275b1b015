"""Which language model to begin from: several judged on the same data, with their speed and their memory, each in a process of its own.

    python -m liandan.studies.candidates < job.json
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from liandan.studies.measure import resident

# what a row may hold beside the target, in the order in which it is shown; quality after these
FACTS = (
    "error", "parameters", "precision", "template", "samples", "peak_memory", "prefill_tokens_per_second", "decode_tokens_per_second",
    "bytes_per_token",
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """What one process is to do.

    Attributes:
        target: the model it judges; see `runtime.candidate.open_candidate`.
        targets: all of them: none is judged on what one of them has learned from.
        data: a path, or `source:<name>`: text, conversations, or questions with choices.
        limit: samples judged at most, spread evenly; 0: all.
        answers: written and judged at most, of conversations.
        few_shot: a file of examples shown before each question, or None.
    """

    target: str
    targets: tuple[str, ...]
    data: str
    limit: int
    answers: int
    few_shot: str | None


def compare(
    targets: Sequence[str],
    data: str,
    *,
    limit: int = 500,
    answers: int = 50,
    few_shot: str | None = None,
    watch: Callable[[dict[str, Any]], None] = lambda row: None,
) -> list[dict[str, Any]]:
    """Judge language models on the same samples of the same data, one after the other.

    Args:
        targets: runs, `hf/` names, folders of transformers.
        limit, answers, few_shot: see `Job`.
        watch: told each row when it is there.

    Returns:
        A row for each: `target`, the FACTS and {metric: value}; `peak_memory` is resident bytes with everything loaded (on CUDA: of the
        device), `bytes_per_token` tells how much text a token of this model stands for. A model that cannot be judged has `error` alone.

    Raises:
        DataError, RunError: the data or a run is not there, or the runs have learned all of the data.
    """
    from liandan.runtime.candidate import read_examples, samples_of

    samples_of(data, targets, limit)  # what is wrong with the data is told once, and before a model is loaded
    read_examples(few_shot)
    rows = []
    for row in _judged([Job(target, tuple(targets), data, limit, answers, few_shot) for target in targets]):
        watch(row)
        rows.append(row)
    return rows


def _judged(jobs: Sequence[Job]) -> Iterator[dict[str, Any]]:
    for job in jobs:
        command = [sys.executable, "-m", "liandan.studies.candidates"]
        child = subprocess.run(command, input=json.dumps(asdict(job)), capture_output=True, text=True, encoding="utf-8", check=False)
        if child.returncode:
            said = child.stderr.strip().splitlines()
            killed = "killed by the system, as it is when memory runs out"
            yield {"target": job.target, "error": killed if child.returncode == -9 else said[-1] if said else f"code {child.returncode}"}
        else:
            yield json.loads(child.stdout.splitlines()[-1])


def judge(job: Job) -> dict[str, Any]:
    """The row of one model; its peak of memory is this process's."""
    import torch

    from liandan.doctor.cpu import usable_cores
    from liandan.runtime.candidate import open_candidate, read_examples, samples_of, some_text

    source = samples_of(job.data, job.targets, job.limit)
    candidate = open_candidate(job.target)
    torch.set_num_threads(usable_cores())  # for all of them alike, however they were trained
    text = some_text(source)
    facts = {
        "parameters": candidate.parameters,
        "precision": candidate.device.precision,
        "template": "its own" if candidate.chats else "plain",
        "samples": len(source),
        "bytes_per_token": len(text.encode()) / len(candidate.tokenizer.encode(text)),
        **candidate.speed(text),
    }
    quality = candidate.judge(source, job.answers, read_examples(job.few_shot))
    # not getrusage's, which begins with what the process had that started this one
    found = {**facts, "peak_memory": torch.cuda.max_memory_reserved() if torch.cuda.is_initialized() else resident()[1]}
    return {"target": job.target, **{name: found[name] for name in FACTS if name in found}, **quality}


def main() -> None:
    """Judge by the job on standard input; print its row as JSON."""
    job = json.load(sys.stdin)
    print(json.dumps(judge(Job(**{**job, "targets": tuple(job["targets"])}))))


if __name__ == "__main__":
    main()
