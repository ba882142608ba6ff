"""The record of a theft: nothing paid is lost, nothing paid is asked again, and the budget holds over all runs."""

import resource
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn

from honeyguard.checks import tiny_task
from honeyguard.client import Remote
from honeyguard.errors import AnswerError, ArtifactError, BudgetError, HoneyguardError, OracleError, OutputError
from honeyguard.folders import write_json
from honeyguard.oracle import Local
from honeyguard.transfer import Recorded, load_transfer
from honeyguard.types import Protected
from tests.oip_server import OipServer, status

IMAGES = tiny_task(7).images


class Noisy:
    """Answers every question differently, counts what it is asked, and fails when it has given `lasts` answers."""

    def __init__(self, lasts: int = 10**9, classes: int = 4) -> None:
        self.lasts, self.classes, self.asked = lasts, classes, 0

    def __call__(self, images: Tensor) -> Tensor:
        if self.asked + len(images) > self.lasts:
            raise OracleError("an answer", "none", "Look after it.")
        self.asked += len(images)
        generator = torch.Generator().manual_seed(self.asked)
        return torch.rand(len(images), self.classes, generator=generator).softmax(1)


def test_a_second_run_replays_to_the_bit_and_asks_nothing(tmp_path: Path) -> None:
    noisy = Noisy()
    with Recorded(noisy, tmp_path / "set", chunk=20) as oracle:
        first = [oracle(IMAGES[:50]), oracle(IMAGES[30:70]), oracle(IMAGES[:5])]
        assert oracle.paid == noisy.asked == 95
        assert not torch.equal(first[2], first[0][:5]), "a repeated query is a query of its own"
    with Recorded(Noisy(lasts=0), tmp_path / "set", chunk=7) as oracle:
        again = [oracle(IMAGES[:20]), oracle(IMAGES[20:50]), oracle(IMAGES[30:70]), oracle(IMAGES[:5])]
    assert torch.equal(torch.cat(first), torch.cat(again))
    transfer = load_transfer(tmp_path / "set")
    assert torch.equal(transfer.images, torch.cat([IMAGES[:50], IMAGES[30:70], IMAGES[:5]]))
    assert torch.equal(transfer.answers, torch.cat(first))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    calls=st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=9), min_size=1, max_size=6),
    lasts=st.lists(st.integers(0, 12), max_size=4),
    chunk=st.integers(1, 5),
)
def test_however_often_a_theft_is_stopped_each_answer_is_paid_once(
    tmp_path: Path, calls: list[list[int]], lasts: list[int], chunk: int
) -> None:
    shutil.rmtree(tmp_path / "set", ignore_errors=True)
    asked, total = 0, sum(map(len, calls))
    for limit in [*lasts, 10**9]:
        noisy = Noisy(limit)
        with Recorded(noisy, tmp_path / "set", chunk=chunk, budget=total) as oracle:
            answers = []
            with suppress(OracleError):
                for rows in calls:
                    answers.append(oracle(IMAGES[rows]))
            asked += noisy.asked
            assert oracle.paid == asked
    assert asked == total
    transfer = load_transfer(tmp_path / "set")
    sent = Counter(
        (image.numpy().tobytes(), answer.numpy().tobytes()) for image, answer in zip(transfer.images, transfer.answers, strict=True)
    )
    got = torch.cat(answers)
    assert sent == Counter((IMAGES[i].numpy().tobytes(), got[n].numpy().tobytes()) for n, i in enumerate(chain.from_iterable(calls)))


def test_a_call_that_failed_can_be_made_again(tmp_path: Path) -> None:
    noisy = Noisy(lasts=40)
    with Recorded(noisy, tmp_path / "set", chunk=20) as oracle:
        with pytest.raises(OracleError, match=r"40 paid answers are kept in .*set; the same theft, run again, goes on"):
            oracle(IMAGES)
        noisy.lasts = 96
        assert oracle(IMAGES).shape == (96, 4)
        assert noisy.asked == oracle.paid == 96


def test_what_is_under_way_when_an_endpoint_fails_is_kept_too(tmp_path: Path, victim: nn.Module) -> None:
    local = Local(Protected.of(victim))
    with (
        OipServer(local, faults=[status(400)], delay=lambda n: 0.1 * n) as server,
        Remote(server.url, "victim", batch=16, concurrency=3) as remote,
        Recorded(remote, tmp_path / "set") as oracle,
    ):
        with pytest.raises(OracleError, match="32 paid answers"):
            oracle(IMAGES)
        assert oracle.paid == server.answered == 32
        server.delay = lambda n: 0.0
        torch.testing.assert_close(oracle(IMAGES), local(IMAGES))
        assert server.answered == 96
        assert len(server.received) == 96 + 16


def test_the_budget_holds_over_all_runs(tmp_path: Path) -> None:
    noisy = Noisy()
    with Recorded(noisy, tmp_path / "set", budget=60) as oracle:
        oracle(IMAGES[:50])
    with Recorded(noisy, tmp_path / "set", budget=60) as oracle:
        with pytest.raises(BudgetError, match="at most 60 queries; got 11 more after 50"):
            oracle(IMAGES[50:61])
        oracle(IMAGES[:60])
    assert noisy.asked == 60


