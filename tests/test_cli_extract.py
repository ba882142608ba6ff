"""`honeyguard extract` against folders, ONNX files and URLs: resumed after a kill, within the budget, one clear line a mistake."""

import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from honeyguard import artifacts
from honeyguard.checks import tiny_task
from honeyguard.oracle import Local
from honeyguard.transfer import load_transfer
from honeyguard.types import Oracle, Protected
from tests.conftest import Run
from tests.oip_server import OipServer, status
from tests.test_onnx_oracle import exported

KEY = "sk-7h3-0wn3r5-k3y"
QUICK = ("--model", "mlp", "--epochs", "1", "--augment", "none")


@pytest.fixture(scope="module")
def local(victim: nn.Module) -> Oracle:
    return Local(Protected.of(victim))


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    task = tiny_task(7, 700)
    np.savez(tmp_path / "pool.npz", images=task.images.numpy(), labels=task.labels.numpy())
    return tmp_path / "pool.npz"


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_a_killed_theft_goes_on_without_asking_again(run: Run, tmp_path: Path, pool: Path, local: Oracle) -> None:
    held = threading.Event()
    with OipServer(local, delay=lambda n: held.wait(60) * 0.0 if n >= 5 else 0.0) as server:
        line = ("extract", f"{server.url}/v2/models/victim", "--pool", pool, "--budget", "700", *QUICK, "--output")
        theft = subprocess.Popen([sys.executable, "-m", "honeyguard", *map(str, line), tmp_path / "copy"])
        while server.inferences < 8 and theft.poll() is None:
            time.sleep(0.01)
        theft.kill()
        assert theft.wait() == -signal.SIGKILL
        held.set()
        record = tmp_path / "copy.transfer"
        assert len(load_transfer(record)) == 256
        first, lost = Counter(server.received[:256]), Counter(server.received[256:])
        assert sum(lost.values()) == 256
        assert not (tmp_path / "copy").exists()

        code, said = run(*line, tmp_path / "copy")
        assert code == 0, said
        assert "trained on 700 queries" in said
        assert len(load_transfer(record)) == 700
        assert len(server.received) == 700 + 256
        assert all(count == 1 + (image in lost) for image, count in Counter(server.received).items())
        assert not first & lost

        code, said = run(*line, tmp_path / "another")
        assert code == 0, said
        assert weights(tmp_path / "copy") == weights(tmp_path / "another")
        code, said = run(*line, tmp_path / "again", "--transfer", record, "--answer", "top1")
        assert code == 0, said
        assert len(server.received) == 1400 + 256, "other uses of the same answers cost nothing"


def test_an_endpoint_that_fails_for_good_keeps_what_was_paid(run: Run, tmp_path: Path, pool: Path, local: Oracle) -> None:
    with OipServer(local, faults=[None] * 5 + [status(400)]) as server:
        line = ("extract", f"{server.url}/v2/models/victim", "--pool", pool, "--budget", "600", *QUICK, "--output", tmp_path / "copy")
        code, said = run(*line)
        assert code == 2
        assert f'status 400 ({{"error": "not now"}}). Check what it says. {server.answered} paid answers are kept in' in said
        assert server.answered >= 5 * 64
        code, said = run(*line)
        assert code == 0, said
        assert server.answered == 600
        code, said = run(*line[:-1], tmp_path / "other", "--transfer", tmp_path / "copy.transfer", "--seed", "1")
        assert code == 2
        assert "at most 600 queries" in said
        assert server.answered == 600


def test_a_thief_short_of_images_distorts_them(run: Run, tmp_path: Path, pool: Path, local: Oracle) -> None:
    with OipServer(local) as server:
        line = ("extract", f"{server.url}/v2/models/victim", "--pool", pool, "--budget", "1000", *QUICK, "--distortions", "2", "--output")
        code, said = run(*line, tmp_path / "copy")
        assert code == 0, said
        assert len(set(server.received)) == 1000  # of 2100, of which 700 are clean
        code, said = run(*line, tmp_path / "again", "--transfer", tmp_path / "copy.transfer")
        assert code == 0, said
        assert len(server.received) == 1000, "the same images, which are paid"
        code, said = run(*line[:-2], "-1", "--output", tmp_path / "other")
        assert code == 2
        assert "distortions" in said
    assert weights(tmp_path / "copy") == weights(tmp_path / "again")


