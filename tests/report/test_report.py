"""The page says what the record says, in words that follow the numbers."""

import copy
import json
import math
import re
from typing import Any

import pytest

from honeyguard.errors import ArtifactError
from honeyguard.report import figures as shown
from honeyguard.report import plots, render
from honeyguard.report.figures import Figure
from honeyguard.report.view import View
from tests.report.pages import altered, at, body, counts, estimate, figures, good, marked, rebuilt, record, text, without_honeypot

Record = dict[str, Any]


@pytest.mark.parametrize("seeds", [1, 2])
def test_every_figure_on_the_page_is_the_one_in_the_record(seeds: int) -> None:
    content = record(seeds)
    found = figures(render(content))
    assert len(found) > 100
    for pointer, value in found:
        assert float(value) == at(content, pointer), pointer
    assert {f"/headline/{name}" for name in content["headline"]} <= {pointer for pointer, _ in found}


def test_counts_are_those_of_the_verdicts() -> None:
    assert counts(render(record())) == {("convicted", 0), ("accused", 0)}
    assert counts(render(good())) == {("convicted", 6), ("accused", 0)}


def test_rendering_is_a_pure_function() -> None:
    content = record()
    before = copy.deepcopy(content)
    assert render(content) == render(content)
    assert content == before


def test_the_page_loads_nothing() -> None:
    page = body(render(record()))
    assert not re.findall(r'(?:src|srcset|action)="(?!data:)[^"]*"', page)
    assert all(link.startswith("data:") for link in re.findall(r'<link[^>]*href="([^"]*)"', page))


def test_a_suite_of_several_budgets_has_its_curves_drawn_and_told() -> None:
    content = record()
    for story in content["stories"]:
        more = [s for s in story["suspects"] if s["role"] == "undefended" and s["thief"]["answer"] == "as_given"]
        for times, s in ((q, s) for q in (3200, 6400) for s in more):
            label = f"{s['label']} {times}"
            story["suspects"].append(s | {"label": label, "thief": s["thief"] | {"queries": times}, "accuracy": estimate(times / 10_000)})
    content = rebuilt(content)
    page = render(content)
    drawn = [name for name, _ in figures(page) if "/curves/" in name]
    assert drawn and all(float(value) == at(content, name) for name, value in figures(page))
    assert "no defense, answers as given" in text(page) and "6,400" in text(page)
    assert json.loads(re.findall(r'data-plot="plot-queries">(.*?)</script>', page)[0])["data"][0]["y"][-1] == pytest.approx(0.64)
    assert "plot-queries" not in render(record())


# ------------------------------------------------------------------------------------------------------------- the words


def test_a_good_run_reads_as_one() -> None:
    said = text(render(good()))
    assert "Every theft was proved (6 of 6), and none of 12 models without the mark was accused." in said
    assert "no accuracy is lost (0.0 points)" in said
    assert "moves 90.0% of the images" in said
    assert "a clear mark, for meaningless patterns of the same strength move 5.0% only" in said
    assert "it tells the thieves from the others" in said
    assert "Publish the key’s commitment" in said
    assert "Strengthen the mark" not in said
    assert "Over all 2 seeds: stolen copies: 6 of 6 convicted" in said


def test_a_poor_run_reads_as_one() -> None:
    said = text(render(record()))
    assert "No theft was proved: 0 of 6 stolen copies were convicted" in said
    assert "And the protection is dear: customers lose 9.3 points of accuracy." in said
    assert "a high price" in said
    assert "so the copies follow any pattern, not the owner’s" in said
    assert "it accuses nobody, the thieves included" in said
    assert "✗" not in said
    assert "not convicted" in said
    assert "Strengthen the mark" in said
    assert "Lower the price" in said
    assert "Deploy the protected model" not in said


def test_a_thief_who_gets_away_is_named() -> None:
    def one_escapes(suspect: Record) -> None:
        if suspect["label"] == "honeypot / labels":
            suspect["trials"]["honeypot"]["verdict"] |= {"p_value": 0.4}

    said = text(render(altered(one_escapes, base=good())))
    assert "Only 4 of 6 thefts were proved" in said
    assert "some thieves get away" in said
    assert "Strengthen the mark" in said


@pytest.mark.parametrize("role", ["innocent", "victim", "undefended"])
def test_a_false_alarm_comes_first(role: str) -> None:
    def accuse(suspect: Record) -> None:
        if suspect["role"] == role:
            suspect["trials"]["honeypot"]["verdict"] |= {"p_value": 1e-5}

    page = render(altered(accuse, base=good()))
    said = text(page)
    accused = dict(counts(page))["accused"]
    assert f"The test accused {accused} of 12 models that did not steal from the honeypot: its verdicts can’t be trusted." in said
    assert "an accusation from this key would be unsafe" in said
    assert "accused wrongly" in said
    assert "Accuse nobody with this key" in said
    assert "Publish the key’s commitment" not in said


