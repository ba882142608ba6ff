"""Every output defense answers with distributions and keeps what it promises, for every number of classes."""

import contextlib
import io
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from honeyguard.defenses import DEFENSES
from honeyguard.defenses.outputs import OutputDefense
from tests.defenses.rows import rows
from tests.defenses.test_contract import SMALL

NAMES = [name for name, kind in DEFENSES.items() if issubclass(kind, OutputDefense)]


def default(name: str) -> OutputDefense:
    defense = SMALL[name]
    assert isinstance(defense, OutputDefense)
    return defense


@pytest.mark.parametrize("k", [2, 3, 10, 100, 1000])
@pytest.mark.parametrize("name", NAMES)
def test_promises(name: str, k: int) -> None:
    defense, y = default(name), rows(40, k, 0)
    found = defense(y)
    assert torch.isfinite(found).all()
    assert (found >= 0).all()
    torch.testing.assert_close(found.sum(1), torch.ones(40), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.cat([defense(part) for part in y.split(7)]), found, atol=1e-6, rtol=0)
    assert defense(y[:0]).shape == (0, k)
    if getattr(defense, "keep_top1", name != "adaptive_misinformation"):
        assert torch.equal(found.argmax(1), y.argmax(1))
    if epsilon := getattr(defense, "epsilon", None):
        assert (found - y).abs().sum(1).max() <= epsilon + 1e-5


NEEDLESS = {"reverse_sigmoid", "rounding", "adaptive_misinformation"}  # tested by themselves, or without the promise


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from([name for name in NAMES if name not in NEEDLESS]),
    n=st.integers(0, 9),
    k=st.integers(2, 120),
    scale=st.floats(0, 60),
    digits=st.integers(1, 7),
    seed=st.integers(0, 99),
)
def test_the_top_class_is_kept_where_others_are_as_likely(name: str, n: int, k: int, scale: float, digits: int, seed: int) -> None:
    y = torch.softmax(scale * torch.randn(n, k, generator=torch.Generator().manual_seed(seed)), 1)
    units = (y * 10**digits).round() + 1e-3  # ties, and near-ties
    y = units / units.sum(1, keepdim=True)
    found = default(name)(y)
    assert torch.isfinite(found).all()
    assert (found >= 0).all()
    assert torch.equal(found.argmax(1), y.argmax(1))
    torch.testing.assert_close(found.sum(1), torch.ones(n), atol=1e-5, rtol=0)
    if epsilon := getattr(default(name), "epsilon", None):
        assert ((found - y).abs().sum(1) <= epsilon + 1e-5).all()


class Answers(nn.Module):
    def __init__(self, defense: OutputDefense) -> None:
        super().__init__()
        self.defense = defense

    def forward(self, probabilities: Tensor) -> Tensor:
        return self.defense(probabilities)


@pytest.mark.parametrize("name", NAMES)
def test_exported_it_gives_the_same(name: str, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    batch = torch.export.Dim("batch", min=1, max=4096)
    file = str(tmp_path / "defense.onnx")
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # exporters warn of themselves
        warnings.simplefilter("ignore")
        program = torch.export.export(Answers(default(name)).eval(), (rows(5, 10, 1),), dynamic_shapes=({0: batch},), strict=False)
        torch.onnx.export(program, (), file)
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for n in (1, 3, 64):
        y = rows(n, 10, n)
        found = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: y.numpy()})[0])
        torch.testing.assert_close(found, default(name)(y), atol=1e-6, rtol=0)
