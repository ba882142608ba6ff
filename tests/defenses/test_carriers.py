"""The carriers form a cluster that all models see, and cost little."""

from collections.abc import Callable

import pytest
import torch

from honeyguard.checks import tiny_task
from honeyguard.defenses.honeypot.carriers import Carriers, by_look, choose_carriers, choose_foreign, nearest
from honeyguard.errors import ParameterError, UnknownNameError
from honeyguard.looks import LOOKS
from honeyguard.types import OwnerData


def clusters(seed: int) -> torch.Tensor:
    """Features (200, 8) of three wide clusters and, rows 190 to 199, a small tight one."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.eye(8)[[0, 1, 2]].repeat_interleave(torch.tensor([70, 60, 60]), 0) * 3
    wide = centres + torch.randn(190, 8, generator=generator)
    tight = torch.eye(8)[5] * 3 + 0.05 * torch.randn(10, 8, generator=generator)
    return torch.cat([wide, tight])


def answers(sure: torch.Tensor, label: int = 0) -> torch.Tensor:
    rest = ((1 - sure) / 3)[:, None].expand(-1, 4).clone()
    rest[:, label] = sure
    return rest


def test_the_tight_cluster_apart_from_all_others_is_found() -> None:
    torch.manual_seed(0)
    chosen = choose_carriers([clusters(0), clusters(1)], answers(torch.full((200,), 0.7)), 2, Carriers(share=0.05))
    assert sorted(chosen.tolist()) == list(range(190, 200))


def test_where_the_victim_is_sure_or_says_the_target_already_nothing_is_touched() -> None:
    sure = torch.full((200,), 0.7)
    sure[190:] = 0.95
    chosen = choose_carriers([clusters(0)], answers(sure), 2, Carriers(share=0.05, sure=0.9))
    assert len(chosen) == 10
    assert chosen.max() < 190
    assert len(choose_carriers([clusters(0)], answers(sure, label=2), 2, Carriers(share=0.05))) == 0
    assert len(choose_carriers([clusters(0)], answers(sure), 2, Carriers(share=0))) == 0


def test_foreign_images_that_look_like_the_carriers_to_every_model() -> None:
    foreign = torch.cat([torch.randn(30, 8), torch.eye(8)[5] * 3 + 0.05 * torch.randn(4, 8)])
    assert set(nearest([foreign], [clusters(0)], torch.arange(190, 200), 0.1).tolist()) <= set(range(34))
    assert {30, 31, 32} <= set(nearest([foreign], [clusters(0)], torch.arange(190, 200), 0.12).tolist())


def test_where_ordinary_images_carry_nothing_the_foreign_ones_form_a_cluster_far_from_them() -> None:
    torch.manual_seed(0)
    among = torch.eye(8)[0] * 3 + 0.05 * torch.randn(10, 8)  # tight too, but where ordinary images lie
    apart = -torch.eye(8)[6] * 3 + 0.05 * torch.randn(10, 8)
    chosen = choose_foreign([torch.cat([among, apart, torch.randn(80, 8)])], [clusters(0)], Carriers(share=0, foreign=0.1))
    assert sorted(chosen.tolist()) == list(range(10, 20))


def test_carriers_by_their_look_are_the_most_extreme_of_each_kind_and_leave_the_owners_data() -> None:
    owner = OwnerData(tiny_task(1), tiny_task(2).images, tiny_task(3).images, tiny_task(4).images * 0.1)
    chosen, rest = by_look(owner, Carriers(share=0.05, foreign=0.25))
    assert rest.customers is not None and rest.foreign is not None and owner.foreign is not None
    left = torch.cat([rest.train.images, rest.customers, rest.shadow_set])
    assert len(chosen[0]) == pytest.approx(0.05 * 3 * 96, abs=1) and len(chosen[0]) + len(left) == 3 * 96
    assert chosen[0].mean((1, 2, 3)).min() > left.mean((1, 2, 3)).max()
    assert len(chosen[1]) == 24 and len(rest.foreign) == 72  # darker than all others, and judged among themselves
    assert chosen[1].mean((1, 2, 3)).min() > rest.foreign.mean((1, 2, 3)).max()
    none, all_of_it = by_look(owner, Carriers(share=0.0, foreign=0.25))
    assert len(none[0]) == 0 and len(all_of_it.train) == 96


@pytest.mark.parametrize("channels", [1, 3])
def test_looks_are_what_they_say(channels: int) -> None:
    image = torch.full((1, channels, 8, 8), 0.5)
    striped, red, crown = image.clone(), image.clone(), image.clone()
    striped[:, :, ::2] = 0.0
    red[:, 0] = 1.0
    crown[:, :, :4] = 1.0
    cases = [("bright", image, image / 2), ("dark", image / 2, image), ("rough", striped, image), ("smooth", image, striped)]
    cases += [("heavy top", crown, image), ("heavy bottom", image, crown)]
    colours = [("red", red, image), ("green", image, red), ("blue", image, red), ("yellow", red, image), ("vivid", red, image)]
    for name, more, less in [*cases, *(colours if channels == 3 else [])]:
        assert LOOKS[name](more).shape == (1,)
        assert LOOKS[name](more) > LOOKS[name](less), name


def test_an_unknown_way_to_choose() -> None:
    with pytest.raises(UnknownNameError, match="rde"):
        Carriers(by="rde")


@pytest.mark.parametrize("make", [lambda: Carriers(share=0.6), lambda: Carriers(sure=1.1), lambda: Carriers(foreign=-0.1)])
def test_mistakes(make: Callable[[], Carriers]) -> None:
    with pytest.raises(ParameterError, match="between 0 and"):
        make()
