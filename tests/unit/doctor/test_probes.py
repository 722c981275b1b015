"""Probes on real files, real programs and real sockets, made for the purpose in a temporary folder."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from liandan.doctor import cpu, gpu, network, probe, software
from liandan.doctor.judge import judge

linux = pytest.mark.skipif(os.name != "posix", reason="programs are shell scripts")


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


# ---- control groups, as the kernel's documentation lays them out ----


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "max 100000"}, None),
        ("0::/\n", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/user.slice/job\n", {"user.slice/cpu.max": "200000 100000", "user.slice/job/cpu.max": "max 100000"}, 2.0),
        ("0::/a/b\n", {"a/cpu.max": "400000 100000", "a/b/cpu.max": "800000 100000"}, 4.0),
        ("4:memory:/x\n1:cpu,cpuacct:/x\n", {"cpu,cpuacct/x/cpu.cfs_quota_us": "300000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"}, 3.0),
        ("1:cpu,cpuacct:/docker/0123\n", {"cpu,cpuacct/cpu.cfs_quota_us": "50000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 0.5),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("1:cpuset:/\n", {"cpuset/cpu.cfs_quota_us": "50000", "cpuset/cpu.cfs_period_us": "100000"}, None),
        ("1:name=systemd:/\n0::/job\n", {"unified/job/cpu.max": "100000 100000"}, 1.0),
        ("0::/../../elsewhere\n", {"cpu.max": "100000 50000"}, 2.0),
        ("", {}, None),
    ],
)
def test_the_quota_of_either_version_of_control_groups(own: str, files: dict[str, str], quota: float | None, tmp_path: Path):
    for name, text in files.items():
        write(tmp_path / "cgroup" / name, text)
    assert cpu.cpu_quota(tmp_path / "cgroup", write(tmp_path / "own", own)) == quota


@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        ("0::/\n", {"memory.max": "max", "memory.current": "5"}, None),
        ("0::/job\n", {"job/memory.max": "1000", "job/memory.current": "10", "memory.max": "2000"}, (1000, 10)),
        ("0::/j\n", {"j/memory.max": "99", "j/memory.current": "50", "j/memory.stat": "file 40\ninactive_file 30\n"}, (99, 20)),
        ("4:memory:/m\n", {"memory/m/memory.limit_in_bytes": "9223372036854771712"}, None),
        ("4:memory:/m\n", {"memory/m/memory.limit_in_bytes": "4096", "memory/m/memory.usage_in_bytes": "12"}, (4096, 12)),
    ],
)
def test_the_memory_of_either_version_of_control_groups(own: str, files: dict[str, str], limit: tuple[int, int] | None, tmp_path: Path):
    for name, text in files.items():
        write(tmp_path / "cgroup" / name, text)
    assert cpu.memory_limit(tmp_path / "cgroup", write(tmp_path / "own", own)) == limit


def test_what_may_still_be_taken_is_the_least_of_what_is_free_and_what_each_control_group_has_left(tmp_path: Path):
    group, own = tmp_path / "cgroup", write(tmp_path / "own", "0::/a/b\n")
    free = cpu.memory()["available"]
    assert free is None or abs(cpu.memory_available(group, own) - free) < free / 2
    for name, text in {"a/memory.max": "2000", "a/memory.current": "1900", "a/b/memory.max": "1000", "a/b/memory.current": "600"}.items():
        write(group / name, text)
    assert cpu.memory_available(group, own) == 100  # of the outer group, whose limit is not the tightest
    write(group / "a/memory.current", "2400")
    assert cpu.memory_available(group, own) == 0


def test_a_run_takes_as_many_cores_as_the_quota_pays_for(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("torch")
    from liandan.runtime.device import usable_cores

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(cpu, "cpu_quota", lambda: 1.5)
    assert usable_cores() == 2
    monkeypatch.setattr(cpu, "cpu_quota", lambda: None)
    assert usable_cores() == 64


# ---- NVIDIA's tools: programs that print what theirs print ----

TABLE = """\
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI {driver}              Driver Version: {driver}      CUDA Version: {cuda}     |
+-----------------------------------------------------------------------------------------+
"""


def program(folder: Path, name: str, script: str) -> None:
    file = write(folder / name, f"#!/bin/sh\n{script}")
    file.chmod(0o755)


@contextmanager
def programs(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> Iterator[None]:
    for name, script in scripts.items():
        program(folder, name.replace("_", "-"), script)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/bin{os.pathsep}/usr/bin")
    yield


@linux
def test_driver_and_cards_by_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    smi = f"""case "$1" in
    --query-gpu=*compute_cap) echo 'NVIDIA GeForce RTX 4090, 550.163.01, 24564, 3105, 8.9'; echo 'NVIDIA L4, 550.163.01, 23034, 2040, 8.9';;
    *) cat <<'END'
{TABLE.format(driver="550.163.01", cuda="12.4")}END
    ;; esac"""
    with programs(tmp_path, monkeypatch, nvidia_smi=smi, nvcc="echo 'Cuda compilation tools, release 12.6, V12.6.85'"):
        found = gpu.nvidia()
    assert (found["driver"], found["cuda"], found["nvcc"], found["error"]) == ("550.163.01", "12.4", "12.6", None)
    assert found["gpus"][0] == {"name": "NVIDIA GeForce RTX 4090", "capability": "8.9", "memory": 24564 << 20, "mhz": 3105}
    assert [row["name"] for row in found["gpus"]] == ["NVIDIA GeForce RTX 4090", "NVIDIA L4"]


@linux
def test_an_old_driver_s_nvidia_smi_does_not_know_compute_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    smi = f"""case "$1" in
    --query-gpu=*compute_cap) echo 'Field "compute_cap" is not a valid field to query.'; exit 2;;
    --query-gpu=*) echo 'Tesla P100-PCIE-16GB, 470.86, 16280, [N/A]';;
    *) echo '{TABLE.format(driver="470.86", cuda="11.4").splitlines()[1]}';; esac"""
    with programs(tmp_path, monkeypatch, nvidia_smi=smi):
        found = gpu.nvidia()
    assert (found["driver"], found["cuda"]) == ("470.86", "11.4")
    assert found["gpus"] == [{"name": "Tesla P100-PCIE-16GB", "capability": None, "memory": 16280 << 20, "mhz": None}]


@linux
def test_a_driver_that_does_not_fit_its_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    smi = "echo 'Failed to initialize NVML: Driver/library version mismatch'; echo 'NVML library version: 570.124'; exit 18"
    with programs(tmp_path, monkeypatch, nvidia_smi=smi):
        found = gpu.nvidia()
    assert [row["id"] for row in judge({"nvidia": {**found, "nvcc": None}})] == ["nvidia-mismatch"]


@linux
def test_a_tool_that_hangs_is_not_waited_for(tmp_path: Path):
    from liandan.doctor.programs import run

    program(tmp_path, "sleeper", "exec sleep 60")
    assert run(str(tmp_path / "sleeper"), seconds=0.2)[0] == 124
    assert run(str(tmp_path / "nowhere"))[0] == 127


@linux
def test_a_cudnn_on_the_library_path_is_found_with_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = write(tmp_path / "lib" / "libcudnn.so.8.9.0", "")
    (tmp_path / "lib" / "libcudnn.so.8").symlink_to(real)
    (tmp_path / "lib" / "libcudnn.so").symlink_to(tmp_path / "lib" / "libcudnn.so.8")
    write(tmp_path / "lib" / "libcudnn_cnn.so.9", "")
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/nowhere:{tmp_path / 'lib'}:")
    mine = [row for row in gpu.cudnn() if row["via"] == "LD_LIBRARY_PATH"]
    assert mine == [{"path": str(real), "via": "LD_LIBRARY_PATH", "version": "8.9.0"}]


# ---- frameworks ----


def install(site: Path, name: str, version: str, file: str, text: str) -> None:
    write(site / f"{name.replace('-', '_')}-{version}.dist-info" / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    write(site / file, text)


# the lines that these packages really have, with other numbers
ORT = "onnxruntime/capi/build_and_package_info.py"
TF = "tensorflow/python/platform/build_info.py"
TF_TEXT = "import collections\nbuild_info = collections.OrderedDict([('cuda_compute_capabilities', []), ('cuda_version', '12.5.1')])\n"
INSTALLED = [
    ("onnxruntime-gpu", "1.22.0", ORT, "package_name = 'onnxruntime-gpu'\ncuda_version = '12.8'\n", "12.8"),
    ("tensorflow", "2.20.0", TF, TF_TEXT, "12.5.1"),
    ("paddlepaddle-gpu", "3.0.0", "paddle/version/__init__.py", "full_version = '3.0.0'\ncuda_version = '11.8'\n", "11.8"),
    ("jax-cuda12-plugin", "0.8.0", "jax_cuda12_plugin/__init__.py", "", "12"),
]


@pytest.mark.parametrize(("name", "version", "file", "text", "cuda"), INSTALLED, ids=[row[0] for row in INSTALLED])
def test_the_cuda_of_a_framework_without_importing_it(
    name: str, version: str, file: str, text: str, cuda: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    install(tmp_path, name, version, file, text + "raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = {row["name"]: row for row in software.frameworks()}
    assert {(row["cuda"], row["version"]) for row in found.values() if row["cuda"] == cuda} == {(cuda, version)}


def test_torch_s_own_cuda_is_what_torch_says():
    torch = pytest.importorskip("torch")
    (row,) = [row for row in software.frameworks() if row["name"] == "torch"]
    assert (row["version"], row["cuda"]) == (torch.__version__, torch.version.cuda)


def test_torch_answers_and_is_timed():
    torch = pytest.importorskip("torch")
    found = probe.ask("torch", 1)
    assert found["version"] == torch.__version__ and found["threads"] == 1 and found["archs"] == torch.cuda.get_arch_list()
    timed = {(row["what"], row["dtype"]): row["gflops"] for row in found["speed"] if row["device"] == "cpu"}
    assert set(timed) == {("matmul", "float32"), ("convolution", "float32"), ("matmul", "bfloat16")} and min(timed.values()) > 0


@linux
@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("raise ImportError('libcudart.so.12: cannot open shared object file')", "libcudart.so.12"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "code -11"),
        ("print('liandan-probe {}'); import sys; sys.exit(3)", "liandan-probe"),
    ],
)
def test_a_torch_that_breaks_is_a_finding(source: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path / "torch" / "__init__.py", source)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = probe.ask("torch", 1)
    assert told in found["error"]
    facts = {"packages": {"versions": {"torch": "2.14.1"}, "frameworks": []}, "torch": found}
    assert "torch-broken" in {row["id"] for row in judge(facts)}


def test_every_extra_of_the_project_is_looked_for():
    import tomllib

    project = tomllib.loads((software.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = software.requirements()
    assert set(wanted) == {"", *project["optional-dependencies"]} - {"all", "dev"}
    assert "torch" in dict(wanted[""]) and all(name == name.lower() for rows in wanted.values() for name, _ in rows)


# ---- the network ----


@contextmanager
def answering(status: int) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Addresses instead of the real ones; pip, which is asked elsewhere, is left out."""
    found: dict[str, str] = {}
    for name in ("HF_ENDPOINT", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(network, "ADDRESSES", found)
    monkeypatch.setattr(network, "_pip", lambda: None)
    return found


def test_any_answer_is_an_answer_and_silence_is_told(places: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(network, "SECONDS", 0.5)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        refused = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with answering(200) as good, answering(403) as forbidden, socket.create_server(("127.0.0.1", 0)) as silent:
        mute = f"http://127.0.0.1:{silent.getsockname()[1]}"
        places.update(hub=refused, mirror=good, modelscope=forbidden, mute=mute)
        begun = time.monotonic()
        found = network.network()["places"]
        seconds = time.monotonic() - begun
    assert found["hub"]["error"] and found["mute"]["error"]
    assert found["mirror"]["error"] is None and found["modelscope"]["error"] is None and found["mirror"]["seconds"] is not None
    assert seconds < 30  # all at once; a connection that hangs for minutes would show
    ids = [row["id"] for row in judge({"network": {"places": found, "endpoint": None}})]
    assert sorted(ids) == ["net", "net", "net-mirror", "net-none", "net-none"]


def test_the_endpoint_that_is_set_is_asked_and_its_password_is_not_told(places: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    with answering(200) as address:
        places["hub"] = "http://127.0.0.1:9"
        monkeypatch.setenv("HF_ENDPOINT", address + "/")
        assert network.network()["places"]["hub"] == {"address": address, "seconds": pytest.approx(0, abs=5), "error": None}
    monkeypatch.setenv("HF_ENDPOINT", "http://me:secret@127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://me:secret@127.0.0.1:9")
    assert "secret" not in repr(network.network())


def test_offline_asks_nothing(places: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with answering(200) as address:
        places["hub"] = address
        found = network.network()
    assert found["offline"] and found["places"] == {} and found["pip"] is None


def test_pip_without_an_index_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("pip")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    found = network._pip()
    assert found is not None and found["error"] and found["seconds"] is None
