"""Output defenses on arrays, for answers that come from elsewhere or go to a client under suspicion."""

from collections.abc import Callable, Sequence

import torch

from honeyguard.defenses import DEFENSES
from honeyguard.defenses.outputs import OutputDefense
from honeyguard.errors import ParameterError
from honeyguard.gateway.protocol import Array
from honeyguard.tables import part_of


def chain(texts: Sequence[str]) -> Callable[[Array], Array]:
    """The fold of the defenses that `name:parameter=value,…` name, on probabilities (N, K).

    Raises: UnknownNameError, ParameterError: not an output defense, or its parameters.
    """
    defenses = [part_of("defense", DEFENSES, text) for text in texts]
    for text, defense in zip(texts, defenses, strict=True):
        if not isinstance(defense, OutputDefense):
            raise ParameterError("output defenses, which change answers alone", repr(text), "Protect the model itself with the others.")

    def defended(probabilities: Array) -> Array:
        answers = torch.tensor(probabilities)
        for defense in defenses:
            answers = defense(answers)
        found: Array = answers.numpy()
        return found

    return defended
