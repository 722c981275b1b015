"""The rules, as tables. Every table and every finding names its source.

A version is compared number by number: "570.86.10" is (570, 86, 10).
"""

from __future__ import annotations

SOURCES = {
    "cuda-minor": "https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html",
    "cuda-notes": "https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/index.html",
    "cuda-binary": "https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html#binary-compatibility",
    "cuda-throughput": "https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html#arithmetic-instructions",
    "cuda-gpus": "https://developer.nvidia.com/cuda-gpus",
    "cuda-forward": "https://docs.nvidia.com/deploy/cuda-compatibility/forward-compatibility.html",
    "cuda-linux": "https://docs.nvidia.com/cuda/cuda-installation-guide-linux/index.html",
    "container": "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/index.html",
    "cudnn": "https://docs.nvidia.com/deeplearning/cudnn/backend/latest/reference/support-matrix.html",
    "ld.so": "https://man7.org/linux/man-pages/man8/ld.so.8.html",
    "torch-release": "https://github.com/pytorch/pytorch/blob/main/RELEASE.md#release-compatibility-matrix",
    "torch-start": "https://pytorch.org/get-started/locally/",
    "torch-mps": "https://github.com/pytorch/pytorch/issues/164943",
    "torch-xpu": "https://docs.pytorch.org/docs/stable/notes/get_start_xpu.html",
    "torch-archs": "https://github.com/moi90/pytorch_compute_capabilities/blob/main/table.md",
    "torch-intel-mac": "https://github.com/pytorch/pytorch/issues/114602",
    "torch-shm": "https://docs.pytorch.org/docs/stable/multiprocessing.html#sharing-strategies",
    "torchvision": "https://github.com/pytorch/vision#installation",
    "manylinux": "https://github.com/pypa/manylinux#manylinux_2_28-almalinux-8-based",
    "pep668": "https://peps.python.org/pep-0668/",
    "cgroup": "https://docs.kernel.org/admin-guide/cgroup-v2.html",
    "openmp": "https://www.openmp.org/spec-html/5.2/openmpse59.html",
    "flops": "https://en.wikichip.org/wiki/flops",
    "openvino-gpu": "https://docs.openvino.ai/2025/get-started/install-openvino/configurations/configurations-intel-gpu.html",
    "render-group": "https://github.com/openvinotoolkit/openvino/issues/27762",
    "hub": "https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables",
    "pip": "https://pip.pypa.io/en/stable/topics/configuration/",
    "liandan": "liandan",
}

# The oldest driver on which programs of a CUDA major version run at all. Within a major version, every minor one does ("minor
# version compatibility"); before CUDA 11 there was no such thing, and the driver of the toolkit itself is the floor. [cuda-minor]
FLOORS = {
    13: {"linux": "580", "windows": "580"},
    12: {"linux": "525.60.13", "windows": "527.41"},
    11: {"linux": "450.80.02", "windows": "452.39"},
}

# The driver that came with a toolkit: from it on, nothing of that toolkit is missing. None: NVIDIA names none. [cuda-notes, Table 3]
TOOLKIT_DRIVERS = {
    "13.4": {"linux": "615", "windows": None},
    "13.3": {"linux": "610", "windows": None},
    "13.2": {"linux": "595.45.04", "windows": None},
    "13.1": {"linux": "590.44.01", "windows": None},
    "13.0": {"linux": "580.65.06", "windows": None},
    "12.9": {"linux": "575.51.03", "windows": "576.02"},
    "12.8": {"linux": "570.26", "windows": "570.65"},
    "12.6": {"linux": "560.28.03", "windows": "560.76"},
    "12.5": {"linux": "555.42.02", "windows": "555.85"},
    "12.4": {"linux": "550.54.14", "windows": "551.61"},
    "12.3": {"linux": "545.23.06", "windows": "545.84"},
    "12.2": {"linux": "535.54.03", "windows": "536.25"},
    "12.1": {"linux": "530.30.02", "windows": "531.14"},
    "12.0": {"linux": "525.60.13", "windows": "527.41"},
    "11.8": {"linux": "520.61.05", "windows": "520.06"},
    "11.7": {"linux": "515.43.04", "windows": "516.01"},
    "11.6": {"linux": "510.39.01", "windows": "511.23"},
    "11.5": {"linux": "495.29.05", "windows": "496.04"},
    "11.4": {"linux": "470.42.01", "windows": "471.11"},
    "11.3": {"linux": "465.19.01", "windows": "465.89"},
    "11.2": {"linux": "460.32.03", "windows": "461.33"},
    "11.1": {"linux": "455.32", "windows": "456.81"},
    "11.0": {"linux": "450.51.06", "windows": "451.82"},
    "10.2": {"linux": "440.33", "windows": "441.22"},
    "10.1": {"linux": "418.39", "windows": "418.96"},
    "10.0": {"linux": "410.48", "windows": "411.31"},
}

