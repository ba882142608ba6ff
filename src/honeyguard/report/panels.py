"""The panels of the page: headline figures, and one customer's answers before and after each defense."""

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from honeyguard.report.figures import NOTHING, Figure, extremes, number, p_value, pointer, points, share
from honeyguard.report.view import View

SHOWN = 10
SLOWED = 0.02  # fidelity that a defense must take from the best copy

CARDS = (
    ("served_accuracy_cost_points", "plain", "Price for customers", points, "accuracy that the honeypot takes away"),
    ("asr_probabilities", "thief", "Mark in copies made from probabilities", share, "images that the trigger moves, on average"),
    ("asr_labels", "thief", "Mark in copies made from labels alone", share, "images that the trigger moves, on average"),
    ("asr_controls_max", "control", "Worst control", share, "the same for models that did not steal, and for random patterns"),
    ("p_value_thieves_max", "thief", "Weakest case against a thief", p_value, "largest p-value: the smaller, the stronger the case"),
    ("innocents_p_min", "control", "Closest call for an innocent", p_value, "smallest p-value of a model that never saw the API"),
)


@dataclass(frozen=True)
class Card:
    """A headline figure with what it means; `kind` is thief, control or plain."""

    kind: str
    name: str
    value: Markup
    meaning: str


def cards(view: View) -> list[Card]:
    """The figures at the top of the page, those that the record has."""
    known = {name: figure for name, figure in view.headline.items() if figure.known}
    return [Card(kind, name, shown(known[key]), meaning) for key, kind, name, shown, meaning in CARDS if key in known]


def fidelity_notes(view: View) -> list[Markup]:
    """Whether each defense made the copies worse than the best copy of the bare model."""
    best = {d.name: extremes([t.fidelity for t in view.thefts if t.defense == d.name])[1] for d in view.defenses}
    bare = next((best[d.name] for d in view.defenses if not d.chain), NOTHING)
    notes = []
    for defense in view.defenses:
        figure = best[defense.name]
        if defense.chain and figure.known and bare.known:
            effect = "makes" if figure.value < bare.value - SLOWED else "does not make"
            text = Markup("<strong>{}</strong> {} the best copy less faithful: fidelity {}, against {} without a defense.")
            notes.append(text.format(defense.title, effect, share(figure), share(bare)))
    return notes


@dataclass(frozen=True)
class Bar:
    """A class and its probability; the top class is set off."""

    name: str
    probability: Figure
    top: bool


@dataclass(frozen=True)
class Panel:
    """The answer of one defense."""

    title: str
    bars: list[Bar]
    rest: Figure | None
    keeps_top: bool


@dataclass(frozen=True)
class Customer:
    """One image, and what each defense answers to it."""

    image: str
    truth: str
    panels: list[Panel]


def customer(view: View) -> Customer | None:
    """The panels, the victim's own first; with many classes the likeliest of each and the sum of the rest."""
    pictures = view.pictures
    if not pictures or not pictures.get("customer"):
        return None
    names, shown = pictures["classes"], pictures["customer"]
    before = [number(p) for p in shown["before"]]
    panels = [_panel("before: the victim’s own answer", before, before, names, "before")]
    for defense in view.defenses:
        if defense.chain and defense.name in shown["answers"]:
            after = [number(p) for p in shown["answers"][defense.name]]
            panels.append(_panel(f"after: {defense.title}", after, before, names, "answers", defense.name))
    return Customer(shown["image"], str(names[shown["label"]]), panels)


def _panel(heading: str, answer: list[float], before: list[float], names: list[Any], *path: str) -> Panel:
    order = sorted(range(len(answer)), key=lambda k: -answer[k])
    chosen = sorted(order[:SHOWN]) if len(answer) <= SHOWN else order[: SHOWN - 1]
    rest = [answer[k] for k in order if k not in chosen]
    bars = [Bar(str(names[k]), Figure(answer[k], source=pointer("pictures", "customer", *path, k)), k == order[0]) for k in chosen]
    return Panel(heading, bars, Figure(sum(rest)) if rest else None, order[0] == max(range(len(before)), key=before.__getitem__))
