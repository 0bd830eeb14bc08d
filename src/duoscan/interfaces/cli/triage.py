"""``duoscan triage``."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
import numpy as np

from duoscan.errors import InputError
from duoscan.evaluation.figures import check_can_draw, render
from duoscan.evaluation.intervals import DEFAULT_RESAMPLES, Estimate, check_resamples
from duoscan.evaluation.modalities import Dose, benefits_and_drawbacks, compare_modalities
from duoscan.evaluation.operating import (
    FORMAT,
    VERSION,
    Choice,
    Offer,
    Setting,
    choose,
    group_json,
    is_paired,
    operating_table,
    scores_json,
)
from duoscan.evaluation.policies import FIGURES, PolicyFigures
from duoscan.evaluation.policy_figure import policy_figure
from duoscan.evaluation.thresholds import youden_threshold
from duoscan.files import write_bytes, write_text
from duoscan.inference.bundle import SUFFIX, Bundle, read_bundle
from duoscan.inference.predictor import predict_manifest
from duoscan.manifest.table import read_manifest
from duoscan.predictions import Prediction, read_predictions, write_predictions
from duoscan.terms import Modality, Split
from duoscan.triage.certify import Method, Models, Promise, Scope
from duoscan.triage.joint import PatientScores, patient_scores
from duoscan.triage.policy import Policy, policy_toml, read_policy
from duoscan.triage.rule import PolicyKind
from duoscan.triage.stored import store_policy

if TYPE_CHECKING:
    from collections.abc import Sequence

RUN_BUNDLE = "model.duoscan"
PIPED_WIDTH = 170  # characters, where no terminal says how wide it is
_FILE = click.Path(exists=True, path_type=Path)
_TABLE = click.Path(exists=True, dir_okay=False, path_type=Path)
_MADE_HERE = (
    "These patients are the validation part the models were trained with, which chose the training epoch and the "
    "operating points; that weakens every promise made on them. Certify on others with --calibration."
)
_CHOSEN_HERE = (
    "The CT threshold was chosen on the calibration patients themselves, which weakens a joint promise; give "
    "--ct-threshold."
)


@dataclass(frozen=True)
class _Phase:
    """One phase: its answers and, unless they came as a table, its bundle."""

    name: str
    rows: list[Prediction]
    bundle: Bundle | None

    @property
    def digest(self) -> str:
        return self.bundle.digest if self.bundle else ""

    @property
    def study_digest(self) -> str:
        return self.bundle.study_digest if self.bundle else ""


@click.command("triage")
@click.argument("xray", metavar="RUN_XRAY", type=_FILE)
@click.argument("ct", metavar="RUN_CT", type=_FILE)
@click.option("--manifest", type=_TABLE, help="Images to answer: its val part calibrates, its test part measures.")
@click.option("--calibration", type=_TABLE, help="Manifest of patients who calibrate instead of the val part.")
@click.option("--miss-rate", default=0.02, show_default=True, help="Largest share of the sick who may leave.")
@click.option("--confidence", default=0.95, show_default=True, help="Of the promise; exact method only.")
@click.option("--method", type=click.Choice(["exact", "split-conformal"]), default="exact", show_default=True)
@click.option(
    "--scope",
    type=click.Choice(["xray", "joint", "union"]),
    default="xray",
    show_default=True,
    help="Ways out that count as a miss: at X-ray; at either on paired patients; at either by the union bound.",
)
@click.option("--policy", help="Kind or policy file to choose; if left, the fewest CTs as right as CT-for-all.")
@click.option("--prevalence", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="Where it is to be used.")
@click.option("--xray-threshold", type=click.FloatRange(0, 1), help="Operating point of phase 1.")
@click.option("--ct-threshold", type=click.FloatRange(0, 1), help="Operating point of phase 2.")
@click.option("--dose-msv", nargs=2, type=click.FloatRange(0), help="Dose of one X-ray and of one CT, in mSv.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write to.")
@click.option("--resamples", default=DEFAULT_RESAMPLES, show_default=True, help="Bootstrap resamples of patients.")
@click.option("--seed", default=0, show_default=True, help="Of all chance.")
@click.option("--force", is_flag=True, help="Write into a folder that is not empty.")
def triage_command(
    xray: Path,
    ct: Path,
    *,
    manifest: Path | None,
    calibration: Path | None,
    miss_rate: float,
    confidence: float,
    method: str,
    scope: str,
    policy: str | None,
    prevalence: float | None,
    xray_threshold: float | None,
    ct_threshold: float | None,
    dose_msv: tuple[float, float] | None,
    out: Path,
    resamples: int,
    seed: int,
    force: bool,
) -> None:
    """Compare all policies, certify a threshold, choose a policy and store it.

    RUN_XRAY and RUN_CT are run folders or bundles, which answer the images of --manifest, or predictions tables whose
    column split says val for calibration patients and test for the others.

    \b
    Writes into --out: policy.toml, triage.json, the answers as cxr-predictions.csv and ct-predictions.csv (give them
    for RUN_XRAY and RUN_CT to try other wishes at once), the figure policies.svg, and copies of the bundles
    that carry the policy.
    """
    check_resamples(resamples)
    check_can_draw()
    promise = Promise(miss_rate, round(1.0 - confidence, 12), cast("Method", method), cast("Scope", scope))
    kind, given = _wanted(policy)
    _check_out(out, force=force)
    phases = _phase(xray, Modality.CXR, manifest, calibration), _phase(ct, Modality.CT, manifest, calibration)
    calibrating, test = (_patients(phases, part) for part in (Split.VAL, Split.TEST))
    notes = [] if calibration or not any(phase.bundle for phase in phases) else [_MADE_HERE]
    if promise.scope == "joint" and ct_threshold is None and phases[1].bundle is None:
        notes.append(_CHOSEN_HERE)
    setting = Setting(
        _operating_point(phases[0], calibrating, xray_threshold),
        _operating_point(phases[1], calibrating, ct_threshold),
        replace(promise, caveat=" ".join(notes)),
        Models(phases[0].study_digest, phases[1].study_digest),
        prevalence,
        resamples,
        seed,
    )
    offers = operating_table(calibrating, test, setting, given)
    choice = choose(offers, kind, given)
    document = _document(offers, choice, setting, (calibrating, test), phases, notes)
    document["comparison"] = _comparison(test, setting, offers, Dose(*dose_msv) if dose_msv else None)
    document["calibration"]["origin"] = f"all of {calibration.name}" if calibration else "val rows"
    _write(out, document, choice, phases)
    _draw(out, offers, choice)
    _show(offers, choice, document)
    click.echo(f"Written to {out}: duoscan screen --policy {out / 'policy.toml'} obeys it")


def _wanted(policy: str | None) -> tuple[PolicyKind | None, Policy | None]:
    """A kind by name, or a policy file."""
    if policy is None:
        return None, None
    if policy in set(PolicyKind):
        return PolicyKind(policy), None
    path = Path(policy)
    if not path.is_file():
        raise InputError(f"policy '{policy}': no such file and no such kind; kinds are {', '.join(PolicyKind)}")
    return None, read_policy(path)


def _check_out(out: Path, *, force: bool) -> None:
    if not force and out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out}: the folder is not empty; give another one or write over it with --force")


def _phase(target: Path, modality: Modality, manifest: Path | None, calibration: Path | None) -> _Phase:
    if not target.is_dir() and target.suffix != SUFFIX:
        if calibration:
            raise InputError("--calibration goes with runs and bundles; in a table, call calibration rows 'val'")
        rows = [replace(row, modality=row.modality or modality) for row in read_predictions(target)]
        return _Phase(target.name, [row for row in rows if row.modality is modality], None)
    if manifest is None:
        raise InputError(f"{target} is a model; name the images it shall answer with --manifest")
    bundle = read_bundle(target / RUN_BUNDLE if target.is_dir() else target)
    if bundle.info.modality is not modality:
        raise InputError(f"{target} answers {bundle.info.modality.spoken}; here a {modality.spoken} model is needed")
    tables = {
        Split.VAL: read_manifest(calibration) if calibration else read_manifest(manifest).where(split=Split.VAL),
        Split.TEST: read_manifest(manifest).where(split=Split.TEST),
    }
    rows = []
    for counts_as, everything in tables.items():
        table = everything.where(modality=modality)
        with click.progressbar(length=len(table), label=f"{modality.spoken}, {counts_as}", file=sys.stderr) as bar:
            answered = predict_manifest(bundle, table, on_image=lambda: bar.update(1))
        rows += [replace(row, split=counts_as) for row in answered]
    return _Phase(bundle.info.name, rows, bundle)


def _patients(phases: Sequence[_Phase], part: Split) -> PatientScores:
    rows = [row for phase in phases for row in phase.rows if row.split is part]
    if not rows:
        called = "calibration" if part is Split.VAL else "test"
        raise InputError(f"no {called} rows: none has the split '{part}'; state it in the column split")
    return patient_scores(rows)


def _operating_point(phase: _Phase, patients: PatientScores, given: float | None) -> float:
    """As given, else the bundle's for studies, else Youden's on the calibration patients."""
    if given is not None:
        return given
    if phase.bundle:
        return phase.bundle.info.study_threshold
    modality = phase.rows[0].modality
    scores = patients.xray if modality is Modality.CXR else patients.ct
    known = ~np.isnan(scores)
    return youden_threshold(patients.sick[known], scores[known])


def _document(
    offers: Sequence[Offer],
    choice: Choice,
    setting: Setting,
    groups: tuple[PatientScores, PatientScores],
    phases: tuple[_Phase, _Phase],
    notes: list[str],
) -> dict[str, Any]:
    calibrating, test = groups
    points = setting.xray_threshold, setting.ct_threshold
    promise = {name: value for name, value in vars(setting.promise).items() if name != "caveat"}
    if not is_paired(test):
        notes = [*notes, "X-ray and CT come from different patients: joint figures are bounds, not measurements."]
    return {
        "format": FORMAT,
        "version": VERSION,
        "prevalence": offers[0].test.prevalence,
        "prevalence_origin": "test patients" if setting.prevalence is None else "given",
        "promise": promise,
        "models": {
            key: {"name": phase.name, "graph_sha256": phase.digest, "threshold": point}
            for key, phase, point in zip(("xray", "ct"), phases, points, strict=True)
        },
        "calibration": group_json(calibrating) | {"fingerprint": calibrating.fingerprint()},
        "test": group_json(test),
        "policies": [offer.to_json() for offer in offers],
        "chosen": {"kind": choice.offer.policy.kind.value, "name": choice.offer.policy.name, "why": choice.why},
        "scores": {"calibration": scores_json(calibrating), "test": scores_json(test)},
        "notes": notes,
    }


def _comparison(test: PatientScores, setting: Setting, offers: Sequence[Offer], dose: Dose | None) -> dict[str, Any]:
    comparison = compare_modalities(
        test, setting.xray_threshold, setting.ct_threshold, resamples=setting.resamples, seed=setting.seed
    )
    measured = [offer.test for offer in offers if isinstance(offer.test, PolicyFigures)]
    return comparison.to_json() | {"benefits": benefits_and_drawbacks(comparison, measured, dose)}


def _write(out: Path, document: dict[str, Any], choice: Choice, phases: tuple[_Phase, _Phase]) -> None:
    policy = choice.offer.policy
    write_text(out / "policy.toml", policy_toml(policy))
    for key, phase in zip(Modality, phases, strict=True):
        write_predictions(phase.rows, out / f"{key}-predictions.csv")
        if phase.bundle:
            store_policy(phase.bundle, policy, out / f"{key}{SUFFIX}")
    write_text(out / "triage.json", json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _draw(out: Path, offers: Sequence[Offer], choice: Choice) -> None:
    """``policies.svg`` and ``.png``, where patients are paired."""
    measured = [offer.test for offer in offers if isinstance(offer.test, PolicyFigures)]
    if measured:
        chosen = choice.offer.test if isinstance(choice.offer.test, PolicyFigures) else None
        for name, content in render({"policies": policy_figure(measured, chosen)}).items():
            write_bytes(out / name, content)


def _show(offers: Sequence[Offer], choice: Choice, document: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    group, at = document["test"], document["prevalence"]
    table = Table(
        "policy",
        *FIGURES.values(),
        title=f"On {group['patients']} test patients, {group['sick']} sick, at prevalence {at:.3f}",
        title_justify="left",
    )
    for offer in offers:
        chosen = " ← chosen" if offer is choice.offer else ""
        table.add_row(f"{offer.policy.name}{chosen}", *(_cell(offer, name) for name in FIGURES))
    console = Console()
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    with console.capture() as capture:
        console.print(table)
    click.echo(capture.get(), nl=False)
    click.echo(f"Chosen: {choice.offer.policy.name}; {choice.why}")
    if choice.offer.policy.certificate:
        click.echo(f"Promise: {choice.offer.policy.certificate.promise}")
    for refusal in dict.fromkeys(offer.refusal for offer in offers if offer.refusal):
        click.echo(f"Not certified: {refusal}")
    for note in document["notes"]:
        click.echo(f"Note: {note}")


def _cell(offer: Offer, name: str) -> str:
    """``value [low, high]``, or the range the margins allow with the intervals of its ends."""
    digits = 1 if name in {"missed_per_1000", "cts_avoided_per_100"} else 3
    if isinstance(offer.test, PolicyFigures):
        return _interval(offer.test.figures[name], digits)
    low, high = offer.test.low[name], offer.test.high[name]
    ends = f"{low.value:.{digits}f}", f"{high.value:.{digits}f}"
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def _interval(estimate: Estimate, digits: int) -> str:
    if np.isnan(estimate.value):
        return "–"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.{digits}f}"
    return f"{estimate.value:.{digits}f} \\[{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"
