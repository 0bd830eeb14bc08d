"""``duoscan triage``."""

from __future__ import annotations

import csv
import io
import json
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
import numpy as np

from duoscan.audit.storage import read_audit
from duoscan.errors import InputError
from duoscan.evaluation.abstention import DEFAULT_SET_ERROR
from duoscan.evaluation.evaluate import evaluate
from duoscan.evaluation.figures import render
from duoscan.evaluation.intervals import DEFAULT_RESAMPLES, check_resamples
from duoscan.evaluation.modalities import Dose
from duoscan.evaluation.operating import Choice, Offer, Setting, choose, operating_table
from duoscan.evaluation.policies import PolicyFigures
from duoscan.evaluation.policy_figure import policy_figure
from duoscan.evaluation.thresholds import youden_threshold
from duoscan.evaluation.triage_document import FILE_NAME, Extras, Ground, abstentions, triage_document
from duoscan.files import write_bytes, write_text
from duoscan.inference.bundle import SUFFIX, Bundle, read_bundle
from duoscan.inference.predictor import predict_manifest
from duoscan.interfaces.cli.report import check_can_write_pages
from duoscan.interfaces.cli.triage_shown import show_triage
from duoscan.manifest.table import read_manifest
from duoscan.predictions import Prediction, read_predictions, write_predictions
from duoscan.terms import Modality, Split
from duoscan.triage.assumptions import read_assumptions
from duoscan.triage.certify import Method, Models, Promise, Scope
from duoscan.triage.joint import PatientScores, patient_scores
from duoscan.triage.policy import Policy, policy_toml, read_policy
from duoscan.triage.rule import PolicyKind
from duoscan.triage.stored import store_policy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from duoscan.audit.storage import Audited
    from duoscan.evaluation.abstention import Abstention

RUN_BUNDLE = "model.duoscan"
_FILE = click.Path(exists=True, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
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
    modality: Modality
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
@click.option("--ct-harm", type=click.FloatRange(0, 1, max_open=True), help="Harm of a CT, in true positives.")
@click.option("--assumptions", type=_TABLE, help="TOML file of your costs and department; none are assumed.")
@click.option(
    "--set-error",
    default=DEFAULT_SET_ERROR,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Largest share of each class whose prediction set lacks it.",
)
@click.option("--audit", "audits", multiple=True, type=_FOLDER, help="Folder of 'duoscan audit', once a modality.")
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
    ct_harm: float | None,
    assumptions: Path | None,
    set_error: float,
    audits: tuple[Path, ...],
    out: Path,
    resamples: int,
    seed: int,
    force: bool,
) -> None:
    """Compare all policies, certify a threshold, choose a policy and store it.

    RUN_XRAY and RUN_CT are run folders or bundles, which answer the images of --manifest, or predictions tables whose
    column split says val for calibration patients and test for the others.

    \b
    Writes into --out: report.html (all of it, with sliders), policy.toml, triage.json, the answers as
    cxr-predictions.csv and ct-predictions.csv (give them for RUN_XRAY and RUN_CT to try other wishes at once),
    referred.csv (patients for a person to answer), the figure policies.svg, and copies of the bundles that carry
    the policy.
    """
    check_resamples(resamples)
    check_can_write_pages("duoscan triage")
    stated = read_assumptions(assumptions, ct_harm)
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
    points = setting.xray_threshold, setting.ct_threshold
    models = {
        key: {"name": phase.name, "graph_sha256": phase.digest, "threshold": point}
        for key, phase, point in zip(("xray", "ct"), phases, points, strict=True)
    }
    origin = f"all of {calibration.name}" if calibration else "val rows"
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    ground = Ground(calibrating, test, _sources(phases), models, origin, tuple(notes), command)
    extras = Extras(stated, Dose(*dose_msv) if dose_msv else None, set_error)
    offers = operating_table(calibrating, test, setting, given)
    choice = choose(offers, kind, given)
    abstaining = abstentions(ground, setting, extras)
    document = triage_document(offers, choice, setting, ground, extras, abstaining)
    audited = [read_audit(folder) for folder in audits]
    document["verdicts"] = {
        key: _judged(phase, point, audited, setting)
        for key, phase, point in zip(("xray", "ct"), phases, points, strict=True)
    }
    _write(out, document, choice, phases, abstaining)
    _draw(out, offers, choice)
    show_triage(offers, choice, document)
    click.echo(f"Written to {out}: read report.html; duoscan screen --policy {out / 'policy.toml'} obeys the policy")


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
        return _Phase(target.name, modality, [row for row in rows if row.modality is modality], None)
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
    return _Phase(bundle.info.name, modality, rows, bundle)


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
    scores = patients.xray if phase.modality is Modality.CXR else patients.ct
    known = ~np.isnan(scores)
    return youden_threshold(patients.sick[known], scores[known])


