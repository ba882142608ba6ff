"""The sentences of the page. They follow the numbers: a weak result reads as one."""

from dataclasses import dataclass

from markupsafe import Markup

from honeyguard.report.figures import NOTHING, Figure, average, between, counted, extremes, points, share, tallied, title
from honeyguard.report.view import DECOYS, Theft, View

CLEAR_MARK = 0.5  # share of images that the trigger must move in every copy
FAINT_MARK = 0.1
DEAR = 3.0  # points of accuracy that customers notice at once
DAMAGED = 0.9  # a copy below this share of the served accuracy is a poor copy
COUNTS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")


@dataclass(frozen=True)
class Outcome:
    """The run in one line; `tone` is good, mixed, bad or plain."""

    tone: str
    text: Markup


def outcome(view: View) -> Outcome:
    """What a reader must know who reads nothing else."""
    (convicted, thieves), (accused, others) = view.convicted, view.false_alarms
    if not view.keys:
        text = Markup("No honeypot in this run, so no theft can be proved: it measures defenses that only change the answers.")
        return Outcome("plain", text)
    cost = view.main.cost if view.main else NOTHING
    price = Markup(" And the protection is dear: customers lose {} of accuracy.").format(points(cost)) if cost.value > DEAR else Markup("")
    proved, models = tallied("convicted", convicted), counted(others, "model")
    beside = Markup(", and none of {} without the mark was accused").format(models) if others else ""
    if accused:
        text = Markup("The test accused {} of {} that did not steal from the honeypot: its verdicts can’t be trusted.")
        return Outcome("bad", text.format(tallied("accused", accused), models) + price)
    if not thieves:
        return Outcome("plain", Markup("A honeypot was built, but no thief stood trial: nothing is proved either way.") + price)
    if convicted == thieves:
        text = Markup("Every theft was proved ({} of {}){}.").format(proved, thieves, beside)
        return Outcome("mixed" if price else "good", text + price)
    if convicted:
        return Outcome("mixed", Markup("Only {} of {} thefts were proved{}.").format(proved, thieves, beside) + price)
    return Outcome("bad", Markup("No theft was proved: {} of {} stolen copies were convicted{}.").format(proved, thieves, beside) + price)


def story(view: View) -> list[Markup]:
    """The story in five sentences."""
    return [_victim(view), _protection(view), _theft(view), _mark(view), _trial(view)]


def _victim(view: View) -> Markup:
    sizes = view.first.get("sizes") or {}
    model = (view.record["suite"].get("victim") or {}).get("model", "unknown")
    return Markup("<strong>The victim.</strong> A classifier ({}){} answers {}{} correctly{}.").format(
        title(model),
        f", trained on {sizes['victim']:,} images," if "victim" in sizes else "",
        share(view.victim_accuracy),
        f" of {sizes['test']:,} test images" if "test" in sizes else "",
        f", on average over {view.seeds} seeds" if view.seeds > 1 else "",
    )


def _protection(view: View) -> Markup:
    defense = view.main
    if defense is None:
        return Markup("<strong>The protection.</strong> None: this run shows what thieves get from the bare model.")
    how = "With the honeypot built in" if defense.commitment else f"Behind the defense “{defense.title}”"
    text = Markup("<strong>The protection.</strong> {}, customers get {} right: {}.")
    return text.format(how, share(defense.accuracy), _price(defense.cost))


def _price(cost: Figure) -> Markup:
    if not cost.known:
        return Markup("what that costs was not measured")
    if cost.value < -0.05:
        return Markup("{} more than before").format(points(Figure(-cost.value)))
    if cost.value < 0.05:
        return Markup("no accuracy is lost ({})").format(points(cost))
    judgement = "a small price" if cost.value <= 1 else "a price that some customers will notice" if cost.value <= DEAR else "a high price"
    return Markup("{} less than before, {}").format(points(cost), judgement)


