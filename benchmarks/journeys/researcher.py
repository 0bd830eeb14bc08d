"""A researcher with a folder of images: ``python benchmarks/journeys/researcher.py``."""

from __future__ import annotations

import shutil

from journey import PHANTOMS, Journey, journey

SMALL = "--set optimise.epochs=2 --set input.size=64 --set model.backbone=plain:tiny"


def lay_out(going: Journey) -> None:
    """Class folders with several pictures a patient, whom the names of the files tell, and a stray file."""
    going.prepare(f"{PHANTOMS} --patients 30 --seed 4 --out phantoms")
    rows = (going.home / "phantoms" / "manifest.csv").read_text(encoding="utf-8").splitlines()
    places = {name: place for place, name in enumerate(rows[0].split(","))}
    for cells in (row.split(",") for row in rows[1:]):
        if cells[places["modality"]] == "cxr":
            patient, label = cells[places["patient_id"]], cells[places["label"]]
            for number in (1, 2):
                copy = going.home / "images" / label / f"{patient}_{number}.png"
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(going.home / "phantoms" / cells[places["path"]], copy)
    (going.home / "images" / "README.txt").write_text("no image\n", encoding="utf-8")


with journey("A researcher with a folder of images wants a model whose number holds.") as going:
    lay_out(going)
    going.type(r"import images --modality cxr --patient-pattern '(phantom-\d+-\d+)_' --out manifest.csv")
    going.type("split manifest.csv --out split.csv")
    going.type(f"train split.csv --recipe demo {SMALL} --run run")
    going.type("evaluate run split.csv")
    going.type("audit split.csv --run run --model-images 6")
    going.type("report run --out report.html")