def test_controls_that_fire_are_said_to() -> None:
    def fire(suspect: Record) -> None:
        if suspect["role"] == "victim":
            suspect["trials"]["honeypot"]["attack_success"] = estimate(0.7)

    said = text(render(altered(fire, base=good())))
    assert (
        "against 70.0% in the most affected kind of model that did not steal; so the trigger does not tell thieves from others well" in said
    )


@pytest.mark.parametrize(
    ("rate", "decoys", "words"),
    [
        (0.04, 0.0, "the mark hardly took"),
        (0.3, 0.02, "a mark, but not a strong one in every copy"),
        (0.8, 0.6, "meaningless patterns of the same strength move 60.0% of them too"),
        (0.5, 0.02, "a clear mark"),
    ],
)
def test_the_mark_is_called_what_it_is(rate: float, decoys: float, words: str) -> None:
    assert words in text(render(altered(marked(rate, decoys=decoys))))


@pytest.mark.parametrize(
    ("cost", "words"),
    [
        (-1.2, "1.2 points more than before"),
        (0.04, "no accuracy is lost (0.0 points)"),
        (1.0, "1.0 point less than before, a small price"),
        (2.5, "2.5 points less than before, a price that some customers will notice"),
        (9.0, "9.0 points less than before, a high price"),
        (None, "what that costs was not measured"),
    ],
)
def test_the_price_is_called_what_it_is(cost: float | None, words: str) -> None:
    content = record()
    for defense in content["summary"]["defenses"].values():
        defense["cost_points"] = {"value": cost, "low": cost, "high": cost, "n": 2}
    assert words in text(render(content))


def test_a_poor_copy_is_called_one() -> None:
    def spoil(suspect: Record) -> None:
        if suspect["thief"]:
            suspect["accuracy"] = estimate(0.4)

    assert re.search(r"even the best copy reaches only \d\d% of the accuracy that customers get", text(render(altered(spoil))))


def test_one_seed_is_said_to_be_too_few() -> None:
    said = text(render(record(1)))
    assert "this page rests on 1 seed" in said
    assert "Over all" not in said
    assert "95% intervals over the test images" in said


# ------------------------------------------------------------------------------------------------- what may be missing


def test_no_honeypot() -> None:
    page = render(without_honeypot())
    said = text(page)
    assert "No honeypot in this run" in said
    assert "No suspect stood trial" in said
    assert "Confidential" not in page
    assert 'data-plot="plot-success"' not in page
    assert 'data-plot="plot-copies"' in page
    assert "reverse sigmoid does not make the best copy less faithful" in text(render(record()))


def test_no_verdicts() -> None:
    content = record()
    for story in content["stories"]:
        for suspect in story["suspects"]:
            for trial in suspect["trials"].values():
                trial["verdict"] = None
    said = text(render(content))
    assert "no thief stood trial: nothing is proved either way" in said
    assert "this run convicts and clears nobody" in said


def test_neither_defense_nor_thief() -> None:
    content = without_honeypot()
    for story in content["stories"]:
        story["defenses"] = story["defenses"][:1]
        story["suspects"] = [s for s in story["suspects"] if not s["thief"]]
    content["pictures"] = None
    said = text(render(rebuilt(content)))
    assert "None: this run shows what thieves get from the bare model." in said
    assert "Nobody tried to steal the model" in said
    assert "No thief took part" in said


@pytest.mark.parametrize("nothing", [None, math.nan])
def test_figures_that_were_not_measured(nothing: float | None) -> None:
    def blank(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: blank(part) for key, part in value.items()}
        if isinstance(value, list):
            return [blank(part) for part in value]
        return nothing if isinstance(value, float) else value

    content = record()
    content = content | {name: blank(content[name]) for name in ("headline", "summary", "stories", "pictures")}
    page = render(content)
    assert "not measured" in page
    assert not re.search(r"\bnan\b", text(page), re.IGNORECASE)
    assert "no result" in text(page)
    assert plots.copies(View(content)) is None


@pytest.mark.parametrize("name", ["schema", "suite", "seeds", "headline", "summary", "stories", "environment"])
def test_a_record_that_lacks_a_part_is_refused(name: str) -> None:
    content = record()
    del content[name]
    with pytest.raises(ArtifactError, match=r"expected a record .*; got .*schema.*" if name == "schema" else name):
        render(content)


def test_a_record_that_lacks_a_part_inside_is_refused() -> None:
    content = record()
    del content["stories"][0]["suspects"][0]["role"]
    with pytest.raises(ArtifactError, match="role"):
        render(content)
    content = record()
    del content["suite"]["title"]
    with pytest.raises(ArtifactError, match="title"):
        render(content)


def test_no_record_at_all_is_refused() -> None:
    broken: list[Any] = [[], {}, {"schema": "1"}, record() | {"stories": []}]
    for content in broken:
        with pytest.raises(ArtifactError):
            render(content)


