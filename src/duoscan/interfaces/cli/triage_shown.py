"""What ``duoscan triage`` prints: the operating table and what the policies are worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from duoscan.audit.gate import Verdict
from duoscan.evaluation.intervals import spoken_interval
from duoscan.evaluation.metrics import METRIC_NAMES
from duoscan.evaluation.policies.measured import FIGURES, PolicyFigures
from duoscan.evaluation.policies.noninferiority import TANGO_IS_APPROXIMATE
from duoscan.evaluation.policies.worth import PREVALENCES
from duoscan.interfaces.cli.tables import echo, table_console
from duoscan.interfaces.cli.verdict_shown import show_verdicts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from duoscan.evaluation.intervals import Estimate
    from duoscan.evaluation.policies.choice import Choice
    from duoscan.evaluation.policies.operating import Offer

_PHASES = {"xray": "the X-ray model", "ct": "the CT model"}
DASH = "–"
_ONE_DIGIT = {"missed_per_1000", "cts_avoided_per_100"}


def show_triage(offers: Sequence[Offer], choice: Choice, document: dict[str, Any]) -> None:
    """Print everything that is to be read before a policy is obeyed; what the gate says stands above the numbers."""
    show_verdicts({_PHASES[phase]: Verdict.from_json(one) for phase, one in document["verdicts"].items()})
    _show_policies(offers, choice, document)
    _show_rivals(document["chosen"], document["calibration"]["units"])
    echo(f"Chosen: {choice.offer.policy.name}; {choice.why}")
    if choice.offer.policy.certificate:
        echo(f"Promise: {choice.offer.policy.certificate.promise}")
    for entry in document["policies"]:
        if entry["policy"]["certificate"] and entry["missed_at_most"] is not None:
            echo(
                f"{entry['name']}: X-ray and CT together miss at most {entry['missed_at_most']:.3f} of the sick "
                f"(upper 95 % limit, {document['test']['sick']} sick test {document['test']['units']})"
            )
    for refusal in dict.fromkeys(offer.refusal for offer in offers if offer.refusal):
        echo(f"Not certified: {refusal}")
    names = [offer.policy.name for offer in offers]
    _show_worth(document["worth"], names)
    _show_waiting(document["waiting"], names)
    _show_comparison(document["comparison"])
    _show_abstention(document["abstention"])
    for note in document["notes"]:
        echo(f"Note: {note}")


def _show_policies(offers: Sequence[Offer], choice: Choice, document: dict[str, Any]) -> None:
    group, at = document["test"], document["prevalence"]
    rows = [
        (
            f"{offer.policy.name}{' ← chosen' if offer is choice.offer else ''}",
            *(_cell(offer, name) for name in FIGURES),
        )
        for offer in offers
    ]
    own = "" if document["prevalence_origin"] == "given" else "their own "
    title = f"On {group['patients']} test {group['units']}, {group['sick']} sick, at {own}prevalence {at:.3f}"
    _print(title, ("policy", *FIGURES.values()), rows)


def _show_rivals(chosen: dict[str, Any], units: str) -> None:
    """What each policy loses or wins against CT for all, where the choice was made between them."""
    rows = [
        (
            rival["name"],
            *(
                f"{rival[name]['value']:+.3f}, at least {rival[name]['low']:+.3f}"
                for name in ("sensitivity", "specificity")
            ),
            "yes" if rival["keeps"] else "not shown",
        )
        for rival in chosen["rivals"]
    ]
    if rows:
        title = f"Against CT for all on the calibration {units}, lower limits at a level of {chosen['level']:.3g}"
        _print(title, ("policy", "Sensitivity", "Specificity", f"Loses less than {chosen['margin']:g}"), rows)
        echo(TANGO_IS_APPROXIMATE)


def _show_worth(worth: dict[str, Any], names: Sequence[str]) -> None:
    if "refusal" in worth:
        echo(f"No worth: {worth['refusal']}")
        if "bounds" in worth:
            _show_bounds(worth["bounds"], names)
        return
    cost = worth["cost"]
    has_costs = "refusal" not in cost
    head = ["policy", f"Net benefit at p_t {worth['treat_from']:g}, harm of a CT {worth['ct_harm']:g}"]
    rows = [[name, _spoken(net)] for name, net in zip(names, worth["net_benefit"]["at"], strict=True)]
    if has_costs:
        head.append("Expected cost a patient")
        rows = [[*row, _spoken(each)] for row, each in zip(rows, cost["at"], strict=True)]
    _print("Worth at the same prevalence; over threshold probability and prevalence in the page", head, rows)
    if not has_costs:
        echo(f"No cost: {cost['refusal']}")
        return
    wish = f"a sensitivity of at least {worth['target_sensitivity']:g} on the calibration patients"
    if cost["cheapest"] is None:
        echo(f"Cheapest: no policy has {wish}")
        return
    echo(f"Cheapest with {wish}: {names[cost['cheapest']]}, {_spoken(cost['at'][cost['cheapest']])} a patient")
    echo(f"Cheapest over prevalence: {_stretches(cost['cheapest_over_prevalence'], names)}")


def _show_bounds(bounds: dict[str, Any], names: Sequence[str]) -> None:
    """What the margins allow at least and at most, each with its interval."""
    columns = {"net_benefit": f"Net benefit at p_t {bounds['treat_from']:g}", "cost": "Expected cost a patient"}
    shown = {key: title for key, title in columns.items() if bounds[key]}
    rows = [
        [name, *(" to ".join(_spoken(end) for end in bounds[key][place]) for key in shown)]
        for place, name in enumerate(names)
    ]
    _print("Worth at least and at most, whatever the pairs", ["policy", *shown.values()], rows)


def _stretches(places: Sequence[int | None], names: Sequence[str]) -> str:
    """Runs of equal policies over the prevalences: ``0.02 to 0.1 rule-out; 0.12 to 0.8 ct-for-all``."""
    found: list[list[Any]] = []
    for prevalence, place in zip(PREVALENCES, places, strict=True):
        if found and found[-1][2] == place:
            found[-1][1] = prevalence
        else:
            found.append([prevalence, prevalence, place])
    return "; ".join(f"{low:g} to {high:g} {'none' if at is None else names[at]}" for low, high, at in found)


def _show_waiting(waiting: dict[str, Any], names: Sequence[str]) -> None:
    if "refusal" in waiting:
        echo(f"No waiting time: {waiting['refusal']}")
        return
    shown = {"sick median": "Sick, median", "sick p95": "Sick, 95 %", "others p95": "Others, 95 %"}
    orders = {"first_come": "first come", "sick_first": "sick first"}
    rows = [
        [name, *(DASH if "refusal" in row else _spoken(row[order][key], 1) for order in orders for key in shown)]
        for name, row in zip(names, waiting["policies"], strict=True)
    ]
    head = ["policy", *(f"{text} ({order})" for order in orders.values() for text in shown.values())]
    stated = waiting["department"]
    _print(
        f"Minutes until X-ray and CT are read, simulated {waiting['replications']} times at "
        f"{stated['arrivals_per_hour']:g} arrivals an hour",
        head,
        rows,
    )
    for name, row in zip(names, waiting["policies"], strict=True):
        if "refusal" in row:
            echo(f"No waiting time of {name}: {row['refusal']}")


def _show_comparison(comparison: dict[str, Any]) -> None:
    rows = [
        (METRIC_NAMES[row["metric"]], *(_estimate(row[side]) for side in ("xray", "ct", "ct_minus_xray")))
        for row in comparison["rows"]
    ]
    title = f"X-ray against CT, {comparison['sick_each']} sick and {comparison['well_each']} well each"
    _print(title, ("", "X-ray", "CT", "CT − X-ray"), rows)
    echo(comparison["note"])
    doses = [row for row in comparison["benefits"] if "ose" in row["aspect"]]
    for row in doses:
        if row["xray"] == "not given":
            echo("Radiation dose: not given and none is assumed; give it with --dose-msv XRAY CT")
        else:
            echo(f"{row['aspect']}: X-ray {row['xray']}, CT {row['ct']}")


def _show_abstention(abstention: dict[str, Any]) -> None:
    rows = []
    for phase, title in _PHASES.items():
        of = abstention[phase]
        half = of["coverage"].index(0.5)
        rows.append(
            (
                title,
                _spoken(of["risk"][-1]),
                _spoken(of["risk"][half]),
                *(str(sum(of["sets"][name].values())) for name in ("covid", "not covid", "both", "none")),
                _spoken(of["referred"]["share"]),
            )
        )
    head = ("", "Error, all answered", "Error, surest half", "covid", "not covid", "both", "none", "Referred")
    _print(
        f"Prediction sets at an error of {abstention['error']:g} in each class; both and none are referred", head, rows
    )
    for phase, title in _PHASES.items():
        sources = abstention[phase]["referred_by_source"]
        if len(sources) > 1:
            said = "; ".join(f"{name} {row['referred']} of {row['patients']}" for name, row in sources.items())
            echo(f"Referred by source, {title}: {said}")


def _print(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich.table import Table

    table = Table(*head, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    table_console().print(table)


def _cell(offer: Offer, name: str) -> str:
    """``value [low, high]``, or the range the margins allow."""
    digits = 1 if name in _ONE_DIGIT else 3
    if isinstance(offer.test, PolicyFigures):
        estimate: Estimate = offer.test.figures[name]
        return estimate.spoken(digits)
    low, high = offer.test.low[name], offer.test.high[name]
    ends = f"{low.value:.{digits}f}", f"{high.value:.{digits}f}"
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def _estimate(stated: dict[str, Any]) -> str:
    return _spoken([stated["value"], stated["low"], stated["high"]])


def _spoken(triple: Sequence[float | None], digits: int = 3) -> str:
    value, low, high = triple
    return spoken_interval(value, low, high, digits)
