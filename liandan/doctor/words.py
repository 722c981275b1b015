"""What every finding says: (what is so, why it matters, what to do), in English and Chinese. A table; `judge` fills in the values."""

from __future__ import annotations

SECTION_TITLES = {
    "system": {"en": "System, memory, disk", "zh": "系统、内存、磁盘"},
    "cpu": {"en": "Processor", "zh": "处理器"},
    "packages": {"en": "Packages", "zh": "软件包"},
    "nvidia": {"en": "NVIDIA", "zh": "NVIDIA 显卡"},
    "devices": {"en": "Other devices", "zh": "其他设备"},
    "network": {"en": "Network", "zh": "网络"},
    "speed": {
        "en": "Speed (thousand million operations a second; the peak is cores x clock x operations a clock)",
        "zh": "速度（每秒十亿次运算；峰值 = 核数 x 频率 x 每拍运算数）",
    },
}
VERDICTS = {
    "bare": {
        "en": "Ready to install: liandan doctor --install prints the commands for this machine.",
        "zh": "可以安装：liandan doctor --install 会打印适合本机的命令。",
    },
    "ok": {"en": "Ready: nothing stands in the way.", "zh": "可以开始：没有发现问题。"},
    "warn": {
        "en": "Usable: {warnings} to look at (WARN), nothing broken.",
        "zh": "可以用：有 {warnings} 处值得处理（WARN），没有致命问题。",
    },
    "fail": {
        "en": "Not ready: {failures} to mend (FAIL), {warnings} to look at (WARN).",
        "zh": "还不行：{failures} 处必须解决（FAIL），{warnings} 处值得处理（WARN）。",
    },
}
# the parts of a finding that are words themselves
WORDS = {
    "en": {"matmul": "matrix product"},
    "zh": {
        "runs": "运行目录", "packages": "软件包", "cache": "缓存", "temporary": "临时文件", "matmul": "矩阵乘", "convolution": "卷积",
    },
}  # fmt: skip
LABELS = {"do": {"en": "do", "zh": "怎么办"}, "source": {"en": "source", "zh": "依据"}}

