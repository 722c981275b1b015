"""The commands of docs/deploy.md, in their order, on photographs in a folder of one's own."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.deploy.servers import serving
from tests.recipes.test_readme import BRIEF, ROOT, blocks, photographs
from tests.zygote import Zygote

SMALL = ["model={name: liandan/lenet5, norm: true}", *BRIEF]


@pytest.mark.slow
def test_every_command_works(zygote: Zygote, tmp_path: Path) -> None:
    photographs(tmp_path)
    commands = [line for block in blocks("docs/deploy.md", "console") for line in block.splitlines()]
    assert len(commands) == 9
    for command in (c for c in commands if not c.startswith(("liandan serve", "curl"))):
        more = SMALL if " train " in command else ["--clients", "2"] if " bench " in command else []
        child = zygote.run(*shlex.split(command)[1:], *more, cwd=tmp_path)
        assert child.wait() == 0, f"{command}\n{child.text()}"
        assert child.text().strip(), f"{command} said nothing"
    assert (tmp_path / "found.csv").stat().st_size > 0
    (serve,) = (shlex.split(c) for c in commands if c.startswith("liandan serve"))
    with serving(tmp_path / serve[2], tmp_path) as server:
        for command in (c for c in commands if c.startswith("curl")):
            words = shlex.split(command.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}"))
            done = subprocess.run([*words, "--silent", "--fail-with-body"], cwd=tmp_path, capture_output=True, text=True, check=False)
            assert done.returncode == 0 and done.stdout, f"{command}\n{done.stdout}{done.stderr}"
            if "/v1/predict" in command:
                assert [row["input"] for row in json.loads(done.stdout)["predictions"]] == ["花12.jpg", "寺庙13.jpg"]


def test_both_languages_show_the_same() -> None:
    for kind in ("console", "python"):
        assert blocks("docs/deploy.md", kind) == blocks("docs/deploy.zh-CN.md", kind)


def test_the_pictures_are_there() -> None:
    for page in ("docs/deploy.md", "docs/deploy.zh-CN.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        named = {part.split('"')[0].split(")")[0] for part in text.split("pictures/")[1:]}
        assert named == {"page-photo.png", "page-talk.png", "page-photo-phone.png"}
        assert all((ROOT / "docs/pictures" / name).stat().st_size < 400_000 for name in named)
