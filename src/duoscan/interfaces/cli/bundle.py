"""``duoscan bundle``."""

from __future__ import annotations

from pathlib import Path

import click

from duoscan.inference.aggregation import DEFAULTS
from duoscan.inference.bundle import BundleInfo, read_bundle
from duoscan.inference.graph_guards import check_graph
from duoscan.inference.lung_network import finder_of
from duoscan.inference.shipped import shipped_path
from duoscan.interfaces.cli.tables import echo
from duoscan.policies.policy import parse_policy
from duoscan.terms import Modality


@click.command("bundle")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print all that the bundle says of itself.")
def bundle_command(files: tuple[Path, ...], *, as_json: bool) -> None:
    """Check bundles and show what they are; the shipped ones if none is named."""
    for path in files or [shipped_path(modality) for modality in Modality]:
        bundle = read_bundle(path)
        info = bundle.info
        check_graph(bundle.graph, path)
        finder_of(bundle)  # loading checks it
        if as_json:
            echo(info.model_dump_json(indent=1))
            continue
        points = ", ".join(f"{name} {value:.3f}" for name, value in info.operating_points.items())
        echo(
            f"{path}: sound\n"
            f"  {info.name}, {info.modality.spoken}, classes {', '.join(info.classes)}\n"
            f"  input {info.contract.height}×{info.contract.width}, graph {info.graph_sha256[:12]}{_shown(info)}\n"
            f"  operating points {points}\n"
            f"{_flattered(info.provenance.metrics.get('operating_points', {}))}"
            f"  in use: {info.default_point}, for studies {info.study_point or info.default_point}\n"
            f"  images of a study joined by {info.aggregation or DEFAULTS[info.modality].name}, "
            f"study calibrated by {info.study_calibration.kind if info.study_calibration else 'nothing'}\n"
            f"  two-phase policy: {parse_policy(info.policy, str(path)).name if info.policy else 'none stored'}\n"
            f"  trained on {_summary(info.provenance.data_summary)}\n"
            f"  licences: {'; '.join(info.provenance.licences) or 'not stated'}"
        )


def _flattered(rates: dict[str, dict[str, list[float]]]) -> str:
    """How each chosen point did on the validation rows it was chosen on, and on those left out of the choice."""
    lines = []
    for name, of in rates.items():
        said = [f"{rate} {own:.3f}, on patients left out of it {other:.3f}" for rate, (own, other) in of.items()]
        lines.append(f"  {name}, chosen on validation: {'; '.join(said)}\n" if said else "")
    return "".join(lines)


def _summary(table: dict[str, dict[str, int]]) -> str:
    return ", ".join(f"{key} {counts['images']}" for key, counts in table.items()) or "unknown data"


def _shown(info: BundleInfo) -> str:
    if info.finder_sha256 is None:
        return ", shown the whole image"
    return f", shown the lungs alone (view '{info.contract.lungs}', lung finder {info.finder_sha256[:12]})"