@pytest.mark.parametrize(
    ("images", "dtype"),
    [
        ((torch.arange(256).view(4, 1, 8, 8).float() / 255), torch.uint8),
        ((torch.arange(256).view(4, 1, 8, 8).float() * (1 / 255)).clamp(max=1), torch.float32),
        (torch.zeros(4, 1, 8, 8).neg(), torch.float32),
        (torch.rand(4, 1, 8, 8), torch.float32),
    ],
)
def test_images_are_stored_small_and_to_the_bit(tmp_path: Path, images: Tensor, dtype: torch.dtype) -> None:
    with Recorded(Noisy(), tmp_path / "set") as oracle:
        oracle(images)
    assert load_file(next((tmp_path / "set").glob("*.safetensors")))["images"].dtype == dtype
    assert load_transfer(tmp_path / "set").images.numpy().tobytes() == images.numpy().tobytes()
    with Recorded(Noisy(lasts=0), tmp_path / "set") as oracle:
        oracle(images)


def test_another_number_of_classes_is_refused_and_not_mixed_in(tmp_path: Path) -> None:
    noisy = Noisy()
    with Recorded(noisy, tmp_path / "set") as oracle:
        oracle(IMAGES[:9])
        noisy.classes = 5
        with pytest.raises(AnswerError, match=r"4 classes, as in .*; got 5"):
            oracle(IMAGES[9:])
    assert load_transfer(tmp_path / "set").answers.shape == (9, 4)


def test_no_room_means_nothing_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = Noisy()
    with Recorded(noisy, tmp_path / "set", chunk=32) as oracle:
        monkeypatch.setattr("honeyguard.transfer.shutil.disk_usage", lambda path: shutil._ntuple_diskusage(10, 5, 5))
        with pytest.raises(OutputError, match=r"room for .* bytes; got 5"):
            oracle(IMAGES)
    assert noisy.asked == 0


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_fails_leaves_what_is_there_whole(tmp_path: Path) -> None:
    with Recorded(Noisy(), tmp_path / "set", chunk=32) as oracle:
        oracle(IMAGES[:32])
        with files_up_to(1000), pytest.raises(OutputError, match=r"File too large.*Make room(.|\n)*32 paid answers are kept"):
            oracle(IMAGES[32:])
        assert sorted(path.name[:6] for path in (tmp_path / "set").iterdir()) == [".lock", "000000", "manife"]
        oracle(IMAGES[32:])
    assert torch.equal(load_transfer(tmp_path / "set").images, IMAGES)


def ruined(folder: Path, how: str) -> Path:
    """Ruin a transfer folder in one way; the file that an error should name."""
    first, second, *_ = sorted(folder.glob("*.safetensors"))
    match how:
        case "flipped":
            content = bytearray(second.read_bytes())
            content[-1] ^= 1
            second.write_bytes(content)
        case "cut":
            second.write_bytes(second.read_bytes()[:100])
        case "gone":
            first.unlink()
        case "foreign":
            (folder / "model.safetensors").write_bytes(first.read_bytes())
            return folder / "model.safetensors"
        case "manifest":
            (folder / "manifest.json").write_text("{")
            return folder
        case "newer":
            write_json(folder / "manifest.json", {"schema": 2, "kind": "transfer set", "oracle": ""})
            return folder
        case "model":
            write_json(folder / "manifest.json", {"schema": 1, "kind": "model", "oracle": ""})
            return folder
    return second


@pytest.mark.parametrize("how", ["flipped", "cut", "gone", "foreign", "manifest", "newer", "model"])
def test_damage_is_named_and_nothing_is_touched(tmp_path: Path, how: str) -> None:
    folder, noisy = tmp_path / "set", Noisy()
    with Recorded(noisy, folder, chunk=10) as oracle:
        oracle(IMAGES[:40])
    named, before = ruined(folder, how), sorted(folder.iterdir())
    for use in (lambda: Recorded(noisy, folder), lambda: load_transfer(folder)):
        with pytest.raises(ArtifactError) as raised:
            use()
        assert str(named) in str(raised.value)
    assert sorted(folder.iterdir()) == before
    assert noisy.asked == 40


def test_what_a_kill_left_half_written_is_cleared(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    with Recorded(Noisy(), folder) as oracle:
        oracle(IMAGES[:9])
    (folder / ".000001-0123456789abcdef.safetensors").write_bytes(b"half")
    assert len(load_transfer(folder)) == 9
    with Recorded(Noisy(), folder) as oracle:
        assert oracle.paid == 9
    assert not list(folder.glob(".0*"))


def test_a_folder_belongs_to_one_process_and_one_oracle(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    with Recorded(Noisy(), folder, name="a") as oracle:
        oracle(IMAGES[:9])
        with pytest.raises(OutputError, match="another theft is using"):
            Recorded(Noisy(), folder, name="a")
    with pytest.raises(ArtifactError, match="a transfer set of 'b'; got one of 'a'"):
        Recorded(Noisy(), folder, name="b")
    assert Recorded(Noisy(), folder, name="a").paid == 9


@pytest.mark.parametrize("place", ["used", "/proc/none/set", "file/set"])
def test_other_peoples_folders_are_left_alone(tmp_path: Path, place: str) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "photo.png").touch()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError):
        Recorded(Noisy(), tmp_path / place)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_theft_that_paid_nothing_leaves_nothing(tmp_path: Path) -> None:
    with Recorded(Noisy(lasts=0), tmp_path / "set") as oracle, pytest.raises(HoneyguardError) as raised:
        oracle(IMAGES)
    assert not hasattr(raised.value, "__notes__")
    assert list(tmp_path.iterdir()) == []
    with Recorded(Noisy(), tmp_path / "set") as oracle:
        assert oracle(IMAGES[:0]).shape == (0, 4)
    with pytest.raises(ArtifactError, match="a Honeyguard transfer set"):
        load_transfer(tmp_path / "set")