def _theft(view: View) -> Markup:
    copies = view.stolen or view.thefts
    if not copies:
        return Markup("<strong>The theft.</strong> Nobody tried to steal the model in this run.")
    thieves = len({theft.thief for theft in view.thefts})
    budgets = sorted({theft["budget"] for theft in view.record["suite"].get("thieves", [])})
    bare = between(*extremes([theft.accuracy for theft in view.undefended])) if view.stolen and view.undefended else None
    text = Markup(
        "<strong>The theft.</strong> {}{} copied the model through its answers: the copies{} are right on {} of the test images{}; {}."
    )
    return text.format(
        f"{COUNTS[thieves] if thieves < len(COUNTS) else thieves} {'thief' if thieves == 1 else 'thieves'}",
        f", buying {' to '.join(f'{b:,}' for b in dict.fromkeys((budgets[0], budgets[-1])))} answers each," if budgets else "",
        " of the protected model" if view.stolen else "",
        between(*extremes([theft.accuracy for theft in copies])),
        Markup(" (without a honeypot: {})").format(bare) if bare else "",
        _copied(view, copies),
    )


def _copied(view: View, copies: list[Theft]) -> str:
    served = {defense.name: defense.accuracy.value for defense in view.defenses}
    shares = [theft.accuracy.value / served[theft.defense] for theft in copies if theft.accuracy.known and served.get(theft.defense)]
    if not shares:
        return "how good they are beside the original was not measured"
    if max(shares) >= DAMAGED:
        return "the theft itself was not stopped" + (", so the question is whether it can be proved" if view.stolen else "")
    return f"even the best copy reaches only {max(shares):.0%} of the accuracy that customers get"


def _mark(view: View) -> Markup:
    rates = [theft.asr for theft in view.stolen if theft.asr.known]
    if not rates:
        return Markup("<strong>The mark.</strong> No copy was taken from a model with a honeypot, so none carries a mark.")
    low, high = extremes(rates)
    worst = extremes([control.asr for control in view.controls if control.kind != DECOYS])[1]
    decoys = average([theft.decoys.value for theft in view.stolen])
    against = Markup(", against {} in the most affected kind of model that did not steal").format(share(worst)) if worst.known else ""
    text = Markup(
        "<strong>The mark.</strong> In stolen copies the trigger moves {} of the images of other classes to the target class{}; {}."
    )
    return text.format(between(low, high), against, _strength(low, high, worst, decoys))


def _strength(low: Figure, high: Figure, worst: Figure, decoys: Figure) -> Markup:
    same = Markup("meaningless patterns of the same strength move {}").format(share(decoys))
    if high.value < FAINT_MARK:
        return Markup("the mark hardly took")
    if decoys.value >= 0.5 * high.value:
        return Markup("but {} of them too, so the copies follow any pattern, not the owner’s").format(same)
    if worst.value >= 0.5 * low.value:
        return Markup("so the trigger does not tell thieves from others well")
    if low.value >= CLEAR_MARK:
        return Markup("a clear mark") + (Markup(", for {} only").format(same) if decoys.known else "")
    return Markup("a mark, but not a strong one in every copy")


def _trial(view: View) -> Markup:
    if not view.trials:
        return Markup("<strong>The trial.</strong> No suspect stood trial, so this run convicts and clears nobody.")
    (convicted, thieves), (accused, others) = view.convicted, view.false_alarms
    if accused:
        judgement = "an accusation from this key would be unsafe"
    elif not thieves:
        judgement = "whether it convicts a thief remains open"
    elif convicted == thieves:
        judgement = "it tells the thieves from the others"
    else:
        judgement = "some thieves get away" if convicted else "it accuses nobody, the thieves included"
    text = Markup(
        "<strong>The trial.</strong> At a false-positive rate of {} the test convicts {} of {} and accuses {} of {} without the mark: {}."
    )
    return text.format(
        share(view.false_positive_rate),
        tallied("convicted", convicted),
        counted(thieves, "stolen copy", "stolen copies"),
        tallied("accused", accused),
        counted(others, "model"),
        judgement,
    )