# What PyTorch's wheels are compiled for: first and last torch, CUDA, architectures. "+PTX" is compiled on the spot for newer ones.
# [torch-release; 2.6 and 2.7: torch-archs]
WHEEL_ARCHS = [
    ("2.12", "2.14", "12.6", "5.0 6.0 7.0 7.5 8.0 8.6 9.0"),
    ("2.12", "2.14", "13.0", "7.5 8.0 8.6 9.0 10.0 12.0+PTX"),
    ("2.12", "2.14", "13.2", "7.5 8.0 8.6 9.0 10.0 12.0+PTX"),
    ("2.9", "2.11", "12.6", "5.0 6.0 7.0 7.5 8.0 8.6 9.0"),
    ("2.9", "2.11", "13.0", "7.5 8.0 8.6 9.0 10.0 12.0+PTX"),
    ("2.11", "2.11", "12.8", "7.5 8.0 8.6 9.0 10.0 12.0"),
    ("2.8", "2.10", "12.8", "7.0 7.5 8.0 8.6 9.0 10.0 12.0"),
    ("2.7", "2.7", "12.8", "7.5 8.0 8.6 9.0 10.0 12.0"),
    ("2.6", "2.7", "12.6", "5.0 6.0 7.0 7.5 8.0 8.6 9.0"),
    ("2.6", "2.6", "12.4", "5.0 6.0 7.0 7.5 8.0 8.6 9.0"),
    ("2.6", "2.7", "11.8", "3.7 5.0 6.0 7.0 7.5 8.0 8.6 9.0"),
]

# Integrated chips that run no code of their family's earlier members. [torch itself says so when it meets one: cuda-binary]
NOT_BINARY_COMPATIBLE = {"8.7", "10.1"}

# What `--install` may name, the best first: the newest torch for new cards and drivers, then CUDA 12.6 for old ones of either, and
# an older torch for Blackwell cards whose driver is not yet 580. [torch-start, torch-release]
WHEELS = [
    {"tag": "cu130", "cuda": "13.0", "archs": "7.5 8.0 8.6 9.0 10.0 12.0+PTX", "packages": ["torch", "torchvision"]},
    {"tag": "cu126", "cuda": "12.6", "archs": "5.0 6.0 7.0 7.5 8.0 8.6 9.0", "packages": ["torch", "torchvision"]},
    {"tag": "cu128", "cuda": "12.8", "archs": "7.5 8.0 8.6 9.0 10.0 12.0", "packages": ["torch==2.11.*", "torchvision==0.26.*"]},
]
WHEEL_INDEX = "https://download.pytorch.org/whl/{tag}"

# torch -> the torchvision compiled for it [torchvision]
PAIRS = {
    "2.14": "0.29", "2.13": "0.28", "2.12": "0.27", "2.11": "0.26", "2.10": "0.25", "2.9": "0.24", "2.8": "0.23", "2.7": "0.22",
    "2.6": "0.21", "2.5": "0.20", "2.4": "0.19", "2.3": "0.18", "2.2": "0.17", "2.1": "0.16", "2.0": "0.15", "1.13": "0.14", "1.12": "0.13",
    "1.11": "0.12", "1.10": "0.11", "1.9": "0.10", "1.8": "0.9", "1.7": "0.8", "1.6": "0.7", "1.5": "0.6", "1.4": "0.5",
}  # fmt: skip

# Compute capability by name, for drivers whose nvidia-smi does not tell it; the first that matches. [cuda-gpus]
CAPABILITIES = [
    (r"\bG?B[123]00\b", "10.0"),
    (r"RTX 50\d0|RTX PRO \d+ Blackwell", "12.0"),
    (r"\b[GH]H?[12]00\b|\bH800\b|\bH20\b", "9.0"),
    (r"RTX 40\d0|\bL4\b|\bL40S?\b|\bL20\b|RTX \d+ Ada", "8.9"),
    (r"\bA100\b|\bA800\b|\bA30\b", "8.0"),
    (r"RTX 30\d0|\bA(2|10G?|16|40)\b|RTX A\d+", "8.6"),
    (r"RTX 20\d0|GTX 16\d0|\bT4\b|TITAN RTX|Quadro RTX|\bT\d{3,4}\b", "7.5"),
    (r"\bV100|TITAN V\b|\bGV100\b", "7.0"),
    (r"\bP100|\bGP100\b", "6.0"),
    (r"GTX TITAN X\b|GTX 9\d0|\bM[46]0\b", "5.2"),
    (r"GTX 10\d0|TITAN X|\bP40\b|\bP4\b|Quadro P\d+|MX[1-3]\d0", "6.1"),
    (r"GTX 750|GTX 745", "5.0"),
    (r"\bK80\b", "3.7"),
]  # fmt: skip

