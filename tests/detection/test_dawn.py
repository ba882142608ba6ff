"""DAWN's marks: few, keyed, consistent, valid, and remembered."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from honeyguard.data import load
from honeyguard.detection.dawn import Marked, Marks, load_marks, save_marks
from honeyguard.detection.streams import Array
from honeyguard.errors import ArtifactError, ParameterError

KEY = bytes(range(32))
MARKS = Marks(key=KEY)


def asked(n: int, seed: int, classes: int = 10) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    return random.random((n, 1, 12, 12), dtype=np.float32), random.dirichlet(np.ones(classes), n).astype(np.float32)


def test_the_stated_share_is_marked_and_every_other_class_is_told_as_often() -> None:
    images, answers = asked(60_000, 0)
    marked, rows = MARKS.mark("ann", images, answers)
    assert stats.binomtest(len(rows), 60_000, 0.005).pvalue > 0.001
    told, hidden = marked[rows].argmax(1), answers[rows].argmax(1)
    assert (told != hidden).all()
    assert stats.chisquare(np.bincount((told - hidden) % 10, minlength=10)[1:]).pvalue > 0.001


def test_a_marked_answer_is_the_same_distribution_with_two_entries_swapped() -> None:
    images, answers = asked(3000, 1)
    before = answers.copy()
    marked, rows = MARKS.mark("ann", images, answers)
    assert rows and np.array_equal(answers, before)
    assert np.array_equal(np.sort(marked, 1), np.sort(answers, 1))
    assert np.flatnonzero((marked != answers).any(1)).tolist() == rows
    assert ((marked != answers).sum(1)[rows] == 2).all()
    labels = np.eye(10, dtype=np.float32)[answers.argmax(1)]
    told = MARKS.mark("ann", images, labels)
    assert told[1] == rows and (told[0].sum(1) == 1).all() and (told[0].argmax(1) == marked.argmax(1)).all()


def test_the_same_client_gets_the_same_answer_again_alone_or_in_a_batch() -> None:
    images, answers = asked(2000, 2)
    marked, rows = MARKS.mark("ann", images, answers)
    for i in [*rows, 0, 1]:
        alone, found = Marks(key=KEY).mark("ann", images[i : i + 1], answers[i : i + 1])
        assert np.array_equal(alone[0], marked[i])
        assert found == ([0] if i in rows else [])


def test_another_client_and_another_key_mark_other_queries() -> None:
    images, answers = asked(4000, 3)
    rows = set(MARKS.mark("ann", images, answers)[1])
    for other in (MARKS.mark("bob", images, answers)[1], Marks(key=KEY[::-1]).mark("ann", images, answers)[1]):
        assert other and len(rows & set(other)) <= 2
    # "a" + "bc" and "ab" + "c" are no one
    assert MARKS._draw("ab", b"c") != MARKS._draw("a", b"bc")


def test_faint_noise_mostly_keeps_the_mark() -> None:
    images = load("digits").images.numpy()
    noisy = np.clip(images + np.random.default_rng(0).uniform(-1 / 255, 1 / 255, images.shape), 0, 1).astype(np.float32)
    kept = np.mean([a == b for a, b in zip(MARKS._cells(images), MARKS._cells(noisy), strict=True)])
    assert kept > 0.8
    assert len(set(MARKS._cells(images))) > 0.95 * len(images)


def test_the_key_is_not_shown() -> None:
    assert KEY.hex() not in repr(MARKS) and str(KEY) not in repr(MARKS)
    with pytest.raises(ParameterError, match="at least 16 bytes; got 15") as caught:
        Marks(key=b"hush-hush-hush-")
    assert "hush" not in str(caught.value)
    with pytest.raises(ParameterError, match="share"):
        Marks(key=KEY, share=0.006)


def test_no_marks_at_share_zero_and_none_for_no_queries() -> None:
    images, answers = asked(500, 4)
    assert Marks(key=KEY, share=0).mark("ann", images, answers)[1] == []
    assert MARKS.mark("ann", images[:0], answers[:0])[1] == []


def test_golden_marks() -> None:
    """The marks of a stored ledger must be found again by later versions."""
    images = np.random.default_rng(7).random((4000, 1, 6, 6), dtype=np.float32)
    answers = np.eye(4, dtype=np.float32)[np.arange(4000) % 4]
    marked, rows = MARKS.mark("ann", images, answers)
    assert (rows[:4], marked[rows[:4]].argmax(1).tolist()) == ([123, 699, 1308, 1316], [0, 1, 2, 2])


def test_what_is_remembered_comes_back(tmp_path: Path) -> None:
    images, answers = asked(4000, 5)
    found = {}
    for client in ("ann", "bob", "none"):
        part = images if client != "none" else images[:0]
        marked, rows = MARKS.mark(client, part, answers[: len(part)])
        found[client] = Marked.of(part, marked, answers[: len(part)], rows)
    save_marks(tmp_path / "marks.npz", found)
    back = load_marks(tmp_path / "marks.npz")
    assert list(back) == ["ann", "bob"]
    for client, known in back.items():
        for name in ("images", "told", "hidden"):
            assert np.array_equal(getattr(known, name), getattr(found[client], name))
    save_marks(tmp_path / "empty.npz", {})
    assert load_marks(tmp_path / "empty.npz") == {}


def test_a_damaged_file_of_marks(tmp_path: Path) -> None:
    (tmp_path / "marks.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(ArtifactError, match="clients, images, told and hidden"):
        load_marks(tmp_path / "marks.npz")
    np.savez(tmp_path / "other.npz", clients=np.array([object()]), images=1, told=1, hidden=1)
    with pytest.raises(ArtifactError):
        load_marks(tmp_path / "other.npz")
