"""The demo as a stranger runs it, and the commands that it proposes to go on with."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def honeyguard(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", "honeyguard", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "200"})
    assert done.returncode == 0, done.stderr
    return " ".join(done.stdout.split())


@pytest.mark.slow
def test_the_whole_story(tmp_path: Path) -> None:
    demo = tmp_path / "demo"
    said = honeyguard("demo", "--output", demo, "--seed", "3")
    assert "evidence of theft" in said
    assert "no evidence" in said
    result = json.loads((demo / "report.json").read_text())
    assert result["headline"]["p_value_thieves_max"] < 0.001
    assert result["headline"]["asr_controls_max"] < 0.05
    assert "<html" in (demo / "report.html").read_text()[:200]
    assert {path.name for path in demo.iterdir()} == {
        "report.html", "report.json", "guarded", "owner.key", "substitute", "innocent", "victim",
    }  # fmt: skip

    key = demo / "owner.key"
    assert "Evidence of theft" in honeyguard("verify", demo / "substitute", "--key", key)
    assert "No evidence of theft" in honeyguard("verify", demo / "innocent", "--key", key)
    assert "No evidence of theft" in honeyguard("verify", demo / "victim", "--key", key)
    figures = honeyguard("evaluate", demo / "guarded", "--reference", demo / "victim", "--data", "digits", "--split", "train")
    assert "accuracy" in figures

    audit = ("--budgets", "50,200", "--query", "random", "--answer", "as_given", "--answer", "top1", "--price", "1")
    said = honeyguard("audit", demo / "guarded", "--pool", "digits", *audit, "--output", tmp_path / "audit")
    assert "gets a copy that agrees with the API on" in said

    secret = json.loads((key / "manifest.json").read_text())
    for path in (demo / "guarded").iterdir():
        assert secret["nonce"].encode() not in path.read_bytes()
    assert secret["nonce"] not in (demo / "report.json").read_text()