# float32 results a clock on one multiprocessor; a fused multiply-add counts once here and as two operations. [cuda-throughput]
FP32_LANES = {
    "5.0": 128, "5.2": 128, "6.0": 64, "6.1": 128, "7.0": 64, "7.5": 64, "8.0": 64, "8.6": 128, "8.9": 128, "9.0": 128,
    "10.0": 128, "12.0": 128,
}  # fmt: skip

# float32 operations a clock on one core: vendor, family, models (None: all), flag that must be there; the first that matches. [flops]
CPU_FLOPS = [
    ("AuthenticAMD", 26, None, "avx512f", 64),  # Zen 5
    ("AuthenticAMD", 25, None, "avx2", 32),  # Zen 3; Zen 4, whose AVX-512 takes two turns of 256 bits
    ("AuthenticAMD", 23, (1, 8, 17, 24), "avx2", 16),  # Zen and Zen+
    ("AuthenticAMD", 23, None, "avx2", 32),  # Zen 2
    ("GenuineIntel", 6, (85, 106, 108, 143, 173, 174, 207), "avx512f", 64),  # Xeons from Skylake on (their smallest: half)
    ("GenuineIntel", 6, None, "avx512f", 32),  # laptops from Ice Lake on: one unit of 512 bits
    ("GenuineIntel", 6, None, "avx2", 32),  # from Haswell on
    ("GenuineIntel", 6, None, "avx", 16),  # Sandy Bridge, Ivy Bridge
]
SLOW = 0.1  # of the peak: a matrix product below it has lost its cores to something

# An x86 processor's instructions: finding, and the flags of which one set must be there.
CPU_FEATURES = [
    ("cpu-avx2", (("avx2", "fma"),)),
    ("cpu-avx512", (("avx512f", "avx512bw", "avx512dq", "avx512vl"),)),
    ("cpu-vnni", (("avx512_vnni",), ("avx_vnni",))),
    ("cpu-bf16", (("avx512_bf16",),)),
    ("cpu-amx", (("amx_tile", "amx_bf16"),)),
]

# Intel GPUs for which PyTorch has XPU wheels, by the first digits of their PCI device: Arc A, Arc B, Core Ultra. [torch-xpu]
XPU_DEVICES = ("0x56", "0xe2", "0x7d", "0x64", "0xb0")

# Frameworks that carry CUDA and say which: distributions, a file of theirs, the pattern in it. Nothing is imported.
CUDA_FILES = [
    (("torch",), "torch/version.py", r"(?m)^cuda(?:\s*:[^=\n]+)?\s*=\s*['\"]([\d.]+)"),
    (("onnxruntime-gpu",), "onnxruntime/capi/build_and_package_info.py", r"cuda_version\s*=\s*['\"]([\d.]+)"),
    (("tensorflow",), "tensorflow/python/platform/build_info.py", r"['\"]cuda_version['\"]\s*[:,]\s*['\"]([\d.]+)"),
    (("paddlepaddle-gpu",), "paddle/version/__init__.py", r"(?m)^cuda_version\s*=\s*['\"]([\d.]+)"),
]
CUDA_NAMES = [
    ("jax-cuda13-plugin", "jax", "13"), ("jax-cuda12-plugin", "jax", "12"),
    ("cupy-cuda13x", "cupy", "13"), ("cupy-cuda12x", "cupy", "12"), ("cupy-cuda11x", "cupy", "11"),
]  # fmt: skip

PYTHON_FLOOR = "3.11"
GLIBC_FLOOR = "2.28"  # of torch's wheels [manylinux]
MACOS_FLOOR_MPS = "14.0"  # [torch-mps]
LOW_MEMORY = 2 << 30  # bytes; importing torch takes about a third of a gigabyte, small recipes as much again
LOW_DISK, NO_DISK = 10 << 30, 1 << 30  # bytes; torch with CUDA takes about 6 GB, without about 1
SMALL_SHM = 1 << 30  # bytes; docker gives 64 MB

ADDRESSES = {"hub": "https://huggingface.co", "mirror": "https://hf-mirror.com", "modelscope": "https://www.modelscope.cn"}

