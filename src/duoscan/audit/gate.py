"""The gate: may a measured number be shown as a headline? A pure function over audit results and facts.

What a number needs is one table, :data:`REQUIREMENTS`. An audit that was not run is an unknown, and an unknown is
never a pass: at best it leaves a warning. The requirements follow what was missing in the models that Roberts et
al. reviewed (Nature Machine Intelligence 2021) and what TRIPOD+AI asks to be reported (Collins et al., BMJ 2024).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from duoscan.audit.result import ORDER, AuditResult, Level
from duoscan.errors import InputError
from duoscan.notebook import shown
from duoscan.terms import Split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

CHANCE_AUROC = 0.5
WEAK_AUROC = 0.7
"""Below, what tells covid may be as little as file facts or corners tell in a set that passes the audit of them."""

MOST_LOOKS = 10
"""At one test set, also by one model: after each, something can be chosen, if only what is shown."""

FEWEST_PATIENTS = 20
"""In either class, of all rows and of each external source; of fewer an interval says little."""

WISHED_PATIENTS = 100
"""In either class, for a test set (Collins, Ogundimu and Altman, Statistics in Medicine 2016)."""


@dataclass(frozen=True)
class Measured:
    """Facts of the evaluation that a verdict is on; ``None`` where a fact is not known.

    Attributes:
        name: Of the model or table.
        images: Measured images.
        covid_patients: Patients with a covid image among them, or what stands for patients.
        other_patients: The same without a covid image.
        auroc: Value, lower and upper end of its 95 % interval.
        accuracy: The same.
        majority: Accuracy of always giving the more common answer.
        split: Part of the data the rows are of.
        threshold_is_from_test: Whether the operating point may have been chosen on these rows.
        external_sources: Measured sources that no training or validation image came from.
        external_patients: Patients with covid and without of each of them, in their order.
        auroc_corrected: Lower end of the AUROC that holds for all uses of the test set together (Bonferroni).
        unnamed: How many of all patients are blocks or images that stand for patients nobody named.
        test_uses: How often this test set was answered, this time included.
        models_tried: How many different models answered it.
        model: SHA-256 of the graph, or of the table.
        data: Fingerprint of the measured rows.
        faults: Other reasons why the number is too good, one sentence each.
        stated: What a person said of how the number came about and nobody checked, one phrase each.
    """

    name: str
    images: int
    covid_patients: int
    other_patients: int
    auroc: tuple[float | None, float | None, float | None]
    accuracy: tuple[float | None, float | None, float | None]
    majority: float
    split: str | None = None
    threshold_is_from_test: bool | None = None
    external_sources: tuple[str, ...] | None = None
    test_uses: int | None = None
    models_tried: int | None = None
    model: str | None = None
    data: str | None = None
    faults: tuple[str, ...] = ()
    external_patients: tuple[tuple[int, int], ...] = ()
    unnamed: int = 0
    auroc_corrected: float | None = None
    stated: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As in ``verdict.json``."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, stated: Mapping[str, Any]) -> Measured:
        """What :meth:`to_json` wrote.

        Raises:
            InputError: A key is missing or unknown.
        """
        added: dict[str, Any] = {
            "external_patients": [],
            "unnamed": 0,
            "auroc_corrected": None,
            "stated": [],
        }  # not in the first ones
        stated = added | dict(stated) if isinstance(stated, dict) else stated
        _check_keys(stated, {one.name for one in fields(cls)}, "measured")
        values: dict[str, Any] = {name: _frozen(value) for name, value in stated.items()}
        return cls(**values)


@dataclass(frozen=True)
class Check:
    """One requirement, judged.

    Attributes:
        name: As in :data:`REQUIREMENTS`.
        title: What is required, for a person.
        level: How it is met.
        reasons: Why, one sentence each.
    """

    name: str
    title: str
    level: Level
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """What the gate says.

    Attributes:
        level: The worst of the checks; what was not run makes it a warning, never a pass.
        checks: One a requirement, in their order.
        measured: The number it is on; ``None`` where data alone were audited.
    """

    level: Level
    checks: tuple[Check, ...]
    measured: Measured | None = None

    @property
    def may_headline(self) -> bool:
        """Whether the number may stand above its reasons; never where the data it is on were not audited."""
        return self.level in {Level.PASS, Level.WARN} and not self.unaudited

    @property
    def unaudited(self) -> tuple[str, ...]:
        """Titles of what must be known of the data before a number is a headline, and is not."""
        return tuple(check.title for check in self.checks if check.name in NEEDED and check.level is Level.NOT_RUN)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is no pass, worst first; empty for a pass."""
        return tuple(reason for level in (Level.FAIL, Level.WARN, Level.NOT_KNOWN) for reason in self._reasons(level))

    @property
    def good_news(self) -> tuple[str, ...]:
        """What was required and is met, so that no reader takes it for a reason against the number."""
        return tuple(self._reasons(Level.PASS))

    @property
    def not_run(self) -> tuple[str, ...]:
        """Titles of the requirements that nothing is known of."""
        return tuple(check.title for check in self.checks if check.level is Level.NOT_RUN)

    def _reasons(self, level: Level) -> Iterable[str]:
        for check in self.checks:
            if check.level is level:
                yield from check.reasons

    def _repr_html_(self) -> str:
        rows = [(check.title, check.level, "; ".join(check.reasons)) for check in self.checks]
        return shown(f"Verdict: {self.level.upper()}", ("required", "level", "reasons"), rows)

    def to_json(self) -> dict[str, Any]:
        """As in ``verdict.json``, in a bundle, and in the report."""
        return {
            "format": "duoscan-verdict",
            "version": 1,
            "level": self.level.value,
            "checks": [
                {"name": one.name, "title": one.title, "level": one.level.value, "reasons": list(one.reasons)}
                for one in self.checks
            ],
            "measured": None if self.measured is None else self.measured.to_json(),
        }

    @classmethod
    def from_json(cls, stated: Mapping[str, Any]) -> Verdict:
        """What :meth:`to_json` wrote.

        Raises:
            InputError: It is another format or version, a key is missing or unknown, or its level is not the one
                that its checks give.
        """
        _check_keys(stated, {"format", "version", "level", "checks", "measured"}, "verdict")
        if (stated["format"], stated["version"]) != ("duoscan-verdict", 1):
            raise InputError("verdict of an unknown format or version; it may need a newer duoscan")
        checks = []
        for one in stated["checks"]:
            _check_keys(one, {"name", "title", "level", "reasons"}, "check of a verdict")
            checks.append(Check(one["name"], one["title"], _level(one["level"]), tuple(one["reasons"])))
        level, measured = _level(stated["level"]), stated["measured"]
        if level is not overall(checks):
            raise InputError(f"a verdict of '{level}' over checks that give '{overall(checks)}'; make it anew")
        return cls(level, tuple(checks), None if measured is None else Measured.from_json(measured))


