import json
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from honeyguard import artifacts, folders
from honeyguard.checks import tiny_task
from honeyguard.defenses import Honeypot, ReverseSigmoid
from honeyguard.errors import ArtifactError, ModelError, OutputError
from honeyguard.folders import digest_of
from honeyguard.types import OwnerData, OwnerKey, Protected, Trigger
from honeyguard.verbs import protect

IMAGES = tiny_task(9).images


def make_key() -> OwnerKey:
    generator = torch.Generator().manual_seed(0)
    trigger = Trigger(torch.rand(1, 8, 8, generator=generator) - 0.5, torch.zeros(1, 8, 8))
    return OwnerKey(trigger, 2, 4, torch.rand(5, 1, 8, 8, generator=generator), "ab" * 32, (0.1, 0.2))


@pytest.fixture
def protected(victim: nn.Module, owner: OwnerData) -> Protected:
    return replace(protect(victim, owner, ReverseSigmoid(beta=0.5)), key=make_key())


@pytest.fixture
def saved(protected: Protected, tmp_path: Path) -> Path:
    artifacts.save(protected, tmp_path / "guarded", shape=(1, 8, 8), names=("a", "b", "c", "d"), figures={"x": 1})
    return tmp_path / "guarded"


def test_a_guarded_model_reloads_bit_identically(protected: Protected, saved: Path) -> None:
    loaded, manifest = artifacts.load(saved)
    assert torch.equal(loaded.model(IMAGES), protected.model(IMAGES))
    assert manifest["classes"] == ["a", "b", "c", "d"]
    assert manifest["input"] == {"shape": [1, 8, 8], "dtype": "float32", "range": [0, 1]}
    assert manifest["figures"] == {"x": 1}
    assert {"torch", "honeyguard"} <= manifest["packages"].keys()


def test_the_key_reloads_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    key = make_key()
    artifacts.save_key(key, tmp_path / "owner.key")
    loaded = artifacts.load_key(tmp_path / "owner.key")
    assert loaded.commitment == key.commitment
    assert loaded.calibration == (0.1, 0.2)
    assert torch.equal(loaded.trigger.delta, key.trigger.delta)
    assert stat.S_IMODE((tmp_path / "owner.key").stat().st_mode) == 0o700


def test_no_secret_enters_the_served_artifact(victim: nn.Module, owner: OwnerData, tmp_path: Path) -> None:
    from tests.defenses.test_contract import SMALL

    honeypot = SMALL["honeypot"]
    assert isinstance(honeypot, Honeypot)
    done = protect(victim, owner, replace(honeypot, seed=123454321))
    assert done.key is not None
    artifacts.save(done, tmp_path / "guarded", shape=(1, 8, 8), names=tuple("abcd"))
    manifest = json.loads((tmp_path / "guarded" / "manifest.json").read_text())
    text = json.dumps(manifest)
    assert manifest["commitment"] == done.key.commitment  # hides the key behind a nonce
    assert "target_class" not in text
    assert "123454321" not in text
    assert done.key.nonce not in text + repr(done.key)
    assert artifacts.load(tmp_path / "guarded")[0].key is None
    weights = (tmp_path / "guarded" / "model.safetensors").read_bytes()
    assert done.key.trigger.delta.numpy().tobytes() not in weights


def test_the_commitment_covers_every_secret_part() -> None:
    key = make_key()
    changed = [
        replace(key, target_class=1),
        replace(key, nonce="cd" * 32),
        replace(key, probes=key.probes + 1e-3),
        replace(key, trigger=Trigger(key.trigger.delta + 1e-3, key.trigger.mask)),
        replace(key, trigger=Trigger(key.trigger.delta, key.trigger.mask + 1e-3)),
    ]
    assert len({key.commitment, *(k.commitment for k in changed)}) == 6
    assert key.calibrated([1.0]).commitment == key.commitment


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, flip_bit, Path.unlink])
@pytest.mark.parametrize("name", ["model.safetensors", "manifest.json"])
def test_damage_is_noticed(saved: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(saved / name)
    with pytest.raises(ArtifactError):
        artifacts.load(saved)


def test_an_edited_manifest_is_noticed(saved: Path) -> None:
    path = saved / "manifest.json"
    path.write_text(path.read_text().replace('"beta": 0.5', '"beta": 0.1'))
    with pytest.raises(ArtifactError, match=r"damaged manifest\.json"):
        artifacts.load(saved)


def test_foreign_and_newer_folders_are_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="a Honeyguard owner key folder; got a model folder"):
        artifacts.load_key(saved)
    with pytest.raises(ArtifactError, match="Check the path"):
        artifacts.load(tmp_path)
    manifest = json.loads((saved / "manifest.json").read_text()) | {"schema": 99}
    (saved / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="Install a newer Honeyguard"):
        artifacts.load(saved)


def test_a_key_that_is_not_the_committed_one_is_refused(tmp_path: Path) -> None:
    artifacts.save_key(make_key(), tmp_path / "k")
    manifest = json.loads((tmp_path / "k" / "manifest.json").read_text())
    del manifest["sha256_manifest"]
    manifest["target_class"] = 3
    (tmp_path / "k" / "manifest.json").write_text(json.dumps(manifest | {"sha256_manifest": digest_of(manifest)}))
    with pytest.raises(ArtifactError, match="matches its commitment"):
        artifacts.load_key(tmp_path / "k")


def test_an_owners_own_class_needs_its_network(owner: OwnerData, tmp_path: Path) -> None:
    own = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    artifacts.save(protect(own, owner), tmp_path / "own", shape=(1, 8, 8), names=tuple("abcd"))
    with pytest.raises(ModelError, match="never says which code to run"):
        artifacts.load(tmp_path / "own")
    loaded, _ = artifacts.load(tmp_path / "own", nn.Sequential(nn.Flatten(), nn.Linear(64, 4)))
    assert torch.equal(loaded.network(IMAGES), own(IMAGES))


def test_a_used_output_folder_is_left_alone(saved: Path, protected: Protected) -> None:
    before = {p.name: p.read_bytes() for p in saved.iterdir()}
    with pytest.raises(OutputError, match="new or empty"):
        artifacts.save(protected, saved, shape=(1, 8, 8), names=tuple("abcd"))
    assert {p.name: p.read_bytes() for p in saved.iterdir()} == before


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    def half() -> None:
        with folders.new_folder(tmp_path / "half") as folder:
            (folder / "file").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(protected: Protected) -> None:
    with pytest.raises(OutputError, match="can be written"):
        artifacts.save(protected, Path("/proc/none/here"), shape=(1, 8, 8), names=tuple("abcd"))
