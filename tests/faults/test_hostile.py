"""Files that mean harm, given to the command line: weights (S1) and recipes (S2). Nothing of them runs."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.faults.runs import finished, words
from tests.unit.models.small_gguf import write_gguf
from tests.unit.models.test_gguf import LIES
from tests.zygote import Zygote

CANARY = "canary"


class Calls:
    """Pickled, it is a call of `function`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.arguments


def payload(canary: Path) -> bytes:
    return pickle.dumps({"state_dict": {"w": Calls(os.system, f"touch '{canary}'")}}, 2)


def bare(canary: Path) -> bytes:
    return payload(canary)


def zipped(canary: Path) -> bytes:
    """As torch.save has written since 1.6."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("archive/data.pkl", payload(canary))
        archive.writestr("archive/version", "3\n")
    return content.getvalue()


def legacy(canary: Path) -> bytes:
    """As torch.save wrote before 1.6: the harm behind a magic number."""
    content = io.BytesIO()
    torch.save({"w": torch.zeros(1)}, content, _use_new_zipfile_serialization=False)
    head = io.BytesIO(content.getvalue())
    for _ in range(3):  # magic number, protocol, system
        pickle.load(head)
    return content.getvalue()[: head.tell()] + payload(canary)


def evaluated(canary: Path) -> bytes:
    return pickle.dumps({"w": Calls(eval, f"open({str(canary)!r}, 'w').close()")}, 2)


WEIGHTS = {
    "bare.bin": (bare, "system"),
    "新.pt": (zipped, "system"),
    "legacy.pth": (legacy, "system"),
    "eval.ckpt": (evaluated, "eval"),
}


def test_the_payloads_are_live(tmp_path: Path) -> None:
    for name, make in (("a", bare), ("b", evaluated)):
        pickle.loads(make(tmp_path / name))
        assert (tmp_path / name).exists()
    with zipfile.ZipFile(io.BytesIO(zipped(tmp_path / "c"))) as archive:
        pickle.loads(archive.read("archive/data.pkl"))
    assert (tmp_path / "c").exists()


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_would_run_code_are_refused_by_name(zygote: Zygote, name: str, tmp_path: Path) -> None:
    make, called = WEIGHTS[name]
    (tmp_path / name).write_bytes(make(tmp_path / CANARY))
    child = zygote.run(*words("run", f"model.weights={name}"), cwd=tmp_path)
    assert child.wait() == 3, child.text()
    told = child.text().splitlines()[-1]
    assert name in told and called in told and "Nothing was run" in told and "Traceback" not in child.text(), child.text()
    assert not (tmp_path / CANARY).exists()


def lying_header(size: int) -> bytes:
    return size.to_bytes(8, "little") + b'{"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'


@pytest.mark.parametrize("size", [2**40, 2**63, 3])
def test_safetensors_that_lie_are_refused(zygote: Zygote, size: int, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(lying_header(size))
    limits = {"before": ["tests.faults.limits:address_space"], "env": {"ADDRESS_SPACE": str(600 << 20)}}
    child = zygote.run(*words("run", "model.weights=w.safetensors"), cwd=tmp_path, **limits)
    assert child.wait() == 3 and "w.safetensors" in child.text() and "Traceback" not in child.text(), child.text()


@pytest.mark.parametrize("lie", ["2^60 tensors", "an array of 2^50 tokens", "a tensor of 2^40 columns"])
def test_gguf_files_that_lie_are_refused(zygote: Zygote, lie: str, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    write_gguf(tmp_path / "小.gguf")
    (tmp_path / "小.gguf").write_bytes(LIES[lie]((tmp_path / "小.gguf").read_bytes()))
    (tmp_path / "qa.jsonl").write_text('{"prompt": "问", "completion": "答"}\n' * 4, encoding="utf-8")
    child = zygote.run("train", "qa.jsonl", "model.name=hf/小.gguf", cwd=tmp_path)
    assert child.wait() == 3 and "小.gguf" in child.text() and "Traceback" not in child.text(), child.text()


# --- a run directory from somewhere else -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def theirs(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(zygote, tmp_path_factory.mktemp("theirs"), "train.duration.steps=4", "data.val=null")


def sealed(checkpoint: Path) -> None:
    """Make the manifest true again: whoever forges a file forges this too."""
    manifest = json.loads((checkpoint / "MANIFEST.json").read_text())
    manifest.pop("sha256")
    for name, entry in manifest["files"].items():
        content = (checkpoint / name).read_bytes()
        entry.update(sha256=hashlib.sha256(content).hexdigest(), size=len(content))

    def text(value: Any) -> bytes:
        return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()

    (checkpoint / "MANIFEST.json").write_bytes(text({**manifest, "sha256": hashlib.sha256(text(manifest)).hexdigest()}))


@pytest.mark.parametrize(
    "command", [["evaluate", "run", "--split", "train"], ["predict", "run", "x.png"], ["runs", "show", "run"], "resume"]
)
def test_a_run_whose_checkpoint_is_a_pickle(zygote: Zygote, theirs: Path, command: Any, tmp_path: Path) -> None:
    run = shutil.copytree(theirs, tmp_path / "run")
    checkpoint = run / "checkpoints" / "step-00000004"
    for name in ("model.safetensors", "optimizer.safetensors"):
        (checkpoint / name).write_bytes(payload(tmp_path / CANARY))
    sealed(checkpoint)
    arguments = [*words("run", "train.duration.steps=6", "data.val=null"), "--resume"] if command == "resume" else command
    child = zygote.run(*arguments, cwd=tmp_path)
    assert child.wait() != 0 or command[0] == "runs", child.text()
    assert "Traceback" not in child.text() and not (tmp_path / CANARY).exists(), child.text()


@pytest.mark.parametrize("file", ["resolved.yaml", "recipe.yaml"])
def test_a_run_whose_recipe_means_harm(zygote: Zygote, theirs: Path, file: str, tmp_path: Path) -> None:
    run = shutil.copytree(theirs, tmp_path / "run")
    (run / file).write_text(f'version: 1\ntask: image_classification\nmodel: !!python/object/apply:os.system ["touch {CANARY}"]\n')
    for arguments in (["evaluate", "run", "--split", "train"], ["runs", "show", "run"], [*words("run", "data.val=null"), "--resume"]):
        child = zygote.run(*arguments, cwd=tmp_path)
        child.wait()
        assert "Traceback" not in child.text() and not (tmp_path / CANARY).exists(), child.text()


def test_no_option_turns_the_guard_off(zygote: Zygote, tmp_path: Path) -> None:
    said = ""
    for arguments in (["train", "--help"], ["evaluate", "--help"], ["predict", "--help"], ["--help"], ["recipe", "schema"]):
        child = zygote.run(*arguments, cwd=tmp_path)
        assert child.wait() == 0
        said += child.text().lower()
    assert "--resume" in said and "max_unreadable" in said
    for word in ("pickle", "unsafe", "weights_only", "trust", "insecure"):
        assert word not in said, word


# --- S2 ----------------------------------------------------------------------------------------------------------------------------

GOOD = "version: 1\ntask: image_classification\ndata: {train: 'source:digits'}\nmodel: {name: liandan/lenet5}\n"
# what is written below the good part (or in its place), and what the answer must hold
RECIPES = {
    "a Python object": (GOOD + f'seed: !!python/object/apply:os.system ["touch {CANARY}"]\n', "坏.yaml:5"),
    "an unknown tag": (GOOD + "name: !Canary x\n", "坏.yaml:5"),
    "a target": (GOOD + f"optimizer: {{name: sgd, _target_: os.system, command: touch {CANARY}}}\n", "坏.yaml:5"),
    "a dotted optimizer": (GOOD + "optimizer: {name: os.system}\n", "坏.yaml:5"),
    "a dotted model": (GOOD.replace("liandan/lenet5", "os.system"), "坏.yaml:4"),
    "a dotted task": (GOOD.replace("image_classification", "liandan.tasks.gan:Gan"), "坏.yaml:2"),
    "a dotted key": (GOOD + f"logging.os.system: touch {CANARY}\n", "坏.yaml:5"),
    "a transform": (GOOD.replace("digits'}", "digits', transforms: {train: [{name: os.system}]}}"), "坏.yaml:3"),
    "a path as a base": (GOOD + "base: ../../../../../../etc/passwd\n", "坏.yaml:5"),
    "a misspelled key": (GOOD + "optimiser: {name: sgd}\n", '"optimizer"'),
    "a million levels": ("[" * 1_000_000, "坏.yaml"),
    "laughs": ("a0: &a0 [lol]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)), "坏.yaml"),
}


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("verb", [["train"], ["recipe", "check"]], ids=["train", "check"])
def test_a_recipe_that_means_harm_is_a_fault_with_its_line(zygote: Zygote, verb: list[str], name: str, tmp_path: Path) -> None:
    text, expected = RECIPES[name]
    (tmp_path / "坏.yaml").write_text(text, encoding="utf-8")
    limits = {"before": ["tests.faults.limits:address_space"], "env": {"ADDRESS_SPACE": str(200 << 20)}}
    child = zygote.run(*verb, "坏.yaml", cwd=tmp_path, **limits)
    assert child.wait() == 2, child.text()
    assert expected in child.text() and "Traceback" not in child.text() and "root:x" not in child.text(), child.text()
    assert not (tmp_path / CANARY).exists()
    assert not (tmp_path / "runs").exists()  # judged before anything is made


OVERRIDES = [
    f'model=!!python/object/apply:os.system ["touch {CANARY}"]',
    "model.name=os.system",
    "model.__class__=x",
    "optimizer._target_=os.system",
    "data.transforms.train=[{name: subprocess.run}]",
    "loss={name: __import__}",
    "schedule.name=../../etc/passwd",
    "evaluate.metrics=[os.system]",
    "task=os",
    "seed=" + "[" * 100_000,
    "=x",
    "x" * 100_000,
]


@pytest.mark.parametrize("override", OVERRIDES, ids=lambda text: text[:24])
def test_an_override_that_means_harm_is_a_fault(zygote: Zygote, override: str, tmp_path: Path) -> None:
    child = zygote.run(*words("run", override), cwd=tmp_path)
    assert child.wait() == 2, child.text()
    assert "command line" in child.text() and "Traceback" not in child.text(), child.text()
    assert not (tmp_path / CANARY).exists() and not (tmp_path / "run").exists()