Judged = tuple[Level, tuple[str, ...]]


@dataclass(frozen=True)
class Requirement:
    """What a number needs.

    Attributes:
        name: Short name; that of the audit where ``judge`` is ``None``.
        title: What is required.
        worst: The worst that it can do to the verdict.
        judge: Decides on the evaluation's facts; ``None`` takes the level of the audit of this name.
        is_needed: Whether there is no headline before it was looked at.
    """

    name: str
    title: str
    worst: Level = Level.FAIL
    is_needed: bool = False
    judge: Callable[[Measured], Judged] | None = None


def _untouched(measured: Measured) -> Judged:
    if measured.faults:
        return Level.FAIL, measured.faults
    if measured.split in {Split.TRAIN, Split.VAL}:
        return Level.FAIL, (
            f"the measured rows are of the part '{measured.split}', on which the model was made; measure on test",
        )
    if measured.split != Split.TEST:
        found = measured.split or "no part"
        return Level.WARN, (
            f"the measured rows are of '{found}', so they may have been chosen on; state a test part (column split, or "
            "--rows-are)",
        )
    return _threshold(measured)


def _threshold(measured: Measured) -> Judged:
    """Of rows of the test part, whose operating point is all that may have been chosen on them."""
    if measured.threshold_is_from_test:
        return Level.WARN, ("the threshold may have been chosen on the measured rows; choose it on validation",)
    if measured.threshold_is_from_test is None:
        return Level.WARN, ("where the threshold was chosen is not known; choose it on validation and say so",)
    if measured.stated:
        return Level.PASS, (f"measured on the test part; as stated, and not checked: {'; '.join(measured.stated)}",)
    return Level.PASS, ("measured on the test part; epoch and threshold were chosen on validation",)


