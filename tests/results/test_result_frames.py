"""Results of studies that are no single files: frames are referenced by their numbers, zips are read where they lie."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from pathlib import Path

import pydicom
import pytest
from highdicom.sr import srread

from duoscan.interfaces.cli import main
from duoscan.terms import Modality
from stand_ins import ct_slice_hu, write_ct_slice, write_enhanced_ct


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    for number, lung in enumerate((-900.0, -500.0, -700.0, -600.0)):
        write_ct_slice(folder / f"IM{number}.dcm", ct_slice_hu(lung), 3.0 * number)
    return folder


def run(given: Path, out: Path, bundles: dict[Modality, Path], *options: str) -> None:
    models = ["--xray-bundle", str(bundles[Modality.CXR]), "--ct-bundle", str(bundles[Modality.CT])]
    with pytest.raises(SystemExit) as ended:
        main(["screen", str(given), "--no-quality-check", "--quiet", "--dicom-out", str(out), *models, *options])
    assert ended.value.code in {0, None}


def referenced_frames(report: Path) -> list[object]:
    group, _rule = srread(report).content.get_image_measurement_groups()
    images = [item for item in group[0].ContentSequence if item.ValueType == "IMAGE"]
    return [item.ReferencedSOPSequence[0].get("ReferencedFrameNumber") for item in images]


def test_frames_are_referenced_by_their_numbers(
    slices: Path, brightness_bundles: dict[Modality, Path], tmp_path: Path
) -> None:
    volume = write_enhanced_ct(slices, tmp_path / "volume.dcm")
    run(volume, tmp_path / "out", brightness_bundles, "--dicom-objects", "sr,heatmap,seg,pmap")
    (report,) = (tmp_path / "out").rglob("report.dcm")
    # Frames are the slices from the highest down: -600, -700, -500 and -900 HU. The brighter, the more suspicious.
    assert referenced_frames(report) == [3, 1, 2]
    evidence = srread(report).CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert len(evidence.ReferencedSOPSequence) == 1
    captures = [pydicom.dcmread(path) for path in sorted((tmp_path / "out").rglob("heatmap-*.dcm"))]
    assert [one.SourceImageSequence[0].ReferencedFrameNumber for one in captures] == [3, 1, 2]
    assert len({one.SOPInstanceUID for one in captures}) == 3
    for name in ("segmentation-1.dcm", "map-1.dcm"):
        (path,) = (tmp_path / "out").rglob(name)
        rests_on(pydicom.dcmread(path), pydicom.dcmread(volume))


def rests_on(made: pydicom.Dataset, volume: pydicom.Dataset) -> None:
    """Each frame lies where the frame of the source lies that it names; the source is named once."""
    assert made.PerFrameFunctionalGroupsSequence
    for frame in made.PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        assert source.ReferencedSOPClassUID == volume.SOPClassUID
        assert source.ReferencedSOPInstanceUID == volume.SOPInstanceUID
        own = volume.PerFrameFunctionalGroupsSequence[source.ReferencedFrameNumber - 1]
        lies, expected = (one.PlanePositionSequence[0].ImagePositionPatient for one in (frame, own))
        assert list(map(float, lies)) == pytest.approx(list(map(float, expected)))
    (instance,) = made.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert (instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID) == (
        volume.SOPClassUID,
        volume.SOPInstanceUID,
    )


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (Debian package dicom3tools) is not installed")
def test_results_of_frames_are_valid(slices: Path, brightness_bundles: dict[Modality, Path], tmp_path: Path) -> None:
    objects = ("--dicom-objects", "sr,heatmap,seg,pmap")
    run(write_enhanced_ct(slices, tmp_path / "volume.dcm"), tmp_path / "out", brightness_bundles, *objects)
    for path in sorted((tmp_path / "out").rglob("*.dcm")):
        checked = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        errors = [line for line in checked.stderr.splitlines() if line.startswith("Error")]
        assert not errors, (path.name, errors)


def test_results_of_a_zip_are_those_of_its_files(
    slices: Path, brightness_bundles: dict[Modality, Path], tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        for file in sorted(slices.iterdir()):
            archive.write(file, file.name)
    heatmaps = tmp_path / "heatmaps"
    run(slices, tmp_path / "plain", brightness_bundles)
    run(tmp_path / "study.zip", tmp_path / "zipped", brightness_bundles, "--heatmaps", str(heatmaps))
    plain, zipped = (
        {path.relative_to(out): pydicom.dcmread(path).SOPInstanceUID for path in out.rglob("*.dcm")}
        for out in (tmp_path / "plain", tmp_path / "zipped")
    )
    assert plain == zipped
    assert len(plain) == 4
    assert len(list(heatmaps.iterdir())) == 4
