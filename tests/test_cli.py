"""The command line as a user meets it: whole flows, and one clear line for every mistake."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from honeyguard import artifacts
from honeyguard.data import load
from honeyguard.errors import HoneyguardError
from honeyguard.training import Network, Recipe
from honeyguard.types import Protected
from tests.conftest import Run

MLP = Network(model="mlp", recipe=Recipe(epochs=12, batch=32, augment="none"))
QUICK = "honeypot:rounds=1,shadows=[{network={model='mlp',recipe={epochs=1}}}],references=[{model='mlp',recipe={epochs=1}}]"


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    digits, folder = load("digits"), tmp_path_factory.mktemp("victim") / "model"
    network = MLP.trained(digits.images[:900], digits.labels[:900], 10, 0)
    artifacts.save(Protected(network), folder, shape=digits.shape, names=digits.names)
    return folder


def my_network() -> nn.Module:
    """A user's own constructor."""
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 10))


def test_the_whole_flow_on_a_users_own_model_and_arrays(run: Run, tmp_path: Path) -> None:
    digits = load("digits")
    np.savez(tmp_path / "mine.npz", images=digits.images[:1200].numpy(), labels=digits.labels[:1200].numpy())
    np.savez(tmp_path / "pool.npz", images=digits.images[1200:].numpy(), labels=digits.labels[1200:].numpy())
    save_file(my_network().state_dict(), tmp_path / "weights.safetensors")
    mine, pool, model = tmp_path / "mine.npz", tmp_path / "pool.npz", f"{__name__}:my_network"
    guarded, key, copy = tmp_path / "guarded", tmp_path / "owner.key", tmp_path / "copy"

    code, said = run(
        "protect",
        model,
        "--weights",
        tmp_path / "weights.safetensors",
        "--data",
        mine,
        "--output",
        guarded,
        "--key",
        key,
        "--defense",
        QUICK,
        "--defense",
        "reverse_sigmoid:beta=0.5",
        "--innocents",
        "3",
    )
    assert code == 0, said
    assert "keep it secret" in said
    manifest = json.loads((guarded / "manifest.json").read_text())
    assert [d["name"] for d in manifest["defenses"]] == ["Honeypot", "ReverseSigmoid"]
    assert {"accuracy", "fidelity", "distortion"} <= manifest["figures"].keys()
    assert len(artifacts.load_key(key).calibration) == 3

    code, said = run("extract", guarded, "--pool", pool, "--budget", "400", "--output", copy, "--model", "mlp", "--epochs", "3")
    assert code == 2
    assert "never says which code to run" in said

    code, said = run(
        "extract", guarded, "--network", model, "--pool", pool, "--budget", "400", "--output", copy, "--model", "mlp", "--epochs", "3"
    )
    assert code == 0, said
    code, said = run(
        "evaluate", copy, "--reference", guarded, "--reference-network", model, "--data", pool, "--split", "train", "--key", key
    )
    assert code == 0, said
    assert "attack_success" in said
    code, said = run("verify", copy, "--key", key, "--output", tmp_path / "verdict.json")
    assert code == 0, said
    verdict = json.loads((tmp_path / "verdict.json").read_text())["verdict"]
    assert verdict["commitment"] == manifest["commitment"]
    assert verdict["conclusion"] in said
    code, said = run("verify", copy, "--key", key, "--controls", copy, "--controls", copy)
    assert code == 2
    assert "at least 3 controls" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("protect resnet19 --data digits", "Did you mean 'resnet18'"),
        ("protect {victim} --data digits --defense honeypit", "Did you mean 'honeypot'"),
        ("protect {victim} --data digits --defense honeypot:rounds=x", "name:parameter=value"),
        ("protect {victim} --data digits --defense honeypot:round=3", "Did you mean 'rounds'"),
        ("protect {victim} --data digits --defense honeypot:target_class=10", "a target class from 0 to 9; got 10"),
        ("protect {victim} --data digits --head nowhere", "Linear layers here"),
        ("protect {victim} --data bytes.npz", "images.float() / 255"),
        ("protect {victim} --data large.npz", "Divide by 255"),
        ("protect {victim} --data nan.npz", "NaN values"),
        ("protect {victim} --data colour.npz", "a model that takes the data's images"),
        ("protect {victim} --data four.npz", "a model of 4 classes, as the data has; got one of 10"),
        ("protect {victim} --data digits --shadow digits", "disjoint splits"),
        ("protect {victim} --data empty.npz", "at least one image"),
        ("protect {victim} --data digits --output used", "new or empty"),
        ("protect {victim} --data digits --output /proc/none", "can be written"),
        ("extract {victim} --pool digits --budget 1798", "from 1 to 1797, the size of the pool"),
        ("extract {victim} --pool digits --budget 10 --answer top2", "Did you mean 'top1'"),
        ("extract {victim} --pool digits --budget 10 --model cnm", "Did you mean 'cnn'"),
        ("extract {victim} --pool colour.npz --budget 3", "images (N, 1, 8, 8)"),
        ("extract nowhere --pool digits --budget 10", "a Honeyguard model folder"),
        ("verify {victim} --key {victim}", "a Honeyguard owner key folder"),
        ("benchmark none.toml --output r.json", "a suite in TOML"),
        ("report none.json", "a record in JSON"),
        ("protct", "protct"),
        ("extract {victim} --pool digits --budget many", "many"),
    ],
)
def test_mistakes_get_one_clear_line_and_exit_code_2(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, victim: Path, arguments: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    good, labels = torch.rand(40, 1, 8, 8), torch.arange(40) % 10
    for name, images in {
        "bytes": (good * 255).byte(),
        "large": good * 255,
        "nan": good / 0 * 0,
        "colour": torch.rand(40, 3, 8, 8),
        "empty": good[:0],
    }.items():
        np.savez(f"{name}.npz", images=images.numpy(), labels=labels[: len(images)].numpy(), names=list("0123456789"))
    np.savez("four.npz", images=good.numpy(), labels=(labels % 4).numpy())
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    before = sorted(tmp_path.rglob("*"))

    line = arguments.format(victim=victim).split()
    if line[0] in {"protect", "extract"} and "--output" not in line:
        line += ["--output", "out"]
    if line[0] == "protect":
        line += ["--key", "key"]
    code, printed = run(*line)
    assert code == 2, printed
    assert said in printed
    assert "Traceback" not in printed
    assert sorted(tmp_path.rglob("*")) == before, "something was left behind"


def test_debug_shows_the_traceback(run: Run) -> None:
    with pytest.raises(HoneyguardError):
        run("report", "none.json", "--debug")


def test_ctrl_c_leaves_nothing(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr("honeyguard.cli.records.runner.run", interrupt)
    code, said = run("demo", "--output", tmp_path / "demo")
    assert code == 130
    assert "interrupted" in said
    assert list(tmp_path.iterdir()) == []


def test_importing_the_package_does_nothing_else() -> None:
    probe = "import sys, honeyguard; print([m for m in ('datasets', 'plotly', 'transformers', 'sklearn') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