def test_a_newer_record_is_refused() -> None:
    with pytest.raises(ArtifactError, match=r"got schema 2\. Update Honeyguard"):
        render(record() | {"schema": 2})


# ------------------------------------------------------------------------------------------------------ secrets, names


def test_confidential_at_the_top_and_in_the_footer_with_the_trigger_only() -> None:
    page = body(render(record()))
    first, last = page.find("Confidential"), page.rfind("Confidential")
    assert "<title>Confidential" in page
    assert first < page.find("<h1>")
    assert last > page.find("<footer")
    assert "Confidential" not in body(render(record() | {"pictures": None}))


def test_names_from_the_suite_are_escaped() -> None:
    evil = "<img src=x onerror=alert(1)>"
    content = json.loads(json.dumps(record()).replace("reverse_sigmoid", evil.replace('"', "'")))
    content["suite"]["title"] = "</title><script>alert(1)</script>"
    page = render(content)
    assert evil not in page
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_uncommitted_changes_are_said() -> None:
    content = record()
    assert "with uncommitted changes" not in render(content)
    content["environment"]["dirty"] = True
    assert "with uncommitted changes" in render(content)
    content["environment"] |= {"commit": None, "dirty": None}
    assert "not recorded: the code ran outside its repository" in render(content)


def test_a_thief_of_another_honeypot_is_no_thief_under_this_key() -> None:
    content = good()
    for story in content["stories"]:
        story["defenses"].append(story["defenses"][2] | {"name": "other", "commitment": "f" * 64})
        thief = next(s for s in story["suspects"] if s["label"] == "honeypot / labels")
        copied = copy.deepcopy(thief) | {"label": "other / labels", "defense": "other"}
        copied["trials"]["other"] = copy.deepcopy(copied["trials"]["honeypot"])
        copied["trials"]["honeypot"]["verdict"]["p_value"] = 0.5
        story["suspects"].append(copied)
    view = View(rebuilt(content))
    assert view.convicted == (8, 8)
    assert view.tally("foreign") == (0, 2)
    assert next(t for t in view.thefts if t.label == "other / labels").asr.source.endswith("/asr/other/value")
    assert "Copies of a model with another honeypot" in text(render(view.record))


# ------------------------------------------------------------------------------------------------------- plots, figures


def test_plots_show_the_figures_of_the_record() -> None:
    content = record()
    bars = plots.success(View(content))
    assert bars is not None
    thieves, controls = bars["data"]
    assert list(thieves["x"]) == [t["asr"]["honeypot"]["value"] for t in content["summary"]["thefts"].values() if t["role"] == "stolen"]
    assert list(controls["x"]) == [control["value"] for control in content["summary"]["controls"].values()]
    points = plots.copies(View(content))
    assert points is not None
    places = {(x, y) for trace in points["data"] for x, y in zip(trace["x"], trace["y"], strict=True)}
    assert places == {(t["fidelity"]["value"], t["accuracy"]["value"]) for t in content["summary"]["thefts"].values()}


def test_whiskers_stay_between_0_and_1() -> None:
    bars = plots.success(View(altered(marked(0.99))))
    assert bars is not None
    for trace in bars["data"]:
        for value, up, down in zip(trace["x"], trace["error_x"]["array"], trace["error_x"]["arrayminus"], strict=True):
            assert 0 <= value - down <= value <= value + up <= 1 + 1e-12


def test_many_classes_are_summed_up() -> None:
    content = record()
    customer = content["pictures"]["customer"]
    content["pictures"]["classes"] = [f"class {k}" for k in range(100)]
    customer["before"] = [0.01] * 100
    customer["answers"] = {name: [0.01] * 100 for name in customer["answers"]}
    assert "all others91.0%" in text(render(content))


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0%"), (1, "100%"), (0.0002, "<0.1%"), (0.9997, ">99.9%"), (0.8212, "82.1%"), (math.nan, "not measured")],
)
def test_shares(value: float, words: str) -> None:
    assert shown.percent(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0532, "0.053"), (1, "1"), (2.1e-6, "2.1 × 10⁻⁶"), (9.96e-4, "1.0 × 10⁻³"), (0, "<10⁻³⁰⁰"), (math.nan, "not measured")],
)
def test_probabilities(value: float, words: str) -> None:
    assert shown.probability(value) == words


def test_small_words() -> None:
    assert shown.plain(-0.004, 2) == "0.00"
    assert shown.plain(-1.5, 1) == "−1.5"
    assert shown.counted(1, "thief", "thieves") == "1 thief"
    assert shown.pointer("a / b", 0, "c~d") == "/a ~1 b/0/c~0d"
    assert at({"a / b": [{"c~d": 7}]}, "/a ~1 b/0/c~0d") == 7
    assert shown.points(Figure(1.0)) == "<span>1.0 point</span>"