def _sources(phases: Sequence[_Phase]) -> dict[str, str]:
    """Where each patient's images come from."""
    found: dict[str, set[str]] = {}
    for row in (row for phase in phases for row in phase.rows):
        if row.source:
            found.setdefault(row.unit, set()).add(row.source)
    return {name: " and ".join(sorted(sources)) for name, sources in found.items()}


def _judged(phase: _Phase, threshold: float, audits: Sequence[Audited], setting: Setting) -> dict[str, Any]:
    """The gate's verdict on the phase's own numbers on the test images."""
    from duoscan.report.subject import Making, Part, Subject
    from duoscan.report.verdicts import judge_subject

    rows = tuple(row for row in phase.rows if row.split is Split.TEST)
    origin = "bundle" if phase.bundle else "given"
    making = Making((Part(phase.name, phase.bundle.info, ()),), "", {}, "") if phase.bundle else None
    subject = Subject(
        name=phase.name,
        modality=phase.modality,
        predictions=rows,
        files=(None,) * len(rows),
        split=Split.TEST,
        threshold=threshold,
        threshold_origin=origin,
        command="",
        fingerprint=phase.digest,
        making=making,
    )
    evaluation = evaluate(
        rows, threshold=threshold, threshold_origin=origin, resamples=setting.resamples, seed=setting.seed
    )
    return judge_subject(subject, evaluation, audits).verdict.to_json()


def _write(
    out: Path,
    document: dict[str, Any],
    choice: Choice,
    phases: tuple[_Phase, _Phase],
    abstaining: Mapping[str, Abstention],
) -> None:
    from duoscan.report.triage_page import build_triage_page

    policy = choice.offer.policy
    write_text(out / "policy.toml", policy_toml(policy))
    for key, phase in zip(Modality, phases, strict=True):
        write_predictions(phase.rows, out / f"{key}-predictions.csv")
        if phase.bundle:
            store_policy(phase.bundle, policy, out / f"{key}{SUFFIX}")
    write_text(out / "referred.csv", _referred_csv(abstaining, _sources(phases)))
    write_text(out / FILE_NAME, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_text(out / "report.html", build_triage_page(document))


def _referred_csv(abstaining: Mapping[str, Abstention], sources: Mapping[str, str]) -> str:
    """One row a test patient and phase that a person should answer."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["patient_id", "phase", "set", "probability", "source"])
    for phase, each in abstaining.items():
        for name, probability, kind in each.referred():
            writer.writerow([name, phase, kind, f"{probability:.6f}", sources.get(name, "")])
    return buffer.getvalue()


def _draw(out: Path, offers: Sequence[Offer], choice: Choice) -> None:
    """``policies.svg`` and ``.png``, where patients are paired."""
    measured = [offer.test for offer in offers if isinstance(offer.test, PolicyFigures)]
    if measured:
        chosen = choice.offer.test if isinstance(choice.offer.test, PolicyFigures) else None
        for name, content in render({"policies": policy_figure(measured, chosen)}).items():
            write_bytes(out / name, content)