# finding -> section, level, source
RULES = {
    "python": ("system", "ok", "torch-release"),
    "python-old": ("system", "fail", "torch-release"),
    "python-32": ("system", "fail", "torch-start"),
    "python-managed": ("system", "info", "pep668"),
    "libc-old": ("system", "fail", "manylinux"),
    "libc-musl": ("system", "fail", "manylinux"),
    "mac-intel": ("system", "fail", "torch-intel-mac"),
    "memory": ("system", "ok", "liandan"),
    "memory-limit": ("system", "info", "cgroup"),
    "memory-low": ("system", "warn", "liandan"),
    "disk": ("system", "ok", "liandan"),
    "disk-low": ("system", "warn", "liandan"),
    "disk-full": ("system", "fail", "liandan"),
    "shm-small": ("system", "warn", "torch-shm"),
    "cpu": ("cpu", "ok", "liandan"),
    "cpu-quota": ("cpu", "info", "cgroup"),
    "threads-many": ("cpu", "warn", "openmp"),
    "cpu-avx2": ("cpu", "ok", "liandan"),
    "cpu-no-avx2": ("cpu", "warn", "liandan"),
    "cpu-avx512": ("cpu", "ok", "liandan"),
    "cpu-vnni": ("cpu", "ok", "liandan"),
    "cpu-bf16": ("cpu", "ok", "liandan"),
    "cpu-amx": ("cpu", "ok", "liandan"),
    "cpu-no-bf16": ("cpu", "info", "liandan"),
    "torch-absent": ("packages", "info", "torch-start"),
    "torch": ("packages", "ok", "torch-release"),
    "torch-broken": ("packages", "fail", "torch-start"),
    "pair": ("packages", "ok", "torchvision"),
    "pair-wrong": ("packages", "fail", "torchvision"),
    "pair-builds": ("packages", "fail", "torchvision"),
    "extra": ("packages", "ok", "liandan"),
    "extra-absent": ("packages", "info", "liandan"),
    "extra-old": ("packages", "warn", "liandan"),
    "nvidia-no-driver": ("nvidia", "warn", "cuda-linux"),
    "nvidia-container": ("nvidia", "warn", "container"),
    "nvidia-mismatch": ("nvidia", "fail", "cuda-linux"),
    "nvidia-silent": ("nvidia", "warn", "cuda-linux"),
    "nvidia": ("nvidia", "ok", "cuda-minor"),
    "driver-below-floor": ("nvidia", "fail", "cuda-minor"),
    "driver-limited": ("nvidia", "warn", "cuda-minor"),
    "driver-full": ("nvidia", "ok", "cuda-notes"),
    "driver-enough": ("nvidia", "ok", "cuda-minor"),
    "torch-cpu-build": ("nvidia", "warn", "torch-start"),
    "cuda-hidden": ("nvidia", "info", "cuda-linux"),
    "cuda-off": ("nvidia", "fail", "torch-start"),
    "cuda-idle": ("nvidia", "info", "torch-start"),
    "arch": ("nvidia", "ok", "cuda-binary"),
    "arch-ptx": ("nvidia", "info", "cuda-binary"),
    "arch-missing": ("nvidia", "fail", "torch-release"),
    "cudnn": ("nvidia", "ok", "cudnn"),
    "cudnn-replaced": ("nvidia", "fail", "ld.so"),
    "cudnn-second": ("nvidia", "warn", "ld.so"),
    "cudnn-elsewhere": ("nvidia", "info", "ld.so"),
    "nvcc": ("nvidia", "info", "cuda-minor"),
    "three-cudas": ("nvidia", "info", "cuda-minor"),
    "mps": ("devices", "ok", "torch-mps"),
    "mps-macos": ("devices", "warn", "torch-mps"),
    "mps-off": ("devices", "warn", "torch-mps"),
    "xpu": ("devices", "ok", "torch-xpu"),
    "xpu-off": ("devices", "warn", "torch-xpu"),
    "xpu-wheel": ("devices", "info", "torch-xpu"),
    "amd": ("devices", "info", "torch-start"),
    "openvino": ("devices", "ok", "openvino-gpu"),
    "openvino-broken": ("devices", "warn", "openvino-gpu"),
    "openvino-no-gpu": ("devices", "warn", "openvino-gpu"),
    "dri-rights": ("devices", "warn", "render-group"),
    "dri-absent": ("devices", "warn", "openvino-gpu"),
    "opencl": ("devices", "ok", "openvino-gpu"),
    "opencl-no-loader": ("devices", "info", "openvino-gpu"),
    "opencl-no-vendor": ("devices", "info", "openvino-gpu"),
    "net": ("network", "ok", "hub"),
    "net-none": ("network", "info", "hub"),
    "net-offline": ("network", "info", "hub"),
    "net-mirror": ("network", "info", "hub"),
    "pip-index": ("network", "ok", "pip"),
    "pip-index-none": ("network", "info", "pip"),
    "speed": ("speed", "info", "flops"),
    "speed-peak": ("speed", "ok", "flops"),
    "speed-low": ("speed", "warn", "flops"),
}  # fmt: skip
SECTIONS = ("system", "cpu", "packages", "nvidia", "devices", "network", "speed")
