"""``duoscan screen`` and ``duoscan predict``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from duoscan.archives.credentials import read_access
from duoscan.archives.opening import open_archive
from duoscan.cases.find import Found, collect, from_manifest, read_need_ct
from duoscan.cases.identify import identify
from duoscan.cases.outputs import COLUMNS, answer_cells
from duoscan.cases.patients import remarks_on, settle_patients
from duoscan.cases.screening import OnImage, Screener
from duoscan.cases.stopping import ScreeningStopped
from duoscan.cases.stored import write_maps
from duoscan.errors import InputError
from duoscan.inference.predictor import Predictor
from duoscan.inference.shipped import load_bundle
from duoscan.interfaces.cli.answers import (
    Problems,
    exit_code,
    show_answers,
    show_beside,
    show_remarks,
    show_unfinished,
    write_answers,
    write_dicom,
)
from duoscan.interfaces.cli.archive_options import access_options
from duoscan.interfaces.cli.ledger_options import book_beside, ledger_options
from duoscan.interfaces.cli.pages import check_can_write_pages, write_page
from duoscan.interfaces.cli.part_file import PartFile
from duoscan.interfaces.cli.paths import OUT_FILE, OUT_FOLDER
from duoscan.interfaces.cli.patient_options import patient_options, patient_rules
from duoscan.interfaces.cli.progress import stages
from duoscan.interfaces.cli.storing import store_files
from duoscan.interfaces.cli.tables import STOPPED, echo, table_console
from duoscan.manifest.patient_rules import NO_RULES
from duoscan.policies.policy import named_policy
from duoscan.policies.rule import Answer
from duoscan.predictions import PART_COLUMNS, Prediction, prediction_cells, write_predictions
from duoscan.results.overlays import HeatmapWriter
from duoscan.results.sources import ActivationKeeper
from duoscan.results.write import DEFAULT_OBJECTS, check_can_write, parse_objects
from duoscan.terms import NOTICE, Finding, Modality, Split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.audit.ledger import Book, Look
    from duoscan.cases.case import Screening
    from duoscan.imaging.contract import PreprocessingContract
    from duoscan.inference.predictor import ImageFile
    from duoscan.manifest.patient_rules import PatientRules
    from duoscan.manifest.records import Manifest

_FILE = click.Path(dir_okay=False, path_type=Path)
_EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)

Option = Callable[[Callable[..., Any]], Callable[..., Any]]


def _shared_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that both commands take."""
    options: list[Option] = [
        click.argument("paths", nargs=-1, type=click.Path(path_type=Path)),
        patient_options,
        click.option("--csv", "csv_out", type=OUT_FILE, help="Write the answers as CSV."),
        click.option("--heatmaps", type=OUT_FOLDER, help="Write overlays here."),
        click.option("--quiet", is_flag=True, help="No table on the screen."),
        click.option(
            "--no-quality-check",
            is_flag=True,
            help="Answer whatever can be read, also what is no chest, rotated, inverted, blurred, …",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command("screen")
@_shared_options
@click.option("--manifest", type=_EXISTING, help="Screen a manifest's images; with labels, tell how it went.")
@click.option("--split", type=click.Choice([part.value for part in Split]), help="Only this part of the manifest.")
@click.option("--need-ct", type=_EXISTING, help="CSV with patient_id, need_ct: the clinician's answer.")
@click.option("--need-ct-all", is_flag=True, help="The clinician asks for CT for every patient.")
@click.option(
    "--modality",
    type=click.Choice([kind.value for kind in Modality]),
    help="What raster files are; told from content if left.",
)
@click.option("--xray-bundle", type=_FILE, help="Phase 1 model, or hf:owner/name@commit; the shipped one if left out.")
@click.option("--ct-bundle", type=_FILE, help="Phase 2 model, likewise.")
@click.option("--xray-threshold", type=click.FloatRange(0, 1), help="Operating point of phase 1.")
@click.option("--ct-threshold", type=click.FloatRange(0, 1), help="Operating point of phase 2.")
@click.option("--policy", help="Policy file or kind to obey; the bundles' own, else confirm-positives.")
@click.option("--studies-csv", "studies_out", type=OUT_FILE, help="Write one row for each study as CSV.")
@click.option("--json", "json_out", type=OUT_FILE, help="Write everything, image by image, as JSON.")
@click.option(
    "--html", "html_out", type=OUT_FILE, help="Write a page, the most urgent first; with --heatmaps, these too."
)
@click.option("--maps", "maps_out", type=OUT_FILE, help="Write the activation maps of all answered images (.npz).")
@click.option(
    "--dicom-out",
    type=OUT_FOLDER,
    help="Write structured report, heatmaps, JSON and FHIR resource of each DICOM study here.",
)
@click.option(
    "--dicom-objects",
    default=",".join(sorted(DEFAULT_OBJECTS, reverse=True)),
    show_default=True,
    help="Which DICOM objects: sr, heatmap, seg and pmap (CT), gsps (X-ray).",
)
@click.option("--send", metavar="ARCHIVE", help="Store it there too: TITLE@HOST:PORT, or a DICOMweb address.")
@ledger_options
@access_options
def screen_command(
    paths: tuple[Path, ...],
    *,
    patients: Path | None,
    patient_pattern: str | None,
    patient_by: str,
    csv_out: Path | None,
    heatmaps: Path | None,
    quiet: bool,
    no_quality_check: bool,
    manifest: Path | None,
    split: str | None,
    need_ct: Path | None,
    need_ct_all: bool,
    modality: str | None,
    xray_bundle: Path | None,
    ct_bundle: Path | None,
    xray_threshold: float | None,
    ct_threshold: float | None,
    policy: str | None,
    studies_out: Path | None,
    json_out: Path | None,
    html_out: Path | None,
    maps_out: Path | None,
    dicom_out: Path | None,
    dicom_objects: str,
    send: str | None,
    ledger: Path | None,
    new_test_set: bool,
    auth_file: Path | None,
    ca_file: Path | None,
    certificate: Path | None,
    certificate_key: Path | None,
) -> None:
    """Screen X-ray and CT images, mixed as they come in files, folders, zips and DICOMDIRs: one answer per patient.

    What a manifest's labelled test rows say of the answers is a use of that test set and counted as one.

    \b
    Exit code: 0 every image was answered, set aside or not needed; 1 some could not be read, a patient has no
    answer, or a row of --patients or --need-ct matches nobody, see the reasons; 2 the command itself was wrong, or
    --send failed once all else was written; 130 stopped by Ctrl-C, and only finished patients have an answer.
    """
    _check_wishes(manifest, dicom_out, html_out, send)
    objects = parse_objects(dicom_objects)
    archive = open_archive(send, read_access(send, auth_file, ca_file, certificate, certificate_key)) if send else None
    screener = Screener(
        xray_bundle,
        ct_bundle,
        xray_threshold=xray_threshold,
        ct_threshold=ct_threshold,
        policy=named_policy(policy) if policy else None,
        check_quality=not no_quality_check,
        keep_pixels=heatmaps is not None,
    )
    found, labels, tested = _found(paths, patient_rules(patients, patient_pattern, patient_by), manifest, split)
    looks = _looks(tested, screener, book_beside(manifest, ledger, replaces=new_test_set)) if manifest else {}
    thresholds = {Modality.CXR: screener.policy.xray_threshold, Modality.CT: screener.policy.ct_threshold}
    pictures, maps = HeatmapWriter(heatmaps, thresholds), ActivationKeeper()

    def on_image(file: ImageFile, contract: PreprocessingContract) -> None:
        pictures.add(file, contract)
        maps.add(file, contract)

    screening = _screened(
        screener,
        found,
        (csv_out, studies_out, json_out),
        on_image,
        quiet=quiet,
        need_ct=need_ct_all or (read_need_ct(need_ct) if need_ct else ()),
        modality=Modality(modality) if modality else None,
    )
    if maps_out:
        write_maps(maps.maps, maps_out)
    if html_out:
        write_page(screening, html_out, pictures.written)
    written, problems = [], Problems()
    if dicom_out is not None:
        places = {one.name: one.path for one in found}
        written = write_dicom(screening, places, maps.maps, dicom_out, objects=objects, problems=problems, quiet=quiet)
    if not quiet:
        show_answers(screening)
    show_beside(screening)
    show_unfinished(screening)
    if labels and not screening.unfinished:
        _show_outcome(screening, labels, [f"{kind.spoken}: {look.count().spoken}" for kind, look in looks.items()])
    if archive is not None and written:
        store_files(archive, written, send or "", quiet=quiet)  # last, so that a failure takes no answer away
    sys.exit(exit_code(screening, problems))


def _check_wishes(manifest: Path | None, dicom_out: Path | None, html_out: Path | None, send: str | None) -> None:
    """Refuse before anything is read what cannot be written."""
    if dicom_out is not None:
        if manifest is not None:
            raise InputError("--dicom-out goes with files and folders, not with --manifest: name the DICOM folder")
        check_can_write()
    elif send:
        raise InputError("--send needs --dicom-out: name the folder to write the results to first")
    if html_out is not None:
        check_can_write_pages("duoscan screen --html", "jinja2")


@click.command("predict")
@_shared_options
@click.option("--modality", type=click.Choice([kind.value for kind in Modality]), required=True)
@click.option("--bundle", type=_FILE, help="The model; the shipped one if left out.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Operating point; the bundle's if left out.")
def predict_command(
    paths: tuple[Path, ...],
    *,
    patients: Path | None,
    patient_pattern: str | None,
    patient_by: str,
    csv_out: Path | None,
    heatmaps: Path | None,
    quiet: bool,
    no_quality_check: bool,
    modality: str,
    bundle: Path | None,
    threshold: float | None,
) -> None:
    """Answer images of one modality, without the two-phase flow: one row per image.

    Images are decided at the operating point for single images. That for studies, which screen uses also for a study of
    one image, may be another; both are told.

    \b
    Exit code: 0 every image was answered; 1 some could not be, or a row of --patients matches nobody; 2 the command
    itself was wrong; 130 stopped by Ctrl-C, and the images answered before have their rows.
    """
    kind = Modality(modality)
    predictor = Predictor(load_bundle(bundle, kind), threshold=threshold, check_quality=not no_quality_check)
    found, _, _ = _found(paths, patient_rules(patients, patient_pattern, patient_by), None, None)
    images, _ = settle_patients([one for image in found for one in identify(image, kind)])
    rows = []
    writer = HeatmapWriter(heatmaps, {kind: predictor.threshold})
    is_stopped = False
    with PartFile(csv_out, PART_COLUMNS) as part:
        with stages(quiet=quiet) as (on_stage, on_tick):
            on_stage("Answering images", len(images))
            try:
                for file in predictor.predict((one.file for one in images), keep_pixels=heatmaps is not None):
                    writer.add(file, predictor.bundle.info.contract)
                    rows.append(file.row)
                    part.add(prediction_cells(file.row))
                    on_tick()
            except KeyboardInterrupt:
                is_stopped = True
        if csv_out:
            write_predictions(rows, csv_out)
    if not quiet:
        _show_rows(rows)
        _show_points(predictor, rows, is_asked=threshold is not None)
    show_beside(found)
    show_remarks(remarks_on(images))
    if is_stopped:
        echo(f"duoscan: stopped; {len(rows)} images have their row", err=True)
        sys.exit(STOPPED)
    sys.exit(1 if found.unmatched or any(row.probability is None for row in rows) else 0)


def _found(
    paths: tuple[Path, ...], rules: PatientRules, manifest: Path | None, split: str | None
) -> tuple[Found, dict[str, Finding], Manifest | None]:
    """The images to answer, the reference labels of their patients, and the test rows that the labels measure."""
    if manifest is None:
        if not paths:
            raise InputError("nothing to screen: name files or folders, or a table with --manifest")
        # Unpacked zips stay until the command ends: results are made from the same files.
        scratch = click.get_current_context().with_resource(TemporaryDirectory())
        return collect(paths, rules, Path(scratch)), {}, None
    if paths:
        raise InputError("name files and folders, or a table with --manifest, not both")
    if rules != NO_RULES:
        raise InputError("a manifest states its patients; say at its import whose the images are")
    from duoscan.manifest.table import read_manifest

    table = read_manifest(manifest)
    if split:
        table = table.where(split=Split(split))
    labels = {record.patient_id: record.label for record in table if record.patient_id and record.label}
    return from_manifest(table), labels, table.where(split=Split.TEST) if labels else None


def _screened(
    screener: Screener, found: Found, outs: Sequence[Path | None], keep: OnImage, *, quiet: bool, **how: Any
) -> Screening:
    """The answers of all patients, or of those who were finished when a person stopped it, written as they come.

    Args:
        screener: With its models.
        found: The images.
        outs: Where to write answers, studies and everything.
        keep: Called with each answered image.
        quiet: Show no progress.
        how: Passed on to the screener.
    """
    whole = next(filter(None, outs), None)
    with PartFile(whole, COLUMNS) as patients, PartFile(whole, PART_COLUMNS, ".images") as images:

        def on_image(file: ImageFile, contract: PreprocessingContract) -> None:
            keep(file, contract)
            images.add(prediction_cells(file.row))

        with stages(quiet=quiet) as (on_stage, on_tick):
            try:
                screening = screener.screen_found(
                    found,
                    on_image=on_image,
                    on_stage=on_stage,
                    on_tick=on_tick,
                    on_case=lambda case: patients.add(answer_cells(case)),
                    **how,
                )
            except ScreeningStopped as stopped:
                screening = stopped.screening
        write_answers(screening, *outs)
    return screening


def _looks(tested: Manifest | None, screener: Screener, book: Book) -> dict[Modality, Look]:
    """The uses of test rows that measuring both models on them will be, as of ``duoscan triage``."""
    parts = {} if tested is None else {kind: tested.where(modality=kind) for kind in Modality}
    return {
        kind: book.look_at_images(part, screener.bundle(kind).digest, kind) for kind, part in parts.items() if len(part)
    }


def _show_outcome(answers: Screening, labels: dict[str, Finding], counts: list[str]) -> None:
    from rich.table import Table

    from duoscan.evaluation.policies.two_phase import two_phase_outcome

    outcome = two_phase_outcome(answers.cases, labels)
    table = Table("reference", "patients", *Answer, title="Two-phase answers by reference label")
    for row in outcome.rows():
        table.add_row(*row)
    console = table_console()
    console.print(table)
    for name, estimate in (
        ("sensitivity (covid answered positive)", outcome.sensitivity),
        ("missed (covid answered negative)", outcome.missed),
        ("specificity (others answered negative)", outcome.specificity),
        ("sent to CT", outcome.to_ct),
    ):
        if estimate:
            console.print(f"{name}: {estimate.spoken()}, {estimate.units} patients", highlight=False)
    for line in counts:
        echo(f"{line}.")


def _show_points(predictor: Predictor, rows: list[Prediction], *, is_asked: bool) -> None:
    """At what the images were decided, and why ``screen`` may say otherwise of a study of one of them."""
    info, image = predictor.bundle.info, predictor.threshold
    echo(
        f"Each image is positive at or above {image:.3f}, "
        f"{'as asked' if is_asked else f'the operating point {info.default_point} for single images'}."
    )
    if image == info.study_threshold:
        return
    low, high = sorted((image, info.study_threshold))
    between = sum(low <= row.probability < high for row in rows if row.probability is not None)
    echo(
        f"duoscan screen answers studies, also of one image, and those at {info.study_threshold:.3f}, "
        f"the operating point {info.study_point or info.default_point}: {between} of {len(rows)} images lie between."
    )


def _show_rows(rows: list[Prediction]) -> None:
    from rich.table import Table

    table = Table("image", "patient", "P(covid)", "decision")
    table.add_column("reason", overflow="fold")
    for row in rows:
        chance = "–" if row.probability is None else f"{row.probability:.3f}"
        table.add_row(
            row.path,
            row.patient_id or "–",
            chance,
            str(row.decision),
            row.reason.spoken if row.reason else "",
        )
    console = table_console()
    console.print(table)
    console.print(NOTICE)