def _interval(measured: Measured) -> Judged:
    _, low, high = measured.auroc
    if low is None or high is None:
        found = f"of {measured.covid_patients} covid patients and {measured.other_patients} others"
        return Level.FAIL, (f"the AUROC {found} has no interval; measure several of both whose scores differ",)
    if measured.unnamed:
        return Level.WARN, (
            f"AUROC 95 % interval {low:.3f} to {high:.3f}, over {measured.unnamed} blocks or images in place of "
            "patients: too narrow where one patient is in several; give patient ids",
        )
    return Level.PASS, (f"AUROC 95 % interval {low:.3f} to {high:.3f}, over patients",)


def _baseline(measured: Measured) -> Judged:
    looks, accuracy_low = measured.test_uses or 1, measured.accuracy[1]
    low = measured.auroc_corrected if looks > 1 else measured.auroc[1]
    end = "the lower end of the AUROC" + (f", corrected for {looks} looks at the test set," if looks > 1 else "")
    if low is None or low <= CHANCE_AUROC:
        shown = "missing" if low is None else f"{low:.3f}"
        return Level.FAIL, (f"{end} ({shown}) does not lie above chance, 0.5",)
    if low <= WEAK_AUROC:
        return Level.WARN, (
            f"{end} ({low:.3f}) lies above chance, but not above {WEAK_AUROC:g}, which file facts alone may reach; "
            "measure more patients",
        )
    if accuracy_low is None or accuracy_low <= measured.majority:
        shown = "missing" if accuracy_low is None else f"{accuracy_low:.3f}"
        return Level.WARN, (
            f"the lower end of the accuracy ({shown}) does not lie above always giving the more common answer "
            f"({measured.majority:.3f}); state sensitivity and specificity, not accuracy",
        )
    return Level.PASS, (
        f"lower ends lie above the baselines: AUROC {low:.3f} (0.5), accuracy {accuracy_low:.3f} "
        f"({measured.majority:.3f})",
    )


def _size(measured: Measured) -> Judged:
    fewest = min(measured.covid_patients, measured.other_patients)
    found = f"{measured.covid_patients} covid patients and {measured.other_patients} others"
    if measured.unnamed:
        found += f", of which {measured.unnamed} are blocks or images in place of patients"
    if fewest < FEWEST_PATIENTS:
        return Level.FAIL, (f"{found}; an interval needs {FEWEST_PATIENTS} of either, a test set {WISHED_PATIENTS}",)
    if fewest < WISHED_PATIENTS:
        return Level.WARN, (f"{found}; a test set should have {WISHED_PATIENTS} of either",)
    if measured.unnamed > fewest - WISHED_PATIENTS:
        return Level.WARN, (f"{found}; how many patients these are is not known, so give patient ids",)
    return Level.PASS, (found,)


def _external(measured: Measured) -> Judged:
    if measured.external_sources is None:
        return Level.NOT_RUN, ("which sources the model was trained on is not known",)
    if not measured.external_sources:
        return Level.WARN, (
            "every measured source took part in training, so nothing is known of other hospitals; "
            "measure on a source that did not",
        )
    counts = dict(zip(measured.external_sources, measured.external_patients, strict=False))
    enough = [name for name, found in counts.items() if min(found) >= FEWEST_PATIENTS]
    if not enough:
        found = "; ".join(f"{name}: {sick} with covid, {well} without" for name, (sick, well) in counts.items())
        return Level.WARN, (
            f"no source that took no part in training has {FEWEST_PATIENTS} patients of either class"
            f"{f' ({found})' if found else ''}, so next to nothing is known of other hospitals",
        )
    stated = ", as somebody stated" if measured.stated else ""
    return Level.PASS, (f"measured on sources that took no part in training{stated}: {', '.join(enough)}",)


