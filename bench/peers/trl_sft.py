"""LoRA fine-tuning by TRL's SFTTrainer, with what its documentation names for speed.

Prints {"seconds": of the steps after the warm-up, "cpu": the processor's own time in them, "tokens", "memory": peak resident bytes,
"loss": of those steps}.

Flags: the base in bfloat16 and autocast to it (`bf16`), the loss in chunks of the trained positions (`chunked_nll`, its default), a fused
optimizer, no gradient checkpointing, no packing (its packing asks for FlashAttention, and these rows are full), `--compile` for
`torch_compile`.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer  # pyright: ignore[reportPrivateImportUsage]

from bench.memory import peak


class Clock(TrainerCallback):
    """Reads the clock at the end of the warm-up and at the end."""

    def __init__(self, warmup: int, steps: int) -> None:
        self.warmup, self.last = warmup, steps
        self.began = self.ended = self.cpu = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.warmup:
            self.began, self.cpu = time.perf_counter(), time.process_time()
        elif state.global_step == self.last:
            self.ended, self.cpu = time.perf_counter(), time.process_time() - self.cpu


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("model")
    options.add_argument("rows", help=".npz: ids and labels, int64 (samples, tokens), in the order of the steps")
    options.add_argument("--batch", type=int, default=4)
    options.add_argument("--steps", type=int, default=20)
    options.add_argument("--warmup", type=int, default=5)
    options.add_argument("--rank", type=int, default=8)
    options.add_argument("--compile", action="store_true")
    options.add_argument("--plain", action="store_true", help="nothing but the defaults")
    asked = options.parse_args()
    rows = np.load(asked.rows, allow_pickle=False)
    data = Dataset.from_dict({"input_ids": rows["ids"].tolist(), "labels": rows["labels"].tolist()})
    fast: dict[str, Any] = {"bf16": True, "gradient_checkpointing": False, "optim": "adamw_torch_fused", "torch_compile": asked.compile}
    arguments = SFTConfig(
        output_dir="trl", per_device_train_batch_size=asked.batch, max_steps=asked.warmup + asked.steps, learning_rate=1e-4,
        lr_scheduler_type="constant", weight_decay=0.0, max_grad_norm=1.0, logging_steps=5, save_strategy="no", report_to="none",
        use_cpu=True, train_sampling_strategy="sequential", max_length=None, disable_tqdm=True,
        dataset_kwargs={"skip_prepare_dataset": True},
        **({} if asked.plain else fast),
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(asked.model, **({} if asked.plain else {"dtype": torch.bfloat16}))
    clock = Clock(asked.warmup, asked.warmup + asked.steps)
    trainer = SFTTrainer(
        model=model, args=arguments, train_dataset=data, processing_class=AutoTokenizer.from_pretrained(asked.model), callbacks=[clock],
        peft_config=LoraConfig(r=asked.rank, lora_alpha=2 * asked.rank, target_modules="all-linear"),
    )  # fmt: skip
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row and row["step"] > asked.warmup]
    print(json.dumps({
        "seconds": clock.ended - clock.began, "cpu": clock.cpu, "tokens": asked.steps * asked.batch * rows["ids"].shape[1],
        "memory": peak(), "loss": sum(losses) / max(1, len(losses)),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
