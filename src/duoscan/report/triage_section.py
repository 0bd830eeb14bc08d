"""The policies as a section of a report: tables and figures that stand without a script, and sliders that need one."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup

from duoscan.audit.gate import Verdict
from duoscan.evaluation.metrics import METRIC_NAMES
from duoscan.evaluation.policies.document import scores_from_json
from duoscan.evaluation.policies.measured import FIGURES
from duoscan.evaluation.policies.noninferiority import TANGO_IS_APPROXIMATE
from duoscan.evaluation.policies.worth_figures import worth_figures
from duoscan.policies.policy import Policy, apply_policy_to_all
from duoscan.report.charts import inline_svg
from duoscan.report.explorer import RANGES, explorer_data
from duoscan.report.wording import MISSING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SCRIPT = files("duoscan.report").joinpath("templates", "triage.js").read_text(encoding="utf-8").strip()
SCRIPT_HASH = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
"""As a content security policy names the one script that may run."""

PHASES = {"xray": "X-ray", "ct": "CT"}
_ONE_DIGIT = frozenset({"missed_per_1000", "cts_avoided_per_100"})
_LABELS = {
    "decision": "Net benefit of every policy over threshold probability.",
    "prevalence": "Net benefit of every policy over prevalence.",
    "cost": "Expected cost of a patient under every policy over prevalence.",
    "risk": "Share of wrong answers over the share of patients answered, X-ray and CT; the table below holds numbers.",
}


class Cell(NamedTuple):
    """A number as a table shows it."""

    text: str
    interval: str = ""


@dataclass(frozen=True)
class TriageSection:
    """What the templates show.

    Attributes:
        document: Of ``triage.json``.
        verdicts: On the numbers of either phase's model.
        table: A row a policy, a cell a figure.
        flow: Patients of 1,000 on each way of the chosen policy; empty where they are not paired.
        figures: SVG by stem.
        data: For the script; ``None`` where nothing can be moved.
    """

    document: dict[str, Any]
    verdicts: Mapping[str, Verdict]
    table: tuple[tuple[Cell, ...], ...]
    flow: Mapping[str, str]
    figures: Mapping[str, Markup]
    data: Markup | None

    @property
    def may_headline(self) -> bool:
        """Whether a policy's number may stand above its reasons: both of its models' numbers may."""
        return all(verdict.may_headline for verdict in self.verdicts.values())

    @property
    def chosen(self) -> dict[str, Any]:
        """The chosen policy's entry."""
        entry: dict[str, Any] = self.document["policies"][self.document["chosen"]["place"]]
        return entry


def triage_section(document: dict[str, Any], verdicts: Mapping[str, Verdict] | None = None) -> TriageSection:
    """Prepare what ``duoscan triage`` found for a page.

    Args:
        document: Of ``triage.json``.
        verdicts: For ``xray`` or ``ct``, go before those of the document, e.g. because a report was given audits.
    """
    stated = {phase: Verdict.from_json(one) for phase, one in document["verdicts"].items()}
    drawn = worth_figures(document)
    data = explorer_data(document)
    return TriageSection(
        document,
        {**stated, **(verdicts or {})},
        tuple(tuple(_figure_cell(entry["test"], name) for name in FIGURES) for entry in document["policies"]),
        _flow(document) if data else {},
        {stem: inline_svg(figure, f"triage-{stem}", _LABELS[stem]) for stem, figure in drawn.items()},
        # "<" must not end the script element that holds the data.
        Markup(json.dumps(data).replace("<", "\\u003c")) if data else None,  # noqa: S704
    )


def cell(triple: Sequence[float | None] | Mapping[str, Any], digits: int = 3) -> Cell:
    """A number with its interval, from ``[value, low, high]`` or an estimate's JSON."""
    ends = ("value", "low", "high")
    value, low, high = (triple[end] for end in ends) if not isinstance(triple, list) else triple  # type: ignore[call-overload]
    interval = f"({_spoken(low, digits)} to {_spoken(high, digits)})" if low is not None and high is not None else ""
    return Cell(_spoken(value, digits), interval)


GLOBALS: dict[str, Any] = {
    "triage_cell": cell,
    "METRIC_NAMES": METRIC_NAMES,
    "TANGO_IS_APPROXIMATE": TANGO_IS_APPROXIMATE,
    "TRIAGE_FIGURES": FIGURES,
    "TRIAGE_PHASES": PHASES,
    "TRIAGE_RANGES": RANGES,
    "TRIAGE_SCRIPT": Markup(SCRIPT),  # noqa: S704 - a file of this package
    "TRIAGE_SCRIPT_HASH": SCRIPT_HASH,
}
"""What the templates of the section know beside the section itself."""


def _figure_cell(measured: Mapping[str, Any], name: str) -> Cell:
    digits = 1 if name in _ONE_DIGIT else 3
    if "figures" in measured:
        return cell(measured["figures"][name], digits)
    low, high = measured["bounds"][name]
    return Cell(
        f"{_spoken(low['value'], digits)} to {_spoken(high['value'], digits)}",
        f"(ends {_spoken(low['low'], digits)} and {_spoken(high['high'], digits)})",
    )


def _flow(document: Mapping[str, Any]) -> dict[str, str]:
    """Of 1,000 patients at the prevalence, those on each way, and how many of them are sick."""
    everyone = scores_from_json(document["scores"]["test"])
    patients = everyone.where(everyone.is_paired)
    entry = document["policies"][document["chosen"]["place"]]
    outcome = apply_policy_to_all(Policy.model_validate(entry["policy"]), patients.xray, patients.ct)
    positive, to_ct = outcome.positive, outcome.to_ct
    ways = {
        "all": positive | ~positive,
        "left": ~to_ct & ~positive,
        "settled": ~to_ct & positive,
        "to_ct": to_ct,
        "ct_positive": to_ct & positive,
        "ct_negative": to_ct & ~positive,
    }
    found = {}
    for way, chosen in ways.items():
        sick = 1000 * document["prevalence"] * float(chosen[patients.sick].mean())
        well = 1000 * (1 - document["prevalence"]) * float(chosen[~patients.sick].mean())
        found[way] = f"{_spoken(sick + well, 1)} ({_spoken(sick, 1)} sick)"
    return found


def _spoken(value: float | None, digits: int) -> str:
    if value is None or math.isnan(value):
        return MISSING
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")