@pytest.mark.parametrize("by", ["file", "environment"])
def test_the_key_comes_from_a_file_or_the_environment(
    run: Run, tmp_path: Path, pool: Path, local: Oracle, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    (tmp_path / "key").write_text(KEY + "\n")
    with OipServer(local, key=KEY) as server:
        line = ("extract", f"{server.url}/v2/models/victim", "--pool", pool, "--budget", "20", *QUICK, "--output", tmp_path / "copy")
        monkeypatch.delenv("HONEYGUARD_API_KEY", raising=False)
        code, said = run(*line)
        assert code == 2
        assert "HONEYGUARD_API_KEY" in said
        monkeypatch.setenv("HONEYGUARD_API_KEY", KEY if by == "environment" else "wrong")
        code, said = run(*line, *(("--api-key-file", tmp_path / "key", "--api-key-header", "X-API-Key") if by == "file" else ()))
        assert code == 0, said
    assert KEY not in said
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != "key")


def test_an_endpoint_that_does_not_say_its_classes_is_asked_within_the_budget(run: Run, tmp_path: Path, pool: Path, local: Oracle) -> None:
    metadata = {
        "inputs": [{"name": "images", "datatype": "FP32", "shape": [-1, 1, -1, -1]}],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, -1]}],
    }
    with OipServer(local, metadata=metadata) as server:
        line = ("extract", f"{server.url}/v2/models/victim/", "--pool", pool, "--budget", "50", *QUICK, "--output", tmp_path / "copy")
        code, said = run(*line)
        assert code == 0, said
        assert server.answered == len(server.received) == 50
    substitute, manifest = artifacts.load(tmp_path / "copy")
    assert manifest["classes"] == ["0", "1", "2", "3"]
    assert manifest["figures"] == {"queries": 50}
    assert substitute.model(torch.rand(2, 1, 8, 8)).shape == (2, 4)


def test_a_file_is_an_oracle_as_its_module_is(run: Run, tmp_path: Path, pool: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    file = exported(network, tmp_path / "victim.onnx")
    code, said = run("extract", file, "--pool", pool, "--budget", "90", *QUICK, "--answer", "top1", "--output", tmp_path / "copy")
    assert code == 0, said
    transfer = load_transfer(tmp_path / "copy.transfer")
    torch.testing.assert_close(transfer.answers, Local(Protected.of(network))(transfer.images))
    assert set(load_file(tmp_path / "copy" / "model.safetensors"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("{url}/v2/models/victim --pool colour.npz", "images (N, 1, 8, 8)"),
        ("{url}/v2/models/nobody --pool pool.npz", "status 404"),
        ("{url} --pool pool.npz", "http(s)://host/v2/models/name"),
        ("http://me:secret@127.0.0.1/v2/models/victim --pool pool.npz", "without user, query"),
        ("{url}/v2/models/victim --pool pool.npz --api-key-file none", "a file with an API key"),
        ("{url}/v2/models/victim --pool pool.npz --training supervized", "Did you mean 'supervised'"),
        ("{url}/v2/models/victim --pool pool.npz --query random:size=3", "key of query strategy random"),
        ("{url}/v2/models/victim --pool pool.npz --answer top1:k=", "name:parameter=value"),
        ("{url}/v2/models/victim --pool pool.npz --transfer used", "a transfer folder, or a new one"),
        ("none.onnx --pool pool.npz", "an ONNX file"),
        ("pool.onnx --pool pool.npz", "an ONNX file"),
    ],
)
def test_mistakes_get_one_clear_line_and_nothing_is_asked(
    run: Run, tmp_path: Path, pool: Path, local: Oracle, monkeypatch: pytest.MonkeyPatch, arguments: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("colour.npz", images=np.random.rand(40, 3, 8, 8).astype("float32"), labels=np.arange(40) % 4)
    (tmp_path / "pool.onnx").write_bytes(pool.read_bytes())
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "photo.png").touch()
    before = sorted(tmp_path.rglob("*"))
    with OipServer(local) as server:
        code, printed = run("extract", *arguments.format(url=server.url).split(), "--budget", "30", "--output", "copy")
        assert server.inferences == 0
    assert code == 2, printed
    assert said in printed
    assert "Traceback" not in printed
    assert "secret" not in printed
    assert sorted(tmp_path.rglob("*")) == before, "something was left behind"
