"""Laws broken on purpose: each function is called in a child before the command, and a law's test must catch what it does."""
# pyright: reportAttributeAccessIssue=false
# replacing the methods of other classes is what this file is for

from __future__ import annotations

import itertools
import math
import os


def mean_of_means() -> None:
    """Law 1: every micro-batch weighs the same, as when the means of micro-batches are averaged."""
    from liandan.engine import turn

    def averaged(parts, turn_):
        counts = [parts.task.count(batch) for batch in turn_.batches]
        return {name: count * len(counts) for name, count in counts[0].items()} if counts else {}

    turn.global_counts = averaged


def balance_of_the_batch() -> None:
    """Law 1: experts are balanced over whatever sequences came together in a micro-batch."""
    from liandan.models import experts

    ours = experts.balance

    def over_the_batch(routings, real):
        flat = [experts.Routing(r.probabilities.flatten(0, 1)[None], r.wanted.flatten(0, 1)[None]) for r in routings]
        return ours(flat, real.flatten()[None]) * len(real)

    experts.balance = over_the_batch


def mean_of_processes() -> None:
    """Law 1: DeepSpeed's mean over processes where their sum belongs."""
    from liandan.engine.zero import Zero

    ours = Zero.backward
    Zero.backward = lambda self, objective: ours(self, None if objective is None else objective / self.device.world)


def as_gradients_come() -> None:
    """Law 1: DeepSpeed shares gradients out in the order of each process's own graph."""
    from liandan.engine.zero import Zero

    Zero._in_order = lambda self, parameter, group: self.share_out(parameter, group)


def dropout_by_rank() -> None:
    """Law 1: dropout follows the process instead of the micro-batch."""
    from liandan.data.loader import Loader

    ours = Loader.training

    def training(self, *arguments):
        for batches in ours(self, *arguments):
            yield [{**batch, "rng": batch["rng"] ^ self.rank << 20} for batch in batches]

    Loader.training = training


def statistics_left_alone() -> None:
    """Law 1: BatchNorm's running statistics move once for each micro-batch of each process."""
    from liandan.engine.batchnorm import RunningStatistics

    RunningStatistics.after = lambda self, samples: None
    RunningStatistics.close = lambda self: None


def forget_optimizer() -> None:
    """Law 2: a resume without the optimizer's state."""
    from liandan.engine.state import State

    ours = State.restore

    def restore(self, tensors, documents):
        rest = {k: v for k, v in tensors["optimizer.safetensors"].items() if not k.startswith("optimizer/")}
        ours(self, {**tensors, "optimizer.safetensors": rest}, documents)

    State.restore = restore


def forget_average() -> None:
    """Law 2: a resume whose moving average begins anew at the weights."""
    from liandan.engine.state import State

    ours = State.restore

    def restore(self, tensors, documents):
        ours(self, tensors, documents)
        if self.ema is not None:
            self.ema.mean = {k: v.detach().clone() for k, v in self.model.state_dict().items()}

    State.restore = restore


def mix_neighbors() -> None:
    """Law 1: a sample is mixed with its neighbor in the micro-batch."""
    import torch

    from liandan.data.image_pipeline import ImageSamples

    ours = ImageSamples.collate

    def collate(self, samples):
        batch = ours(self, samples)
        if "share" not in batch:
            return batch
        share = batch["share"].view(-1, 1, 1, 1)
        mixed = share * batch["image"] + (1 - share) * batch["image"].roll(1, 0)
        return {**batch, "image": mixed.to(torch.float32), "other": batch["label"].roll(1, 0)}

    ImageSamples.collate = collate


def sampling_that_remembers() -> None:
    """Law 2: what is drawn depends on how much was drawn before."""
    from liandan.data.sampling import Balanced

    ours, calls = Balanced.indices, itertools.count(1)
    Balanced.indices = lambda self, slots, epoch: ours(self, slots, epoch + next(calls))


def forget_plateau() -> None:
    """Law 2: a resume whose learning rate has not been reduced yet."""
    from liandan.engine.state import State

    ours = State.restore

    def restore(self, tensors, documents):
        ours(self, tensors, documents)
        self.progress.reduced = {}

    State.restore = restore


def forget_stage() -> None:
    """Law 2: a resumed run freezes again what had begun to learn."""
    from liandan.runtime.assemble import Parts

    ours, first = Parts.training_mode, []

    def training_mode(self, step):
        first.append(step)
        ours(self, step - first[0])

    Parts.training_mode = training_mode


def wake_the_frozen() -> None:
    """What is frozen goes into training mode with the rest, as after a bare `model.train()`."""
    from liandan.runtime.assemble import Parts

    def training_mode(self, step):
        self.model.train()

    Parts.training_mode = training_mode


def unkeyed_dropout() -> None:
    """Law 2, R1n: dropout from a generator that nobody restores."""
    from liandan.engine import turn

    turn.mix = lambda *_: int.from_bytes(os.urandom(7), "little")


def forget_position() -> None:
    """Law 2, R1n: a resumed run takes its samples from the beginning again."""
    from liandan.data.loader import Loader

    ours = Loader.training
    Loader.training = lambda self, batch, micro, start, stop: ours(self, batch, micro, 0, stop - start)


def forget_task() -> None:
    """Law 2: a resume without the task's own state."""
    from liandan.engine.state import State
    from liandan.tasks import TASKS, resolve

    assert State
    for name in TASKS:
        resolve(name).load_state_dict = lambda self, state: None


def drop_partial_batch() -> None:
    """Law 3: evaluation leaves the last partial batch out."""
    from liandan.data.loader import Loader

    ours = Loader.evaluation

    def evaluation(self, batch_size):
        return (batch for batch in ours(self, batch_size) if len(batch["index"]) == batch_size)

    Loader.evaluation = evaluation


def noisy_validation() -> None:
    """Law 3: validation is augmented, anew each time."""
    from liandan.data.image_pipeline import ImagePipeline
    from liandan.data.loader import Loader

    plain = ImagePipeline.samples
    ImagePipeline.samples = lambda self, source, training: plain(self, source, True)

    ours, turns = Loader._fetch, itertools.count()

    def fetch(self, requests, training):
        offset = 0 if training else int.from_bytes(os.urandom(4), "little") + next(turns)
        return ours(self, ((indices, keys ^ offset) for indices, keys in requests), True)

    Loader._fetch = fetch


def unchecked() -> None:
    """Law 4: nothing is asked about losses and gradients."""
    from liandan.engine import turn

    class Calm:
        def __getattr__(self, name: str) -> object:
            return getattr(math, name)

        @staticmethod
        def isfinite(_: float) -> bool:
            return True

    turn.math = Calm()


def texts_see_one_another() -> None:
    """Packing: a token sees all before it in the row, other texts too."""
    import torch

    from liandan.models import packing
    from liandan.runtime import model

    packing.visible = lambda segments: torch.ones(segments.shape[1], segments.shape[1], dtype=torch.bool).tril()[None, None]
    model.check_packing = lambda recipe, model: None
