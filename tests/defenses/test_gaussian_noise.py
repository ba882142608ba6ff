import pytest
import torch

from honeyguard.defenses import GaussianNoise
from honeyguard.errors import ParameterError
from tests.defenses.rows import rows


def noise(defense: GaussianNoise, y: torch.Tensor) -> torch.Tensor:
    return defense._noise(y)


def test_the_noise_is_standard_normal_and_independent_of_class_and_row() -> None:
    y = torch.softmax(torch.randn(4000, 10, generator=torch.Generator().manual_seed(0)), 1)
    z = noise(GaussianNoise(), y).double()
    ordered, points = z.flatten().sort().values, torch.linspace(0, 1, z.numel() + 2, dtype=torch.float64)[1:-1]
    distance = (torch.special.ndtr(ordered) - points).abs().max()
    assert distance < 1.63 / z.numel() ** 0.5  # Kolmogorov and Smirnov, 1 %
    correlations = torch.corrcoef(torch.cat([z, y.double()], 1).T) - torch.eye(20)
    assert correlations[:10].abs().max() < 5 / len(y) ** 0.5


def test_asking_again_gains_nothing_and_another_seed_gives_other_noise() -> None:
    y = rows(30, 10, 0)
    assert torch.equal(GaussianNoise()(y), GaussianNoise()(y))
    assert torch.equal(noise(GaussianNoise(), y), noise(GaussianNoise(), (y * 1024).round() / 1024 + 1e-5))
    assert (noise(GaussianNoise(), y) - noise(GaussianNoise(seed=1), y)).abs().median() > 0.3


def test_without_the_promise_the_top_class_flips() -> None:
    y = torch.softmax(torch.randn(500, 10, generator=torch.Generator().manual_seed(1)), 1)
    assert (GaussianNoise(std=2, keep_top1=False)(y).argmax(1) != y.argmax(1)).float().mean() > 0.2


@pytest.mark.parametrize("arguments", [{"std": -1.0}, {"std": 11.0}, {"std": float("nan")}, {"seed": -1}])
def test_parameters_out_of_range(arguments: dict[str, float]) -> None:
    with pytest.raises(ParameterError):
        GaussianNoise(**arguments)  # type: ignore[arg-type]