def _uses(measured: Measured) -> Judged:
    if measured.test_uses is None or measured.models_tried is None:
        return Level.NOT_RUN, ("uses of the test set were not counted; measure with: duoscan evaluate",)
    found = f"use {measured.test_uses} of this test set, by {measured.models_tried} model(s) so far"
    if measured.models_tried > 1:
        return Level.WARN, (f"{found}; the best of several is better than it will be on new patients",)
    if measured.test_uses > MOST_LOOKS:
        return Level.WARN, (f"{found}; after so many looks something was chosen on it, if only what is shown",)
    return Level.PASS, (found,)


REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("patients", "No patient in two splits", is_needed=True),
    Requirement("copies", "No copies across splits or labels", is_needed=True),
    Requirement("confounding", "Label not told by origin", is_needed=True),
    Requirement("quality", "Images are whole, upright and of the chest", worst=Level.WARN),
    Requirement("shortcuts", "Skill is lost without the lung"),
    Requirement("perturbation", "Answers hold against marks, and not without the lungs"),
    Requirement("attention", "Attention lies on the lung", worst=Level.WARN),
    Requirement("calibration", "Probabilities mean what they say", worst=Level.WARN),
    Requirement("test-untouched", "Nothing chosen on the test part", judge=_untouched),
    Requirement("interval", "An interval over patients", judge=_interval),
    Requirement("baseline", "Better than the baseline", judge=_baseline),
    Requirement("size", "Enough patients of both classes", judge=_size),
    Requirement("external", "An external test set", worst=Level.WARN, judge=_external),
    Requirement("uses", "Uses of the test set counted", worst=Level.WARN, judge=_uses),
)
NEEDED = frozenset(one.name for one in REQUIREMENTS if one.is_needed)


def judge(results: Iterable[AuditResult], measured: Measured | None = None) -> Verdict:
    """Decide what a number may be called.

    Args:
        results: Of the data and the model that the number is of, one modality only. Of several results of one
            audit the worst counts. An audit that no requirement knows counts as well.
        measured: The number and its facts; without one, everything about it is ``not run``.
    """
    found: dict[str, list[AuditResult]] = {}
    for result in results:
        found.setdefault(result.name, []).append(result)
    known = {one.name for one in REQUIREMENTS}
    others = [Requirement(name, own[0].title) for name, own in found.items() if name not in known]
    checks = [_check(one, found.get(one.name, ()), measured) for one in (*REQUIREMENTS, *others)]
    return Verdict(overall(checks), tuple(checks), measured)


def overall(checks: Iterable[Check]) -> Level:
    """The worst level; with anything not run or not known at best a warning, and ``not run`` where nothing was."""
    levels = {check.level for check in checks}
    if levels <= {Level.NOT_RUN}:
        return Level.NOT_RUN
    if Level.FAIL in levels:
        return Level.FAIL
    return Level.WARN if levels - {Level.PASS} else Level.PASS


def _check(requirement: Requirement, results: Iterable[AuditResult], measured: Measured | None) -> Check:
    level: Level
    reasons: tuple[str, ...]
    if requirement.judge is not None and measured is None:
        level, reasons = Level.NOT_RUN, ("no number was measured",)
    elif requirement.judge is not None and measured is not None:
        level, reasons = requirement.judge(measured)
    else:
        own = sorted(results, key=lambda result: ORDER.index(result.level), reverse=True)
        level = own[0].level if own else Level.NOT_RUN
        reasons = tuple(reason for result in own if result.level is level for reason in result.reasons)
        reasons = reasons or ((f"the audit '{requirement.name}' was not run",) if level is Level.NOT_RUN else ())
    return Check(requirement.name, requirement.title, min(level, requirement.worst, key=ORDER.index), reasons)


def _check_keys(stated: Mapping[str, Any], wanted: set[str], what: str) -> None:
    if not isinstance(stated, dict) or set(stated) != wanted:
        found = sorted(stated) if isinstance(stated, dict) else type(stated).__name__
        raise InputError(f"{what}: keys {found} in place of {sorted(wanted)}; it was altered or is of another version")


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _level(text: str) -> Level:
    try:
        return Level(text)
    except ValueError:
        raise InputError(f"'{text}' is no level; use {', '.join(Level)}") from None
