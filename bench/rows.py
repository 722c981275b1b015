"""The table of benchmarks: name -> module, minutes it may take, title, and what it compares."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Benchmark:
    """One row of the table.

    Attributes:
        module: has `measure(setting) -> Result`.
        compares: for the page: what is on either side, and what is the same.
    """

    module: str
    title: str
    compares: str


ROWS: dict[str, Benchmark] = {
    "loop": Benchmark(
        "bench.loop",
        "The loop alone",
        "liandan's training loop against a bare one of a dozen lines (bench/peers/loop.py) with the same model, batch, precision "
        "(float32), fused AdamW and clipping, the data in memory on both sides and made float a batch at a time. A run of liandan is "
        "held after every 20 steps while the bare loop makes 20 of its own in the same process. The figure of a round is the median of "
        "its blocks, so that what else the machine does weighs on neither side alone. liandan's figure holds what the bare loop does "
        "not do: a sample order that can be resumed anywhere, the check that loss and gradient are finite before every step, the "
        "gradient norm, the accuracy, a row of the metrics every 20 steps. Sharing a process, the bare loop has the gain, too, of "
        "liandan's word to malloc to keep what a step frees.",
    ),
    "resnet18": Benchmark(
        "bench.resnet18",
        "ResNet-18 at 224 pixels on a CPU",
        "What `auto` picks for torchvision's ResNet-18, batch 16, against the loop as it stands in tutorials: float32, default memory "
        "format. Images are in memory on both sides, so this is arithmetic alone. SGD with momentum. Steps alternate in one process as "
        "above.",
    ),
    "lenet5": Benchmark(
        "bench.lenet5",
        "LeNet-5, an epoch of 60,000 small images",
        "The usual script (bench/peers/lenet5.py: torchvision's dataset, ToTensor, DataLoader, fused AdamW) against `liandan train` on "
        "the same files, which keeps such data in memory as bytes and makes a batch by one indexing. Same model, batch and optimizer; "
        "fresh processes in turn, the second of two epochs, no evaluation on either side.",
    ),
    "nanogpt": Benchmark(
        "bench.nanogpt",
        "A character model by nanoGPT's recipe for a CPU",
        "4 layers, 4 heads, 128 wide, context 64, batch 12, 2,000 steps, cosine from 1e-3 to 1e-4 after 100 steps of warm-up, AdamW "
        "(0.9, 0.99), decay 0.1, clipping at 1, on the first megabyte of the Tang poems, the last tenth held out. `liandan train` "
        "against a bare loop in nanoGPT's manner (bench/peers/nanogpt.py: windows from random places, no decay on gains) of the same "
        "network on the same tokens. liandan's time holds its checkpoints and rows of metrics. Held-out loss is the mean over every "
        "held-out token but the first, by the same windows on both sides. Fresh processes in turn, best of three.",
    ),
    "decode": Benchmark(
        "bench.decode",
        "Writing with SmolLM2-135M, a token at a time",
        "A greedy answer of 96 tokens to one question, batch 1, as `liandan chat` makes it (liandan/models/decoder.py: the same "
        "weights, packed) against transformers' `generate` (bench/peers/generate.py), both in float32 and in bfloat16, the peer with "
        "its dynamic and with its static cache, of which the faster counts; then liandan with weights rounded to int8, as the option "
        "--int8 of chat makes it, against the same peer in bfloat16. The reading of the prompt is in it. Fresh processes in turn, each "
        "the best of two texts.",
    ),
    "sft": Benchmark(
        "bench.sft",
        "LoRA fine-tuning of SmolLM2-135M",
        "`liandan train` against TRL's SFTTrainer (bench/peers/trl_sft.py): SmolLM2-135M-Instruct, LoRA of rank 8 beside every linear "
        "layer but the head, batch 4 of full rows of 256 tokens, AdamW, clipping at 1; talk of Tang poems, answers alone learned. "
        "Both read the same tokens in the same order. TRL has its own fast flags: the base in bfloat16, autocast to it, its loss in chunks "
        "of the learned positions, a fused optimizer, no gradient checkpointing; once without and once with `torch_compile`, of which the "
        "faster counts. liandan decides by itself. Fresh processes in turn; 8 steps after 3 that warm up and compile.",
    ),
    "help": Benchmark(
        "bench.startup",
        "Start-up of the command",
        "The wall time of `liandan --help` in a fresh process, files already in the operating system's cache.",
    ),
    "memory": Benchmark(
        "bench.memory",
        "Memory over epochs",
        "One run on class folders of JPEG files that are decoded and augmented at every visit, two data workers, an evaluation and a "
        "checkpoint an epoch. Memory is what is resident of the process and of its workers, added (what they share counts in each), "
        "read at the end of each epoch.",
    ),
    "serve": Benchmark(
        "bench.serve",
        "A server under 32 clients",
        "timm's EfficientNet-Lite0 at 224 pixels (random weights, 8 classes) behind `liandan serve` and behind LitServe "
        "(bench/peers/litserve.py), which opens the same run, so that model and preprocessing are the same; batches of at most 16 after at "
        "most 2 ms on both sides. 32 clients on kept connections (bench/clients.py) each send one JPEG as base64 and wait for its answer. "
        "The run alone is a loop over the same files in batches of 16 in one process, without HTTP; decoding counts on all sides. Fresh "
        "processes in turn.",
    ),
    "scale": Benchmark(
        "bench.scale",
        "A thousand million samples",
        "The same tiny language model on a memory-mapped token file of 10^9 windows, a hole on the disk, and of 10^3. From the order "
        "of the process to the end of its first step, and the same for a process that resumes in the middle of the epoch; resident "
        "memory then.",
    ),
    "export": Benchmark(
        "bench.export",
        "An exported model on a CPU",
        "EfficientNet-Lite0, fine-tuned for three epochs from its ImageNet weights, as `liandan export --to onnx,openvino --quantize int8` "
        "writes and proves it, against the run's own model in float32 as torch computes it, eager, channels-last. Real validation images, "
        "224 pixels, decoded beforehand; all on the same number of threads, measured in turns in one process; medians. int8 is calibrated "
        "on the training split and judged on the validation split.",
    ),
}
