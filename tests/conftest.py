"""What holds for every test: one thread each, quiet libraries, no silent skips."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.zygote import Zygote

# Before anything imports torch. With one thread sums are made in one order, and the processes of xdist do not fight for the cores.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _strict() -> bool:
    return os.environ.get("CI", "").lower() in ("1", "true", "yes")


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if _strict() and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, which counts as failed where CI is set: {report.longrepr}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked gpu are left out, and counted as deselected, on a machine without a CUDA device."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        config.hook.pytest_deselected(items=marked)
        items[:] = [item for item in items if item not in marked]


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """The parent from which tests fork `liandan ...`; one for each process of xdist."""
    from tests.zygote import zygote as made

    with made() as parent:
        yield parent
