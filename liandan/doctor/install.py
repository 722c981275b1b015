"""The commands that install liandan on this machine. They are told, never run."""

from __future__ import annotations

from typing import Any

from liandan.doctor import rules
from liandan.doctor.judge import driver, floor, gpus, numbering, numbers, runs_on

WHY = {
    "mac": {"en": "macOS: the ordinary wheels hold MPS.", "zh": "macOS：普通安装包里就有 MPS。"},
    "wheel": {
        "en": "{tag}: the newest CUDA build that runs on {gpus} (sm {capabilities}) with driver {driver}.",
        "zh": "{tag}：能在 {gpus}（sm {capabilities}）与驱动 {driver} 上运行的最新 CUDA 构建。",
    },
    "pinned": {
        "en": "From driver 580 on the newest torch runs on this card; with this driver it is this older one.",
        "zh": "驱动升到 580 后可用最新的 torch；现在这个驱动只能用这一旧版。",
    },
    "old-driver": {
        "en": "No CUDA build runs on {gpus} with driver {driver}: this is the build for the processor. Update the driver to {needed} or "
        "newer, then ask again.",
        "zh": "没有 CUDA 构建能在 {gpus} 与驱动 {driver} 上运行：下面是 CPU 版。请把驱动升到 {needed} 或更新，再问一次。",
    },
    "no-wheel": {
        "en": "No current CUDA build holds code for {gpus} (sm {capabilities}) together: this is the build for the processor.",
        "zh": "当前没有 CUDA 构建同时支持 {gpus}（sm {capabilities}）：下面是 CPU 版。",
    },
    "no-driver": {
        "en": "An NVIDIA card without a working driver: this is the build for the processor. Install the driver, then ask again.",
        "zh": "有 NVIDIA 显卡，但驱动不可用：下面是 CPU 版。装好驱动后再问一次。",
    },
    "xpu": {"en": "xpu: for the Intel GPU.", "zh": "xpu：用于 Intel GPU。"},
    "cpu": {
        "en": "No GPU that torch could use: the build for the processor, much smaller.",
        "zh": "没有 torch 可用的 GPU：CPU 版，小得多。",
    },
}


def plan(facts: dict[str, Any], language: str = "en") -> dict[str, Any]:
    """What to type here, and why this: {"commands": [...], "why": [...]}.

    torch comes first and from the index of the build that fits; liandan's own requirement is then met and pip leaves it alone.
    """
    torch, reasons = _torch(facts)
    checkout = facts.get("packages", {}).get("checkout")
    python, system = facts.get("python", {}), facts.get("system", {})
    commands = []
    if python.get("managed") and not python.get("environment"):
        commands.append("python3 -m venv .venv && . .venv/bin/activate")
    name = "python" if system.get("system") == "windows" or python.get("environment") or commands else "python3"
    commands.append(f"{name} -m pip install {torch}")
    commands.append(f"{name} -m pip install " + (f'-e "{checkout}[all]"' if checkout else '"liandan[all]"'))
    return {"commands": commands, "why": [WHY[reason][language].format(**values) for reason, values in reasons]}


def _torch(facts: dict[str, Any]) -> tuple[str, list[tuple[str, dict[str, str]]]]:
    if facts.get("system", {}).get("system") == "darwin":
        return "torch torchvision", [("mac", {})]
    cpu = "torch torchvision --index-url " + rules.WHEEL_INDEX.format(tag="cpu")
    cards, found, platform = gpus(facts), driver(facts), numbering(facts)
    seen = [card for card in facts.get("cards", []) if card["vendor"] == "nvidia"]
    if not found and (cards or seen or facts.get("nvidia", {}).get("kernel")):
        return cpu, [("no-driver", {})]
    if found:
        values = {
            "driver": found, "gpus": ", ".join(name for name, _ in cards), "capabilities": ", ".join(cc or "?" for _, cc in cards),
        }  # fmt: skip
        fitting = [wheel for wheel in rules.WHEELS if all(cc is None or runs_on(cc, wheel["archs"].split()) == "binary" for _, cc in cards)]
        for wheel in fitting:
            lowest = floor(wheel["cuda"], platform)
            if lowest and numbers(found) >= numbers(lowest):
                reasons: list[tuple[str, dict[str, str]]] = [("wheel", {**values, "tag": wheel["tag"]})]
                pinned = wheel["packages"] != rules.WHEELS[0]["packages"]
                packages = " ".join(f'"{name}"' if "=" in name else name for name in wheel["packages"])
                return f"{packages} --index-url {rules.WHEEL_INDEX.format(tag=wheel['tag'])}", reasons + [("pinned", {})] * pinned
        if not fitting:
            return cpu, [("no-wheel", values)]
        needed = min((floor(wheel["cuda"], platform) or "" for wheel in fitting), key=numbers)
        return cpu, [("old-driver", {**values, "needed": needed})]
    intel = [row for row in (*facts.get("cards", []), *facts.get("render", [])) if row.get("vendor") == "intel"]
    if any((row.get("device") or "").startswith(rules.XPU_DEVICES) for row in intel):
        return "torch torchvision --index-url " + rules.WHEEL_INDEX.format(tag="xpu"), [("xpu", {})]
    return cpu, [("cpu", {})]
