"""``duoscan triage``."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from duoscan.audit.storage import read_audit
from duoscan.errors import InputError
from duoscan.evaluation.figures import render
from duoscan.evaluation.intervals import DEFAULT_RESAMPLES, check_resamples
from duoscan.evaluation.policies.abstention import DEFAULT_SET_ERROR
from duoscan.evaluation.policies.choice import Choice, choose
from duoscan.evaluation.policies.document import FILE_NAME, Extras, Ground, abstentions, document_text, triage_document
from duoscan.evaluation.policies.figure import policy_figure
from duoscan.evaluation.policies.measured import PolicyFigures
from duoscan.evaluation.policies.modalities import Dose
from duoscan.evaluation.policies.operating import DEFAULT_MARGIN, Offer, Setting, operating_table
from duoscan.evidence.phases import (
    judged,
    operating_point,
    phase_patients,
    read_phase,
    sources_of,
)
from duoscan.files import write_bytes, write_text
from duoscan.inference.bundle import SUFFIX
from duoscan.interfaces.cli.ledger_options import book_beside, command_line, ledger_options
from duoscan.interfaces.cli.pages import check_can_write_pages
from duoscan.interfaces.cli.paths import OUT_FOLDER
from duoscan.interfaces.cli.progress import stages
from duoscan.interfaces.cli.table_options import TableWords, show_read, table_options
from duoscan.interfaces.cli.tables import echo
from duoscan.interfaces.cli.triage_shown import show_triage
from duoscan.policies.assumptions import read_assumptions
from duoscan.policies.certify import Method, Models, Promise, Wish
from duoscan.policies.policy import PolicyDraft, policy_toml, read_policy
from duoscan.policies.rule import PolicyKind
from duoscan.policies.scores import several_studies
from duoscan.policies.stored import store_policy
from duoscan.predictions import write_predictions
from duoscan.rows import csv_text
from duoscan.terms import Modality

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from duoscan.evaluation.policies.abstention import Abstention
    from duoscan.evidence.subject import Ask, Subject

_FILE = click.Path(exists=True, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_TABLE = click.Path(exists=True, dir_okay=False, path_type=Path)
DEFAULT_MISS_RATE = 0.02
_MADE_HERE = (
    "These patients are the validation part the models were trained with, which chose the training epoch and the "
    "operating points; that weakens every promise made on them. Certify on others with --calibration."
)


@click.command("triage")
@click.argument("xray", metavar="RUN_XRAY", type=_FILE)
@click.argument("ct", metavar="RUN_CT", type=_FILE)
@click.option("--manifest", type=_TABLE, help="Images to answer: its val part calibrates, its test part measures.")
@click.option("--calibration", type=_TABLE, help="Manifest of patients who calibrate instead of the val part.")
@click.option(
    "--miss-rate",
    type=float,
    help=f"Largest share of the sick who may leave; if given, only policies certified to keep it are chosen. "
    f"[default: {DEFAULT_MISS_RATE}]",
)
@click.option("--confidence", default=0.95, show_default=True, help="Of the promise; exact method only.")
@click.option("--method", type=click.Choice(["exact", "split-conformal"]), default="exact", show_default=True)
@click.option(
    "--scope",
    type=click.Choice(["auto", "xray", "joint", "union"]),
    default="auto",
    show_default=True,
    help="Ways out that count as a miss: at X-ray; at either on paired patients; at either by the union bound. "
    "auto: at either where the sick are enough for that.",
)
@click.option("--policy", help="Kind or policy file to choose; if left, the fewest CTs shown to keep --margin.")
@click.option(
    "--margin",
    default=DEFAULT_MARGIN,
    show_default=True,
    help="Of sensitivity and of specificity, what a policy may lose against CT for all and still be chosen.",
)
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
@click.option("--out", type=OUT_FOLDER, required=True, help="Folder to write to.")
@click.option("--resamples", default=DEFAULT_RESAMPLES, show_default=True, help="Bootstrap resamples of patients.")
@click.option("--seed", default=0, show_default=True, help="Of all chance.")
@ledger_options
@table_options
@click.option("--force", is_flag=True, help="Write into a folder that is not empty.")
def triage_command(
    xray: Path,
    ct: Path,
    *,
    manifest: Path | None,
    calibration: Path | None,
    miss_rate: float | None,
    confidence: float,
    method: str,
    scope: str,
    policy: str | None,
    margin: float,
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
    ledger: Path | None,
    new_test_set: bool,
    words: TableWords,
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
    alpha = DEFAULT_MISS_RATE if miss_rate is None else miss_rate
    promise = Promise(alpha, round(1.0 - confidence, 12), cast("Method", method), cast("Wish", scope))
    kind, given = _wanted(policy)
    _check_out(out, force=force)
    book_at = partial(book_beside, ledger=ledger, replaces=new_test_set)
    phases = _read_phases((xray, ct), words.ask(book_at=book_at), manifest, calibration)
    calibrating, test = phase_patients(phases, share_names=calibration is None)
    caveat = "" if calibration or not any(phase.bundle for phase in phases) else _MADE_HERE
    setting = Setting(
        operating_point(phases[0], calibrating, xray_threshold),
        operating_point(phases[1], calibrating, ct_threshold),
        # A bundle's own point was chosen on the validation part it was trained with.
        replace(promise, ct_chosen_here=ct_threshold is None and calibration is None, caveat=caveat),
        Models(phases[0].study_digest, phases[1].study_digest),
        prevalence,
        resamples,
        seed,
        margin,
        miss_rate is not None,
    )
    points = setting.xray_threshold, setting.ct_threshold
    models = {
        key: {"name": phase.called, "graph_sha256": phase.digest, "threshold": point}
        for key, phase, point in zip(("xray", "ct"), phases, points, strict=True)
    }
    origin = f"all of {calibration.name}" if calibration else "val rows"
    ground = Ground(calibrating, test, sources_of(phases), models, origin, _notes(caveat, phases), command_line())
    extras = Extras(stated, Dose(*dose_msv) if dose_msv else None, set_error)
    offers = operating_table(calibrating, test, setting, given)
    choice = choose(offers, calibrating, setting, kind, given)
    abstaining = abstentions(ground, setting, extras)
    document = triage_document(offers, choice, setting, ground, extras, abstaining)
    audited = [read_audit(folder) for folder in audits]
    xray_phase, ct_phase = (judged(*each, audited, setting) for each in zip(phases, points, strict=True))
    document["verdicts"] = {"xray": xray_phase[1], "ct": ct_phase[1]}
    _write(out, document, choice, phases, abstaining)
    _draw(out, offers, choice, document["test"]["units"])
    show_triage(offers, choice, document)
    for modality, (phase, _) in zip(Modality, (xray_phase, ct_phase), strict=True):
        if phase.count is not None:
            echo(f"{modality.spoken}: {phase.count.spoken}")
    echo(f"Written to {out}: read report.html; duoscan screen --policy {out / 'policy.toml'} obeys the policy")


def _read_phases(
    targets: tuple[Path, Path], ask: Ask, manifest: Path | None, calibration: Path | None
) -> tuple[Subject, Subject]:
    with stages() as (on_stage, on_image):
        xray, ct = (
            read_phase(target, replace(ask, modality=kind, on_stage=on_stage, on_image=on_image), manifest, calibration)
            for target, kind in zip(targets, Modality, strict=True)
        )
    show_read((xray, ct))
    return xray, ct


def _notes(caveat: str, phases: Sequence[Subject]) -> tuple[str, ...]:
    """What a reader must know beside the numbers."""
    said = [
        f"{count} patients have several studies of {modality.spoken}: the first listed of each counts, since that is "
        "what triage has before it decides; list them by date."
        for modality, phase in zip(Modality, phases, strict=True)
        if (count := several_studies(phase.rows, modality))
    ]
    return tuple(filter(None, [caveat, *said]))


def _wanted(policy: str | None) -> tuple[PolicyKind | None, PolicyDraft | None]:
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


def _write(
    out: Path,
    document: dict[str, Any],
    choice: Choice,
    phases: tuple[Subject, Subject],
    abstaining: Mapping[str, Abstention],
) -> None:
    from duoscan.report.triage_page import build_triage_page

    policy = choice.offer.policy
    write_text(out / "policy.toml", policy_toml(policy), private=False)
    for key, phase in zip(Modality, phases, strict=True):
        write_predictions(phase.rows, out / f"{key}-predictions.csv")
        if phase.bundle:
            store_policy(phase.bundle, policy, out / f"{key}{SUFFIX}")
    write_text(out / "referred.csv", _referred_csv(abstaining, sources_of(phases)))
    write_text(out / FILE_NAME, document_text(document))
    write_text(out / "report.html", build_triage_page(document))


def _referred_csv(abstaining: Mapping[str, Abstention], sources: Mapping[str, str]) -> str:
    """One row a test patient and phase that a person should answer."""
    rows = (
        (name, phase, kind, f"{probability:.6f}", sources.get(name, ""))
        for phase, each in abstaining.items()
        for name, probability, kind in each.referred()
    )
    return csv_text(("patient_id", "phase", "set", "probability", "source"), rows)


def _draw(out: Path, offers: Sequence[Offer], choice: Choice, units: str) -> None:
    """``policies.svg`` and ``.png``, where patients are paired."""
    measured = [offer.test for offer in offers if isinstance(offer.test, PolicyFigures)]
    if measured:
        chosen = choice.offer.test if isinstance(choice.offer.test, PolicyFigures) else None
        for name, content in render({"policies": policy_figure(measured, chosen, units)}).items():
            write_bytes(out / name, content)
