"""``duoscan decide``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from duoscan.cases.decide import decide_again
from duoscan.cases.find import read_need_ct
from duoscan.cases.stored import read_maps, read_screening
from duoscan.errors import InputError
from duoscan.interfaces.cli.answers import (
    Problems,
    exit_code,
    show_answers,
    show_beside,
    show_unfinished,
    write_answers,
    write_dicom,
)
from duoscan.interfaces.cli.paths import OUT_FILE, OUT_FOLDER
from duoscan.policies.policy import named_policy
from duoscan.policies.stored import check_covers
from duoscan.results.sources import changed_images
from duoscan.results.write import DEFAULT_OBJECTS, check_can_write, parse_objects

_FILE = click.Path(dir_okay=False, path_type=Path)
_EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("decide")
@click.argument("answers", type=_EXISTING)
@click.option("--need-ct", type=_EXISTING, help="CSV with patient_id, need_ct: the clinician's answer now.")
@click.option("--need-ct-all", is_flag=True, help="The clinician asks for CT for every patient.")
@click.option("--policy", help="Policy file or kind to obey now; the stored one if left out.")
@click.option("--xray-threshold", type=click.FloatRange(0, 1), help="Operating point of phase 1 now.")
@click.option("--ct-threshold", type=click.FloatRange(0, 1), help="Operating point of phase 2 now.")
@click.option("--csv", "csv_out", type=OUT_FILE, help="Write the answers as CSV.")
@click.option("--studies-csv", "studies_out", type=OUT_FILE, help="Write one row for each study as CSV.")
@click.option("--json", "json_out", type=OUT_FILE, help="Write everything as JSON, to be decided again.")
@click.option("--maps", type=_EXISTING, help="Activation maps of duoscan screen --maps, for pictures in results.")
@click.option("--dicom-out", type=OUT_FOLDER, help="As of duoscan screen.")
@click.option(
    "--dicom-objects",
    default=",".join(sorted(DEFAULT_OBJECTS, reverse=True)),
    show_default=True,
    help="As of duoscan screen.",
)
@click.option("--quiet", is_flag=True, help="No table on the screen.")
def decide_command(
    answers: Path,
    *,
    need_ct: Path | None,
    need_ct_all: bool,
    policy: str | None,
    xray_threshold: float | None,
    ct_threshold: float | None,
    csv_out: Path | None,
    studies_out: Path | None,
    json_out: Path | None,
    maps: Path | None,
    dicom_out: Path | None,
    dicom_objects: str,
    quiet: bool,
) -> None:
    """Decide again from ANSWERS of duoscan screen --json, under another request, threshold or policy.

    No model is run. A patient who is now sent to a CT that was not read is answered "CT needed".

    \b
    Exit code: as of duoscan screen.
    """
    objects = parse_objects(dicom_objects)
    if dicom_out is not None:
        check_can_write()
    stored = read_screening(answers)
    draft = named_policy(policy) if policy else stored.policy
    if draft.certificate:
        check_covers(draft.certificate, stored.xray.study_digest, stored.ct.study_digest)
    # A threshold that the new policy leaves open stays what it was.
    obeyed = draft.with_thresholds(xray_threshold, ct_threshold).resolved(
        stored.policy.xray_threshold, stored.policy.ct_threshold
    )
    screening = decide_again(
        stored, policy=obeyed, need_ct=True if need_ct_all else read_need_ct(need_ct) if need_ct else None
    )
    write_answers(screening, csv_out, studies_out, json_out)
    problems = Problems()
    if dicom_out is not None:
        if changed := changed_images(screening):
            raise InputError(f"{len(changed)} images are gone or not those that were answered, e.g. {changed[0]}")
        stored_maps = read_maps(maps) if maps else {}
        write_dicom(screening, {}, stored_maps, dicom_out, objects=objects, problems=problems, quiet=quiet)
    if not quiet:
        show_answers(screening)
    show_beside(screening)
    show_unfinished(screening)
    sys.exit(exit_code(screening, problems))
