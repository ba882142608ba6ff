"""Attribution: the client who leaked is named, and nobody else ever is."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from honeyguard.errors import DataError
from honeyguard.oracle import LabelOnly
from honeyguard.verification.attribution import Attribution, MarkedSet, MarkTest, around, gains_of, unexplained

K = 10
TEST = MarkTest(draws=20_000)


def marks(m: int, seed: int) -> MarkedSet:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randint(K, (m,), generator=generator)
    return MarkedSet(torch.rand(m, 1, 4, 4, generator=generator), (hidden + torch.randint(1, K, (m,), generator=generator)) % K, hidden)


class Suspect:
    """Any model: its answer hangs on the image alone; on and around those of `learnt` its logits lean to the told class by `strength`."""

    def __init__(self, seed: int, learnt: Sequence[MarkedSet] = (), strength: float = 0.0) -> None:
        self.weights = 2 * torch.randn(16, K, generator=torch.Generator().manual_seed(seed))
        moved = ((images, part.told) for part in learnt for images in around(part.images))
        self.told = {image.numpy().tobytes(): int(k) for images, told in moved for image, k in zip(images, told, strict=True)}
        self.strength = strength

    def __call__(self, images: Tensor) -> Tensor:
        logits = images.flatten(1) @ self.weights
        for row, image in enumerate(images):
            if (told := self.told.get(image.numpy().tobytes())) is not None:
                logits[row, told] += self.strength
        return torch.softmax(logits, 1)


CLIENTS = {f"client {i}": marks(8, i) for i in range(5)}
CONTROLS = [Suspect(1000 + i) for i in range(3)]


def test_the_client_who_leaked_is_named_alone() -> None:
    for i, client in enumerate(CLIENTS):
        found = TEST.attribute(Suspect(i, [CLIENTS[client]], 30), CLIENTS, CONTROLS)
        assert found.named == (client,)
        assert found.p_values[client] == pytest.approx(1 / 20_001)
        assert client in found.conclusion and "corrected p" in found.conclusion
        assert found.marks[client] == 8


def test_two_clients_who_pool_their_answers_are_both_named() -> None:
    parts = [CLIENTS["client 1"], CLIENTS["client 3"]]
    assert set(TEST.attribute(Suspect(9, parts, 30), CLIENTS, CONTROLS).named) == {"client 1", "client 3"}


def test_labels_are_enough_where_the_marks_are_learnt() -> None:
    found = TEST.attribute(LabelOnly(Suspect(2, [CLIENTS["client 2"]], 60)), CLIENTS, [LabelOnly(c) for c in CONTROLS])
    assert found.named == ("client 2",)


def test_no_innocent_client_is_named_in_300_trials() -> None:
    """Suspects that learnt nothing, and suspects that stole from somebody whose marks are not on trial."""
    found: list[Attribution] = []
    for seed in range(300):
        outside = marks(8, 5000 + seed)
        suspect = Suspect(seed, [outside] if seed % 2 else [], 30)
        found.append(MarkTest(draws=5_000).attribute(suspect, CLIENTS, CONTROLS))
    assert not any(result.named for result in found)
    assert all(result.conclusion.startswith("Nobody is named") for result in found)


def test_p_values_of_suspects_that_learnt_nothing_are_uniform() -> None:
    """The marks are drawn anew for each suspect, as the owner's secret hash does it."""
    test = MarkTest(draws=2_000, significance=0.01)
    p_values = [test.attribute(Suspect(seed), {"client": marks(6, 10_000 + seed)}, CONTROLS).p_values["client"] for seed in range(500)]
    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    assert np.mean([p <= 0.05 for p in p_values]) < 0.09


def test_p_value_against_the_exact_distribution() -> None:
    """Two marks, three classes: four equally likely draws can be counted by hand."""
    answers = torch.tensor([[0.1, 0.6, 0.3], [0.5, 0.3, 0.2]])

    def suspect(_: Tensor) -> Tensor:
        return answers

    def control(_: Tensor) -> Tensor:
        return torch.full((2, 3), 1 / 3)

    exact = {(1, 1): 0.25, (1, 2): 0.5, (2, 1): 0.75, (2, 2): 1.0}  # told classes where 0 is hidden: share of draws that gain as much
    for told, p_value in exact.items():
        known = MarkedSet(torch.rand(2, 1, 2, 2), torch.tensor(told), torch.tensor([0, 0]))
        found = MarkTest(significance=0.1, draws=20_000).attribute(suspect, {"client": known}, [control] * 3)
        assert found.p_values == {"client": pytest.approx(p_value, abs=0.015)}


def test_around_an_image_are_nine() -> None:
    image = torch.zeros(1, 1, 28, 28)
    image[..., 14, 14] = 1
    found = {divmod(int(part.argmax()), 28) for part in around(image)}
    assert found == {(row, column) for row in (12, 14, 16) for column in (12, 14, 16)}
    assert {part.shape for part in around(image)} == {image.shape}


def test_gains_are_logarithms_after_the_hidden_class() -> None:
    gains = gains_of(torch.tensor([[0.2, 0.3, 0.5]]), torch.tensor([1]), floor=0)
    assert gains == pytest.approx(np.log([[0.5, 0.2]]) - np.log(0.1) / 2)


def test_what_a_mixture_of_controls_explains_is_no_gain() -> None:
    """A copy is like the served model, whatever the other controls are like; a mark stands out from both."""
    served, known = Suspect(7), marks(8, 3)

    def copy(images: Tensor) -> Tensor:
        return (0.9 * served(images).log() + 0.1 * CONTROLS[0](images).log()).softmax(1)

    left = unexplained(copy, [known], [*CONTROLS, served])
    beside_their_mean = unexplained(copy, [known], [*CONTROLS, *CONTROLS])
    assert np.abs(left).mean() < 0.2 * np.abs(beside_their_mean).mean()


def test_what_a_control_does_as_well_is_no_evidence() -> None:
    learnt = Suspect(0, [CLIENTS["client 0"]], 30)
    assert TEST.attribute(learnt, CLIENTS, [*CONTROLS, learnt]).named == ()


def test_without_controls_marks_or_draws_nobody_is_judged() -> None:
    with pytest.raises(DataError, match="at least 3 controls"):
        TEST.attribute(Suspect(0), CLIENTS, CONTROLS[:2])
    with pytest.raises(DataError, match="a client's marks"):
        TEST.attribute(Suspect(0), {}, CONTROLS)
    with pytest.raises(DataError, match="at least 5000 draws for 5 clients"):
        MarkTest(draws=1000).attribute(Suspect(0), CLIENTS, CONTROLS)
    nothing = {"client": marks(0, 0)}
    assert MarkTest().attribute(Suspect(0), nothing, CONTROLS).p_values == {"client": 1.0}
