"""``duoscan bundle`` says how far what a point did on validation flatters it."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from duoscan.inference.bundle import write_bundle
from duoscan.interfaces.cli import cli
from duoscan.terms import Modality
from stand_ins import brightness_graph, brightness_info


def test_a_chosen_point_is_shown_on_patients_left_out_of_the_choice(tmp_path: Path) -> None:
    info = brightness_info(Modality.CXR)
    rates = {"youden": {"sensitivity": [0.9, 0.75], "specificity": [1.0, 0.875]}, "sensitivity": {}}
    provenance = info.provenance.model_copy(update={"metrics": {"operating_points": rates}})
    told = write_bundle(tmp_path / "a.duoscan", info.model_copy(update={"provenance": provenance}), brightness_graph())
    untold = write_bundle(tmp_path / "b.duoscan", info, brightness_graph())
    said = CliRunner().invoke(cli, ["bundle", str(told.path)]).output
    assert "youden, chosen on validation: sensitivity 0.900, on patients left out of it 0.750; specificity 1" in said
    assert "sensitivity, chosen on validation" not in said
    assert "chosen on validation" not in CliRunner().invoke(cli, ["bundle", str(untold.path)]).output