TEXT = {
    # ---- system ----
    "python": {
        "en": ("Python {version}", "", ""),
        "zh": ("Python {version}", "", ""),
    },
    "python-old": {
        "en": (
            "Python {version} is older than {floor}",
            "liandan and the torch it needs are not made for it.",
            "Install Python {floor} or newer beside it (apt install python3, uv python install 3.12, or conda create -n liandan "
            "python=3.12), make an environment with it, and install there.",
        ),
        "zh": (
            "Python {version} 低于 {floor}",
            "liandan 和它所需的 torch 都不支持这个版本。",
            "另装 Python {floor} 或更新的版本（apt install python3、uv python install 3.12 或 conda create -n liandan python=3.12），用它"
            "建一个环境，再在里面安装。",
        ),
    },
    "python-32": {
        "en": (
            "This Python is a 32-bit one",
            "torch has no 32-bit wheels: pip would say that no version was found.",
            "Install the 64-bit Python.",
        ),
        "zh": ("这是 32 位的 Python", "torch 没有 32 位的安装包，pip 会说找不到任何版本。", "改装 64 位 Python。"),
    },
    "python-managed": {
        "en": (
            "This Python belongs to the system, and pip may not install into it",
            "",
            "python3 -m venv .venv && . .venv/bin/activate",
        ),
        "zh": ("这个 Python 归系统管理，pip 不能直接往里装", "", "python3 -m venv .venv && . .venv/bin/activate"),
    },
    "libc-old": {
        "en": (
            "glibc {version} is older than {floor}",
            "torch's wheels are built against glibc {floor}: pip finds no version for this system.",
            "Use a newer system (Debian 10, Ubuntu 20.04, RHEL 8 or later), or a container of one.",
        ),
        "zh": (
            "glibc {version} 低于 {floor}",
            "torch 的安装包按 glibc {floor} 编译，pip 在这个系统上找不到可装的版本。",
            "换较新的系统（Debian 10、Ubuntu 20.04、RHEL 8 及以后），或用这些系统的容器。",
        ),
    },
    "libc-musl": {
        "en": (
            "The C library is musl (Alpine)",
            "torch's wheels need glibc.",
            "Use a Debian or Ubuntu image, such as python:3.12-slim.",
        ),
        "zh": ("C 库是 musl（Alpine）", "torch 的安装包需要 glibc。", "改用 Debian 或 Ubuntu 的镜像，例如 python:3.12-slim。"),
    },
    "mac-intel": {
        "en": (
            "This Python runs as an Intel program on macOS",
            "torch has had no wheels for Intel Macs since 2.3.",
            "On an Apple chip install the arm64 Python (this one runs under Rosetta); on an Intel Mac use a Linux machine.",
        ),
        "zh": (
            "这个 Python 在 macOS 上以 Intel 程序运行",
            "自 2.3 起，torch 不再提供 Intel Mac 的安装包。",
            "Apple 芯片请安装 arm64 的 Python（现在这个在 Rosetta 下运行）；Intel Mac 请改用 Linux 机器。",
        ),
    },
    "memory": {
        "en": ("{usable} of memory", "", ""),
        "zh": ("内存 {usable}", "", ""),
    },
    "memory-limit": {
        "en": (
            "A control group allows this process {limit} of the machine's {total}",
            "free and top show the machine's; a process that passes its limit is killed without a word.",
            "`liandan train` prints the memory a run will take; give the container more if it is not enough.",
        ),
        "zh": (
            "控制组只允许本进程使用 {limit}，整机是 {total}",
            "free 和 top 显示的是整机的；超过限额的进程会被直接杀掉，没有任何提示。",
            "`liandan train` 会先打印所需内存；不够时给容器多分一些。",
        ),
    },
    "memory-low": {
        "en": (
            "Only {usable} of memory",
            "Importing torch takes a third of a gigabyte; real data and models much more.",
            "Keep to the tiny recipes, with data.workers=0 and a small train.micro_batch_size.",
        ),
        "zh": (
            "内存只有 {usable}",
            "单是导入 torch 就要约三分之一 GB，真实的数据和模型要多得多。",
            "先用 tiny 配方，并设 data.workers=0 和较小的 train.micro_batch_size。",
        ),
    },
    "disk": {
        "en": ("{free} free at {path} ({uses})", "", ""),
        "zh": ("{path} 剩余 {free}（{uses}）", "", ""),
    },
    "disk-low": {
        "en": (
            "{free} free at {path} ({uses})",
            "torch with CUDA takes about 6 GB, without about 1; then come data, weights and checkpoints.",
            "Make room, or put the cache elsewhere (HF_HOME) and the runs too (run.dir).",
        ),
        "zh": (
            "{path} 只剩 {free}（{uses}）",
            "带 CUDA 的 torch 约占 6 GB，CPU 版约 1 GB，此外还有数据、权重和检查点。",
            "清理空间，或把缓存（HF_HOME）和运行目录（run.dir）放到别处。",
        ),
    },
    "disk-full": {
        "en": (
            "Only {free} free at {path} ({uses})",
            "Nothing can be installed or kept there.",
            "Make room, or put the cache elsewhere (HF_HOME) and the runs too (run.dir).",
        ),
        "zh": (
            "{path} 只剩 {free}（{uses}）",
            "那里装不下也存不下任何东西。",
            "清理空间，或把缓存（HF_HOME）和运行目录（run.dir）放到别处。",
        ),
    },
    "shm-small": {
        "en": (
            "/dev/shm holds only {size}",
            'Data workers hand their batches over through it; when it is full they die with "Bus error".',
            "Start the container with --shm-size=2g or --ipc=host, or set data.workers=0.",
        ),
        "zh": (
            "/dev/shm 只有 {size}",
            "数据进程经它传递批次，写满时进程以 “Bus error” 退出。",
            "启动容器时加 --shm-size=2g 或 --ipc=host，或设 data.workers=0。",
        ),
    },
    # ---- processor ----
    "cpu": {
        "en": ("{name}: {usable} of {logical} logical cores usable", "", ""),
        "zh": ("{name}：{logical} 个逻辑核，可用 {usable} 个", "", ""),
    },
    "cpu-quota": {
        "en": (
            "A control group pays for {quota} of the {allowed} cores in sight",
            "liandan counts {usable}; other programs count {allowed}, start as many threads, and are then held up at every step.",
            "export OMP_NUM_THREADS={usable} for other programs.",
        ),
        "zh": (
            "看得见 {allowed} 个核，控制组只给 {quota} 个核的时间",
            "liandan 按 {usable} 个算；其他程序会按 {allowed} 个开线程，然后处处被限流。",
            "给其他程序设 export OMP_NUM_THREADS={usable}。",
        ),
    },
    "threads-many": {
        "en": (
            "OMP_NUM_THREADS={threads}, but {usable} cores are usable",
            "Threads that share a core wait for each other at every operation: often many times slower, not a little.",
            "unset OMP_NUM_THREADS, or set it to {usable}.",
        ),
        "zh": (
            "OMP_NUM_THREADS={threads}，而可用的只有 {usable} 个核",
            "几个线程挤在一个核上，每步运算都互相等待，常常慢许多倍。",
            "unset OMP_NUM_THREADS，或设为 {usable}。",
        ),
    },
    "cpu-avx2": {
        "en": ("AVX2 and FMA: torch's ordinary fast path", "", ""),
        "zh": ("有 AVX2 与 FMA：torch 的常规快速路径", "", ""),
    },
    "cpu-no-avx2": {
        "en": (
            "No AVX2",
            "torch works, with kernels several times slower.",
            "Prefer small models and frozen backbones; a virtual machine may hide AVX2: ask for the host's processor type.",
        ),
        "zh": ("没有 AVX2", "torch 能用，但慢好几倍。", "选小模型、冻结主干；虚拟机可能遮住了 AVX2，可把 CPU 类型改为 host。"),
    },
    "cpu-avx512": {
        "en": ("AVX-512: matrix products and convolutions in vectors of 512 bits", "", ""),
        "zh": ("有 AVX-512：矩阵乘与卷积用 512 位向量", "", ""),
    },
    "cpu-vnni": {
        "en": ("VNNI: int8 models can run faster than float32 here", "", ""),
        "zh": ("有 VNNI：int8 量化模型在这里可以比 float32 快", "", ""),
    },
    "cpu-bf16": {
        "en": ("AVX512-BF16: train.precision=auto takes bf16 for models of a million parameters or more", "", ""),
        "zh": ("有 AVX512-BF16：参数达一百万的模型，train.precision=auto 会选 bf16", "", ""),
    },
    "cpu-amx": {
        "en": ("AMX: tiles multiply bf16 and int8; train.precision=auto takes bf16 for models of a million parameters or more", "", ""),
        "zh": ("有 AMX：矩阵块直接乘 bf16 与 int8；参数达一百万的模型，train.precision=auto 会选 bf16", "", ""),
    },
    "cpu-no-bf16": {
        "en": ("No bfloat16 units: train.precision=auto stays with fp32 on the processor", "bf16 would be emulated, and slower.", ""),
        "zh": ("没有 bfloat16 运算单元：在 CPU 上 train.precision=auto 用 fp32", "bf16 只能模拟，反而更慢。", ""),
    },
    # ---- packages ----
    "torch-absent": {
        "en": (
            "torch is not installed yet",
            "",
            "liandan doctor --install (or python liandan/doctor/__main__.py --install) prints the command that fits this machine.",
        ),
        "zh": (
            "还没有安装 torch",
            "",
            "liandan doctor --install（或 python liandan/doctor/__main__.py --install）会打印适合本机的安装命令。",
        ),
    },
    "torch": {
        "en": ("torch {version}", "", ""),
        "zh": ("torch {version}", "", ""),
    },
    "torch-broken": {
        "en": (
            "torch {version} is installed and cannot be imported",
            "It said: {error}",
            "Install it anew, in a fresh environment: liandan doctor --install prints the command.",
        ),
        "zh": ("已装 torch {version}，但无法导入", "它说：{error}", "在新环境里重装：liandan doctor --install 会打印命令。"),
    },
    "pair": {
        "en": ("torchvision {torchvision} fits torch {torch}", "", ""),
        "zh": ("torchvision {torchvision} 与 torch {torch} 配套", "", ""),
    },
    "pair-wrong": {
        "en": (
            "torchvision {torchvision} is not made for torch {torch}; {wanted} is",
            'Its operators are compiled against one torch: "operator torchvision::nms does not exist".',
            "Install both in one command, from one index: liandan doctor --install prints it.",
        ),
        "zh": (
            "torchvision {torchvision} 不是为 torch {torch} 编译的，应是 {wanted}",
            "它的算子只对应一个 torch 版本，否则报 “operator torchvision::nms does not exist”。",
            "用一条命令、从同一个索引装这两个包：liandan doctor --install 会打印。",
        ),
    },
    "pair-builds": {
        "en": (
            "torch {torch} and torchvision {torchvision} are different builds",
            'One is made for CUDA, or another CUDA, than the other: "operator torchvision::nms does not exist".',
            "Install both in one command, from one index: liandan doctor --install prints it.",
        ),
        "zh": (
            "torch {torch} 与 torchvision {torchvision} 不是同一种构建",
            "一个带 CUDA，另一个不带或带的是别的 CUDA，会报 “operator torchvision::nms does not exist”。",
            "用一条命令、从同一个索引装这两个包：liandan doctor --install 会打印。",
        ),
    },
    "extra": {
        "en": ("{extra}: {packages}", "", ""),
        "zh": ("{extra}：{packages}", "", ""),
    },
    "extra-absent": {
        "en": ("{extra}: not here: {packages}", "", "{command}"),
        "zh": ("{extra}：缺 {packages}", "", "{command}"),
    },
    "extra-old": {
        "en": ("{extra}: too old: {packages}", "", "{command}"),
        "zh": ("{extra}：太旧：{packages}", "", "{command}"),
    },
    # ---- NVIDIA ----
    "nvidia": {
        "en": ("NVIDIA driver {driver}: {gpus}; runs programs made with CUDA {runs}", "", ""),
        "zh": ("NVIDIA 驱动 {driver}：{gpus}；能运行用 CUDA {runs} 编译的程序", "", ""),
    },
    "nvidia-no-driver": {
        "en": (
            "An NVIDIA card without NVIDIA's driver (the kernel uses: {kernel_driver})",
            "Without it nothing can compute on the card.",
            "Install the driver alone, no CUDA toolkit is needed: on Ubuntu `sudo ubuntu-drivers install`, on Debian `sudo apt install "
            "nvidia-driver`; then restart.",
        ),
        "zh": (
            "有 NVIDIA 显卡，没有 NVIDIA 驱动（内核在用：{kernel_driver}）",
            "没有驱动，显卡无法计算。",
            "只装驱动即可，不需要 CUDA 工具包：Ubuntu 用 `sudo ubuntu-drivers install`，Debian 用 `sudo apt install nvidia-driver`，然后"
            "重启。",
        ),
    },
    "nvidia-container": {
        "en": (
            "The host has NVIDIA driver {kernel}, this container was not given it",
            "The kernel's half is in sight, the library libcuda is not.",
            "Install the NVIDIA Container Toolkit on the host and start with `docker run --gpus all`.",
        ),
        "zh": (
            "宿主机有 NVIDIA 驱动 {kernel}，但没有交给这个容器",
            "看得见内核模块，却没有 libcuda 库。",
            "在宿主机安装 NVIDIA Container Toolkit，用 `docker run --gpus all` 启动。",
        ),
    },
    "nvidia-mismatch": {
        "en": (
            "The driver in the kernel and the driver's libraries are of different versions",
            "An update replaced the libraries under a running kernel module: {error}",
            "Restart the machine (in a container: restart it, so that it gets the host's new libraries).",
        ),
        "zh": (
            "内核里的驱动与驱动的库版本不同",
            "升级换掉了库，内核模块还是旧的：{error}",
            "重启机器（在容器里则重启容器，让它拿到宿主机的新库）。",
        ),
    },
    "nvidia-silent": {
        "en": (
            "nvidia-smi fails",
            "It said: {error}",
            "Restart; if that does not help, install the driver anew (after a kernel update its module may be missing).",
        ),
        "zh": ("nvidia-smi 失败", "它说：{error}", "先重启；不行就重装驱动（升级内核后可能缺了模块）。"),
    },
    "driver-below-floor": {
        "en": (
            "Driver {driver} is below {floor}, the floor of CUDA {major}: {framework} {version} (CUDA {cuda}) cannot use the GPU",
            'Drivers run all of a CUDA major version or none of it; this is "The NVIDIA driver on your system is too old".',
            "Update the driver to {floor} or newer, or install a build for an older CUDA major version (liandan doctor --install). On "
            "data-center cards the package cuda-compat-{major}-0 is a third way.",
        ),
        "zh": (
            "驱动 {driver} 低于 CUDA {major} 的下限 {floor}：{framework} {version}（CUDA {cuda}）用不了 GPU",
            "对一个 CUDA 大版本，驱动要么全能运行，要么全不能；报错就是 “The NVIDIA driver on your system is too old”。",
            "把驱动升到 {floor} 或更新，或安装较旧 CUDA 大版本的构建（liandan doctor --install）；数据中心显卡还可装 "
            "cuda-compat-{major}-0。",
        ),
    },
    "driver-limited": {
        "en": (
            "Driver {driver} runs {framework} {version} (CUDA {cuda}), without what is new since it: the full-feature driver is {full}",
            'CUDA {major}.x needs {floor}, whatever its minor version. What may fail: code the driver must compile itself ("PTX was '
            'compiled with an unsupported toolchain") and functions newer than the driver.',
            "Go on; update the driver to {full} when one of these errors comes.",
        ),
        "zh": (
            "驱动 {driver} 能运行 {framework} {version}（CUDA {cuda}），但缺它之后的新功能：功能完整要 {full}",
            "CUDA {major}.x 不论小版本，下限都是 {floor}。可能出错的只有：要由驱动现场编译的代码（“PTX was compiled with an unsupported "
            "toolchain”）和比驱动更新的函数。",
            "可以照用；真遇到这些错误时，再把驱动升到 {full}。",
        ),
    },
    "driver-full": {
        "en": ("Driver {driver} has all that {framework} {version} (CUDA {cuda}) can ask for", "", ""),
        "zh": ("驱动 {driver} 完整支持 {framework} {version}（CUDA {cuda}）", "", ""),
    },
    "driver-enough": {
        "en": ("Driver {driver} runs {framework} {version} (CUDA {cuda})", "", ""),
        "zh": ("驱动 {driver} 能运行 {framework} {version}（CUDA {cuda}）", "", ""),
    },
    "torch-cpu-build": {
        "en": (
            "torch {version} is the build without CUDA: the GPU stays idle",
            "",
            "liandan doctor --install prints the command for the build that fits this driver and card.",
        ),
        "zh": ("torch {version} 是不带 CUDA 的构建：GPU 闲着", "", "liandan doctor --install 会打印适合本机驱动和显卡的安装命令。"),
    },
    "cuda-hidden": {
        "en": ('CUDA_VISIBLE_DEVICES="{visible}" hides every GPU', "", "unset CUDA_VISIBLE_DEVICES, if that is not meant."),
        "zh": ('CUDA_VISIBLE_DEVICES="{visible}" 隐藏了所有 GPU', "", "若非有意，请 unset CUDA_VISIBLE_DEVICES。"),
    },
    "cuda-off": {
        "en": (
            "The driver is new enough for torch {version}, and yet torch finds no GPU",
            "Another CUDA or cuDNN earlier on the path, a container without the GPU, or rights on /dev/nvidia* may be why.",
            'python -c "import torch; torch.cuda.init()" tells the cause; try with LD_LIBRARY_PATH unset.',
        ),
        "zh": (
            "驱动够新，torch {version} 却找不到 GPU",
            "可能是路径上另有 CUDA 或 cuDNN、容器没有分到 GPU，或没有 /dev/nvidia* 的权限。",
            'python -c "import torch; torch.cuda.init()" 会说明原因；先试试去掉 LD_LIBRARY_PATH。',
        ),
    },
    "cuda-idle": {
        "en": (
            "torch {version} brings CUDA {cuda} along, which nothing here uses",
            "Harmless, and some 4 GB of disk; the CPU build does the same.",
            "",
        ),
        "zh": ("torch {version} 自带 CUDA {cuda}，本机用不上", "无害，只是多占约 4 GB 磁盘；换 CPU 版结果一样。", ""),
    },
    "arch": {
        "en": ("torch {torch} holds code for {gpu} (sm {capability})", "", ""),
        "zh": ("torch {torch} 含有 {gpu}（sm {capability}）的代码", "", ""),
    },
    "arch-ptx": {
        "en": (
            "torch {torch} holds no machine code for {gpu} (sm {capability}), only PTX that the driver compiles at the first start",
            "The first start takes minutes, and libraries such as cuBLAS and cuDNN may still have nothing for it. It has: {archs}",
            "Prefer a newer torch: liandan doctor --install.",
        ),
        "zh": (
            "torch {torch} 没有 {gpu}（sm {capability}）的机器码，只有首次启动时由驱动编译的 PTX",
            "首次启动要几分钟，而 cuBLAS、cuDNN 等库仍可能不支持。它有：{archs}",
            "最好换较新的 torch：liandan doctor --install。",
        ),
    },
    "arch-missing": {
        "en": (
            "torch {torch} holds no code for {gpu} (sm {capability})",
            'Every operation ends with "no kernel image is available for execution on the device". It has: {archs}',
            "Install another build: Maxwell, Pascal and Volta (sm 5.0 to 7.0) need cu126, Blackwell (sm 10.0, 12.0) cu128 or newer. "
            "liandan doctor --install prints the command.",
        ),
        "zh": (
            "torch {torch} 没有 {gpu}（sm {capability}）的代码",
            "每个运算都会报 “no kernel image is available for execution on the device”。它有：{archs}",
            "换一种构建：Maxwell、Pascal、Volta（sm 5.0 到 7.0）要 cu126，Blackwell（sm 10.0、12.0）要 cu128 或更新。liandan doctor "
            "--install 会打印命令。",
        ),
    },
    "cudnn": {
        "en": ("cuDNN {version} is at work in torch", "", ""),
        "zh": ("torch 使用的 cuDNN 是 {version}", "", ""),
    },
    "cudnn-replaced": {
        "en": (
            "cuDNN {version} was loaded in the place of the {own} that torch brings",
            "torch refuses it, and no convolution runs on the GPU.",
            "unset LD_LIBRARY_PATH, or take the folder with the other libcudnn out of it.",
        ),
        "zh": (
            "加载到的是 cuDNN {version}，不是 torch 自带的 {own}",
            "torch 拒绝使用它，GPU 上的卷积都不能运行。",
            "unset LD_LIBRARY_PATH，或把另一个 libcudnn 所在的目录从中去掉。",
        ),
    },
    "cudnn-second": {
        "en": (
            "LD_LIBRARY_PATH leads to another cuDNN, {version}: {path}",
            'torch brings {own}, but the loader looks in LD_LIBRARY_PATH first: "cuDNN version incompatibility", or a crash.',
            "Take that folder out of LD_LIBRARY_PATH.",
        ),
        "zh": (
            "LD_LIBRARY_PATH 指向另一个 cuDNN {version}：{path}",
            "torch 自带 {own}，但加载器先找 LD_LIBRARY_PATH，结果是 “cuDNN version incompatibility” 或崩溃。",
            "把那个目录从 LD_LIBRARY_PATH 去掉。",
        ),
    },
    "cudnn-elsewhere": {
        "en": (
            "The system has a cuDNN of its own, {version}: {path}",
            "torch uses the {own} it brings: the loader looks into the system's folders last. Programs compiled here use the system's.",
            "",
        ),
        "zh": ("系统另有一个 cuDNN {version}：{path}", "torch 用自带的 {own}，系统目录最后才找；在本机编译的程序用系统的。", ""),
    },
    "nvcc": {
        "en": (
            "nvcc {version}: only for compiling CUDA source code",
            "pip's torch neither needs nor sees it, and it need not match.",
            "",
        ),
        "zh": ("nvcc {version}：只在编译 CUDA 源码时才用到", "pip 装的 torch 不需要也看不见它，版本不必一致。", ""),
    },
    "three-cudas": {
        "en": (
            "Three CUDA versions, of three things: nvidia-smi {smi}, nvcc {nvcc}, torch {torch}",
            "nvidia-smi shows the newest CUDA its driver knows all of: a property of the driver, nothing that is installed, and no upper "
            "bound. nvcc is the compiler of a toolkit, if one is installed; it matters only to who compiles CUDA code. "
            "torch.version.cuda is the CUDA that torch brings along, cuDNN included; that is what runs. One rule ties them: the driver "
            "must reach the floor of torch's CUDA major version (13: 580, 12: 525, 11: 450). So \"driver 550 means CUDA 12.4 at most\" "
            "is not the rule: 550 runs all of 12.x, and lacks only what came after 12.4.",
            "",
        ),
        "zh": (
            "三个 CUDA 版本说的是三件事：nvidia-smi {smi}，nvcc {nvcc}，torch {torch}",
            "nvidia-smi 显示的是驱动完整认识的最新 CUDA：它是驱动的属性，不代表装了什么，也不是上限。nvcc 是工具包的编译器，没装也行，只"
            "有编译 CUDA 源码的人才需要。torch.version.cuda 是 torch 自带的 CUDA（连同 cuDNN），真正运行的是它。三者之间只有一条规则：驱"
            "动要达到 torch 所带 CUDA 大版本的下限（13：580，12：525，11：450）。所以“550 驱动最高只能装 CUDA 12.4”不是规则：550 能运行全"
            "部 12.x，只缺 12.4 之后的新功能。",
            "",
        ),
    },
    # ---- other devices ----
    "mps": {
        "en": ("MPS: the Apple GPU is usable", "", ""),
        "zh": ("MPS：Apple GPU 可用", "", ""),
    },
    "mps-macos": {
        "en": (
            "MPS is off: macOS {macos} is older than {floor}",
            "torch from 2.10 on asks for macOS {floor}, whatever its message says.",
            "Update macOS; until then everything runs on the processor.",
        ),
        "zh": (
            "MPS 不可用：macOS {macos} 低于 {floor}",
            "torch 自 2.10 起要求 macOS {floor}，不管报错里写的是多少。",
            "升级 macOS；在此之前一切在 CPU 上运行。",
        ),
    },
    "mps-off": {
        "en": (
            "MPS is built in and not available on this Mac (macOS {macos})",
            "Seen where Metal cannot be reached: sandboxes, remote shells, virtual machines.",
            "Try from an ordinary Terminal window.",
        ),
        "zh": (
            "MPS 已编译进来，但在这台 Mac 上不可用（macOS {macos}）",
            "常见于访问不到 Metal 的地方：沙箱、远程终端、虚拟机。",
            "在普通的“终端”窗口里再试。",
        ),
    },
    "xpu": {
        "en": ("XPU: {names}", "", ""),
        "zh": ("XPU：{names}", "", ""),
    },
    "xpu-off": {
        "en": (
            "torch is built for Intel GPUs and finds none",
            "The Level Zero driver is missing, or this user has no rights on /dev/dri.",
            "sudo apt install libze1 libze-intel-gpu1 intel-opencl-icd; sudo usermod -aG render $USER; log in again.",
        ),
        "zh": (
            "torch 是支持 Intel GPU 的构建，却没找到 GPU",
            "缺 Level Zero 驱动，或本用户没有 /dev/dri 的权限。",
            "sudo apt install libze1 libze-intel-gpu1 intel-opencl-icd；sudo usermod -aG render $USER；重新登录。",
        ),
    },
    "xpu-wheel": {
        "en": ("An Intel GPU that torch's XPU build can use", "", "python -m pip install torch torchvision --index-url {index}"),
        "zh": ("这块 Intel GPU 可以用 torch 的 XPU 构建", "", "python -m pip install torch torchvision --index-url {index}"),
    },
    "amd": {
        "en": (
            "An AMD GPU",
            "torch has builds for ROCm, for some cards and on Linux; liandan was not tried on them.",
            "See the selector at pytorch.org.",
        ),
        "zh": ("有 AMD GPU", "torch 有 ROCm 构建，支持部分显卡，限 Linux；liandan 没有在上面试过。", "见 pytorch.org 的安装选择器。"),
    },
    "openvino": {
        "en": ("OpenVINO: {devices}", "", ""),
        "zh": ("OpenVINO：{devices}", "", ""),
    },
    "openvino-broken": {
        "en": ("OpenVINO is installed and does not start", "It said: {error}", "python -m pip install --force-reinstall openvino"),
        "zh": ("已装 OpenVINO，但启动不了", "它说：{error}", "python -m pip install --force-reinstall openvino"),
    },
    "openvino-no-gpu": {
        "en": (
            "OpenVINO does not see the Intel GPU",
            "It needs three things: /dev/dri/renderD*, rights on it, and Intel's OpenCL driver.",
            "sudo apt install intel-opencl-icd ocl-icd-libopencl1; sudo usermod -aG render $USER; log in again. In docker: --device "
            "/dev/dri --group-add=$(stat -c %g /dev/dri/renderD128)",
        ),
        "zh": (
            "OpenVINO 看不到 Intel GPU",
            "要有三样：/dev/dri/renderD*、它的权限、Intel 的 OpenCL 驱动。",
            "sudo apt install intel-opencl-icd ocl-icd-libopencl1；sudo usermod -aG render $USER；重新登录。docker 里加 --device "
            "/dev/dri --group-add=$(stat -c %g /dev/dri/renderD128)",
        ),
    },
    "dri-rights": {
        "en": (
            "No rights on {node} (group {group})",
            "Without them no program of this user can compute on that GPU.",
            "sudo usermod -aG {group} $USER, then log in again (in docker: --group-add with the group's number).",
        ),
        "zh": (
            "没有 {node} 的权限（属于 {group} 组）",
            "没有权限，本用户的程序都无法用这块 GPU 计算。",
            "sudo usermod -aG {group} $USER，然后重新登录（docker 里用 --group-add 加组号）。",
        ),
    },
    "dri-absent": {
        "en": (
            "An Intel GPU on the bus, and no /dev/dri/renderD*",
            "The kernel's driver (i915 or xe) does not run it, or the container was not given it.",
            "On the machine: sudo dmesg | grep -E 'i915|xe'; in docker: --device /dev/dri",
        ),
        "zh": (
            "总线上有 Intel GPU，却没有 /dev/dri/renderD*",
            "内核驱动（i915 或 xe）没有接管它，或没有交给容器。",
            "在主机上看 sudo dmesg | grep -E 'i915|xe'；docker 里加 --device /dev/dri",
        ),
    },
    "opencl": {
        "en": ("OpenCL: loader and drivers ({vendors})", "", ""),
        "zh": ("OpenCL：加载器和驱动都在（{vendors}）", "", ""),
    },
    "opencl-no-loader": {
        "en": (
            "No OpenCL loader (libOpenCL.so.1)",
            "OpenVINO reaches Intel GPUs through it.",
            "sudo apt install ocl-icd-libopencl1 intel-opencl-icd",
        ),
        "zh": (
            "没有 OpenCL 加载器（libOpenCL.so.1）",
            "OpenVINO 经它使用 Intel GPU。",
            "sudo apt install ocl-icd-libopencl1 intel-opencl-icd",
        ),
    },
    "opencl-no-vendor": {
        "en": (
            "An OpenCL loader without drivers (/etc/OpenCL/vendors is empty)",
            "OpenVINO reaches Intel GPUs through them.",
            "sudo apt install intel-opencl-icd",
        ),
        "zh": (
            "有 OpenCL 加载器，没有驱动（/etc/OpenCL/vendors 是空的）",
            "OpenVINO 经它们使用 Intel GPU。",
            "sudo apt install intel-opencl-icd",
        ),
    },
    # ---- network ----
    "net": {
        "en": ("{name}: {address} answers in {seconds} s", "", ""),
        "zh": ("{name}：{address} 在 {seconds} 秒内应答", "", ""),
    },
    "net-none": {
        "en": ("{name}: {address} gives no answer ({error})", "", ""),
        "zh": ("{name}：{address} 没有应答（{error}）", "", ""),
    },
    "net-offline": {
        "en": ("HF_HUB_OFFLINE is set: nothing was asked of the network", "", ""),
        "zh": ("设了 HF_HUB_OFFLINE：没有访问网络", "", ""),
    },
    "net-mirror": {
        "en": ("The hub does not answer, its mirror does", "", "export HF_ENDPOINT={mirror}"),
        "zh": ("hub 没有应答，镜像有", "", "export HF_ENDPOINT={mirror}"),
    },
    "pip-index": {
        "en": ("pip finds packages ({seconds} s)", "", ""),
        "zh": ("pip 能找到软件包（{seconds} 秒）", "", ""),
    },
    "pip-index-none": {
        "en": (
            "pip finds no packages ({error})",
            "",
            "Set the index you can reach: python -m pip config set global.index-url ADDRESS; packages that are here already need none.",
        ),
        "zh": (
            "pip 找不到软件包（{error}）",
            "",
            "设一个你能访问的索引：python -m pip config set global.index-url 地址；已装好的包不需要网络。",
        ),
    },
    # ---- speed ----
    "speed": {
        "en": ("{device} {what} {dtype}: {gflops}", "", ""),
        "zh": ("{device} {what} {dtype}：{gflops}", "", ""),
    },
    "speed-peak": {
        "en": ("{device} {what} {dtype}: {gflops} of {peak}, {percent} % of the peak", "", ""),
        "zh": ("{device} {what} {dtype}：{gflops}，峰值 {peak} 的 {percent} %", "", ""),
    },
    "speed-low": {
        "en": (
            "{device} {what} {dtype}: {gflops} of {peak} ({percent} %)",
            "Something else has the cores: other programs, a control group's quota, too few or too many threads, or heat.",
            "Look with top, then run the doctor again on a quiet machine.",
        ),
        "zh": (
            "{device} {what} {dtype}：{gflops}，理论峰值 {peak}（{percent} %）",
            "核被别的东西占着：其他程序、控制组限额、线程数不当，或过热降频。",
            "用 top 看看，等机器空闲再运行一次。",
        ),
    },
}  # fmt: skip
