"""DeepSpeed's ZeRO: each process keeps a part of the optimizer's state, and of the gradients (Rajbhandari et al., 2020, stages 1 and 2)."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from liandan.engine.sharing import Entries, Named, Unsupported
from liandan.runtime.device import Device

_BUCKET = 1 << 25  # numbers sent at once; DeepSpeed's own 500 million are a buffer of 2 GB


class Zero:
    """A DeepSpeed engine around the optimizer alone: forward passes, precision, order and checkpoints stay liandan's.

    Args:
        named: the trainable parameters. Their storage becomes a part of DeepSpeed's flat buffers.
        optimizer: not used itself any more, but for its class and groups.
        stage: 1 shares out the optimizer's state, 2 the gradients too.
    """

    again = False  # the others would wait in the middle of sharing out their gradients

    def __init__(
        self, model: nn.Module, named: Named, optimizer: torch.optim.Optimizer, device: Device, stage: int, clip_norm: float | None
    ) -> None:
        os.environ.setdefault("DS_ACCELERATOR", device.kind)
        # DeepSpeed compiles a part of itself by ninja, which pip puts beside the interpreter
        os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
        warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")  # DeepSpeed's calls by their older names
        with _quiet():
            import deepspeed
            from deepspeed import utils

            config = {
                "train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1, "gradient_clipping": float(clip_norm or 0.0),
                "zero_allow_untested_optimizer": True, "zero_force_ds_cpu_optimizer": False,
                "zero_optimization": {
                    "stage": stage, "overlap_comm": False, "reduce_bucket_size": _BUCKET, "allgather_bucket_size": _BUCKET,
                },
            }  # fmt: skip
            model.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue] - flat buffers know no channels-last
            self.engine: Any = deepspeed.initialize(model=model, optimizer=optimizer, config=config)[0]
        _forget_shared_memory(device)
        self.zero: Any = self.engine.optimizer
        self.optimizer: torch.optim.Optimizer = self.zero.optimizer
        self.named, self.device, self.utils = list(named), device, utils
        self.left = 0  # backward passes until the gradients of a turn are complete, the same number on every process
        self.awaited: list[nn.Parameter] = []  # whose gradients this backward pass has yet to share out, the next one last
        self.complete: dict[nn.Parameter, int] = {}  # those whose gradients came before their turn, with their groups
        self.share_out, self.zero.process_gradients = self.zero.process_gradients, self._in_order

    def drop(self) -> None:
        self.zero.micro_step_id = -1  # as DeepSpeed begins a step
        self.zero.zero_grad()
        for group in list(self.zero.averaged_gradients):
            self.zero.averaged_gradients[group] = self.zero.all_grad_tensors[group] = None

    def begin(self, batches: int, learns: str) -> int:
        if learns:
            raise Unsupported("distributed.strategy=deepspeed: expected a task whose parameters learn together, got one that takes turns")
        self.drop()
        self.left = max(self.device.gather(batches))
        return self.left - batches

    def backward(self, objective: Tensor | None) -> None:
        # every process shares out the gradient of every parameter, be it nothing: DeepSpeed waits for them all
        nothing = torch.stack([0.0 * parameter.flatten()[0] for _, parameter in self.named]).sum()
        objective = nothing if objective is None else objective + nothing
        self.engine.set_gradient_accumulation_boundary(self.left == 1)
        self.left -= 1
        self.awaited, self.complete = [parameter for _, parameter in self.named], {}
        self.engine.backward(objective * self.device.world)  # DeepSpeed takes the mean over processes, and this is a sum

    def _in_order(self, parameter: nn.Parameter, group: int) -> None:
        """DeepSpeed's hook on a gradient that is complete: share it out when those behind it in the model are.

        Stage 2 adds what the processes bring by its place, and the order in which gradients become complete is the graph's: another for a
        process that has no micro-batch left, or whose micro-batch takes another way. From the model's end to its beginning is near to both.
        """
        self.complete[parameter] = group
        while self.awaited and self.awaited[-1] in self.complete:
            ready = self.awaited.pop()
            self.share_out(ready, self.complete[ready])

    def gradient_norm(self) -> Tensor:
        norm = torch.as_tensor(self.zero.scaled_global_norm())
        return torch.where(norm < 0, torch.nan, norm)  # its sign for what is not finite

    def step(self, norm: Tensor, clip_norm: float | None) -> None:
        self.zero.step()  # clips by the same norm
        self.zero.zero_grad()

    def state(self) -> Entries:
        flat = self.zero.single_partition_of_fp32_groups
        if not all(self.optimizer.state.get(part) for part in flat):
            return {}
        self._link()
        kept = self.optimizer.state[flat[0]]
        whole = [key for key, value in kept.items() if isinstance(value, Tensor) and value.shape == flat[0].shape]
        alike = {key: value for key, value in kept.items() if key not in whole}
        return {name: {key: self.utils.safe_get_full_optimizer_state(p, key) for key in whole} | alike for name, p in self.named}

    def load(self, entries: Entries) -> None:
        self.zero.refresh_fp32_params()  # the weights were given to the model, and the optimizer has a copy
        if not entries:
            return
        shapes = {name: p.shape for name, p in self.named}
        name, first = next(iter(entries.items()))
        whole = [key for key, value in first.items() if isinstance(value, Tensor) and value.shape == shapes[name]]
        for part in self.zero.single_partition_of_fp32_groups:
            alike = {key: value.clone() if isinstance(value, Tensor) else value for key, value in first.items() if key not in whole}
            self.optimizer.state[part] = {key: torch.zeros_like(part) for key in whole} | alike
        self._link()
        for name, parameter in self.named:
            for key in whole:
                self.utils.safe_set_full_optimizer_state(parameter, entries[name][key].to(parameter.device), key)

    def _link(self) -> None:
        """Parameters know their places in the optimizer's state; DeepSpeed's own way, after the first group's step, misses the others."""
        self.zero._hp_optimizer_states_linked = False
        self.zero._lazy_init_hp_params_optimizer_state()


def _forget_shared_memory(device: Device) -> None:
    """Take away the names of DeepSpeed's buffers between processes, which it leaves in memory for good. Collective."""
    device.any(False)  # all have opened one another's by now, and keep them
    address, port = os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", "")
    for left in Path("/dev/shm").glob(f"deepspeed_allreduce_buffer_*_{address}_{port}_{device.rank}"):
        left.unlink(missing_ok=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """DeepSpeed tells much on standard output, where results stand alone."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
