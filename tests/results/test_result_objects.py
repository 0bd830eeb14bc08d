"""Objects that say where the model looked: do they lie where the source lies?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from highdicom.seg import segread

from duoscan.cases.screening import CaseAnswer, Screener, model_used
from duoscan.errors import InputError
from duoscan.formats.frame_names import frame_path
from duoscan.phantom.cohort import write_cohort
from duoscan.phantom.plan import FileFormat, PhantomOptions
from duoscan.reasons import Reason, ReasonCode
from duoscan.results import write as results
from duoscan.results.presentation import outlines, presentation_states
from duoscan.results.shown import LEVEL, ShownPhase, regions, shown_phases
from duoscan.results.sources import ActivationKeeper, StudyResult, study_results
from duoscan.results.structured_report import structured_report
from duoscan.results.volume_objects import parametric_maps, segmentations
from duoscan.results.write import ResultObject, parse_objects, write_results
from duoscan.terms import Modality


@pytest.fixture(scope="module")
def dicom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = PhantomOptions(patients=3, seed=5, slices=6, ct_size=64, xray_size=96, formats=FileFormat.DICOM)
    out = tmp_path_factory.mktemp("cohort") / "cohort"
    write_cohort(options, out, workers=1)
    return out / "dicom"


class Screened:
    """One screening and what was kept of it."""

    def __init__(self, dicom: Path, bundles: dict[Modality, Path]) -> None:
        self.screener = Screener(bundles[Modality.CXR], bundles[Modality.CT], check_quality=False)
        self.maps = ActivationKeeper()
        self.answers = self.screener.screen([dicom], need_ct=True, on_image=self.maps.add)

    def shown(self, modality: Modality) -> list[ShownPhase]:
        phases = [one for study in self.studies for one in shown_phases(study, self.answers, self.maps.maps)]
        return [one for one in phases if one.phase.modality is modality]

    @property
    def studies(self) -> list[StudyResult]:
        return study_results(self.answers, {})


@pytest.fixture(scope="module")
def screened(dicom: Path, brightness_bundles: dict[Modality, Path]) -> Screened:
    return Screened(dicom, brightness_bundles)


def test_a_segmentation_covers_the_region_of_the_slices_that_carried_the_answer(
    screened: Screened, tmp_path: Path
) -> None:
    for shown in screened.shown(Modality.CT):
        (made,) = segmentations(shown)
        made.save_as(tmp_path / "seg.dcm")
        read = segread(tmp_path / "seg.dcm")
        expected = dict(
            zip([image.header.SOPInstanceUID for image in shown.images], regions(shown.images), strict=True)
        )
        assert any(mask.any() for mask in expected.values())
        stored = read.get_pixels_by_source_instance(list(expected), assert_missing_frames_are_empty=True)
        np.testing.assert_array_equal(stored[..., 0], np.stack(list(expected.values())))
        source = shown.images[0].header
        assert read.FrameOfReferenceUID == source.FrameOfReferenceUID
        assert read.StudyInstanceUID == source.StudyInstanceUID
        algorithm = read.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
        assert shown.model.graph_sha256 in algorithm.AlgorithmParameters


def test_a_map_holds_the_activation_at_the_place_of_each_slice(screened: Screened, tmp_path: Path) -> None:
    for shown in screened.shown(Modality.CT):
        (made,) = parametric_maps(shown)
        made.save_as(tmp_path / "map.dcm")
        read = pydicom.dcmread(tmp_path / "map.dcm")
        by_height = {float(image.header.ImagePositionPatient[2]): image.evidence for image in shown.images}
        frames = read.PerFrameFunctionalGroupsSequence
        assert len(frames) == len(by_height) == 3
        for frame, pixels in zip(frames, read.pixel_array, strict=True):
            position = frame.PlanePositionSequence[0].ImagePositionPatient
            np.testing.assert_allclose(pixels, by_height[float(position[2])], rtol=1e-6)
        spacing = read.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
        np.testing.assert_allclose(np.array(spacing, float), np.array(shown.images[0].header.PixelSpacing, float))


def test_a_region_is_where_half_of_the_largest_activation_of_all_slices_is_reached(screened: Screened) -> None:
    images = screened.shown(Modality.CT)[0].images
    peak = max(float(image.evidence.max()) for image in images)
    for image, mask in zip(images, regions(images), strict=True):
        assert bool(mask.any()) == bool((image.evidence >= LEVEL * peak).any())
        assert image.evidence[mask].min(initial=peak) >= LEVEL * peak
    nothing = [
        replace(image, activation=image.activation._replace(values=-np.abs(image.activation.values) - 1))
        for image in images
    ]
    assert not regions(nothing).any()


def test_slices_without_a_place_have_no_segmentation_and_copies_count_once(screened: Screened) -> None:
    shown = screened.shown(Modality.CT)[0]
    (made,) = parametric_maps(replace(shown, images=(*shown.images, *shown.images)))
    assert made.NumberOfFrames == 3
    adrift = []
    for image in shown.images:
        header = pydicom.Dataset()
        header.update(image.header)
        del header.FrameOfReferenceUID
        adrift.append(replace(image, instance=replace(image.instance, header=header)))
    with pytest.raises(ValueError, match="do not say where they lie"):
        segmentations(replace(shown, images=tuple(adrift)))


def test_outlines_enclose_the_region_and_nothing_else(screened: Screened) -> None:
    for shown in screened.shown(Modality.CXR):
        (image,) = shown.images
        (state,) = presentation_states(shown)
        mask = regions([image])[0]
        filled = np.zeros(mask.shape, np.uint8)
        (annotation,) = state.GraphicAnnotationSequence
        for drawn in annotation.GraphicObjectSequence:
            points = np.array(drawn.GraphicData, float).reshape(-1, 2)
            assert (points[0] == points[-1]).all()
            cv2.fillPoly(filled, [np.rint(points - 0.5).astype(np.int32)], 1)
        # The outline runs through the outermost pixels of the region, so filling it gives back the region; holes fill.
        assert (filled.astype(bool) & mask).sum() == mask.sum()
        assert "P(COVID-19)" in annotation.TextObjectSequence[0].UnformattedTextValue
        reference = state.ReferencedSeriesSequence[0].ReferencedImageSequence[0]
        assert reference.ReferencedSOPInstanceUID == image.header.SOPInstanceUID


def test_an_outline_goes_through_the_centres_of_the_outermost_pixels() -> None:
    mask = np.zeros((8, 8), bool)
    mask[2:5, 3:7] = True  # rows 2–4, columns 3–6: centres at 2.5 … 4.5 and 3.5 … 6.5
    (outline,) = outlines(mask)
    assert outline.min(axis=0).tolist() == [3.5, 2.5]
    assert outline.max(axis=0).tolist() == [6.5, 4.5]
    assert outline[0].tolist() == outline[-1].tolist()


def test_a_certificate_stands_in_the_report_in_words(screened: Screened) -> None:
    study = screened.studies[0]
    case = replace(study.case, certificate="exact: at most 0.05 of the sick are missed")
    report = structured_report(replace(study, case=case), screened.answers)
    texts = [element.value for element in report.iterall() if element.keyword == "TextValue"]
    assert "certificate: exact: at most 0.05 of the sick are missed" in texts


def test_only_what_was_asked_for_is_written(screened: Screened, tmp_path: Path) -> None:
    written = write_results(screened.answers, {}, screened.maps.maps, tmp_path, objects={ResultObject.PRESENTATION})
    assert [path.name for path in written] == ["presentation-1.dcm"] * 3
    assert len(list(tmp_path.rglob("study.json"))) == 6


def test_a_header_that_allows_no_object_does_not_stop_the_others(
    screened: Screened, dicom: Path, brightness_bundles: dict[Modality, Path], tmp_path: Path
) -> None:
    for path in sorted(dicom.rglob("*.dcm")):
        dataset = pydicom.dcmread(path)
        if dataset.Modality == "CT" and dataset.PatientID.endswith("1"):
            dataset.ImagePositionPatient = ["0", "0"]  # a position has three values
            dataset.PatientName = "CANARY^NAME"
        target = tmp_path / "in" / path.relative_to(dicom)
        target.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(target)
    spoiled = Screened(tmp_path / "in", brightness_bundles)
    said: list[str] = []
    written = write_results(
        spoiled.answers,
        {},
        spoiled.maps.maps,
        tmp_path / "out",
        objects=set(ResultObject),
        on_problem=said.append,
    )
    assert len({path.parent for path in written}) == 6
    assert said
    assert all("headers do not allow" in line and "CANARY" not in line for line in said)


def test_maps_of_other_frames_are_other_objects(screened: Screened) -> None:
    (shown, *_) = screened.shown(Modality.CT)

    def uid(first: int) -> str:
        images = tuple(
            replace(image, instance=replace(image.instance, path=frame_path(image.instance.path, number)))
            for number, image in enumerate(shown.images, start=first)
        )
        return str(parametric_maps(replace(shown, images=images))[0].SOPInstanceUID)

    assert uid(1) == uid(1) != uid(2)


def test_an_object_that_cannot_be_saved_is_not_among_those_to_be_sent(
    screened: Screened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(results._MAKERS, ResultObject.HEATMAP, lambda _study: iter([pydicom.Dataset()]))
    said: list[str] = []
    written = write_results(screened.answers, {}, screened.maps.maps, tmp_path, on_problem=said.append)
    assert {path.name for path in written} == {"report.dcm"}
    assert "no heatmap written" in said[0]


@pytest.mark.parametrize("text", ["", ",", "sr,video"])
def test_words_that_name_no_object(text: str) -> None:
    with pytest.raises(InputError, match="choose among sr, heatmap, seg, pmap, gsps"):
        parse_objects(text)


def test_reasons_leave_paths_behind(screened: Screened) -> None:
    study = screened.studies[0]
    row = study.case.images[0]
    reasons = (Reason(ReasonCode.RULE, "X-ray negative"), Reason(ReasonCode.UNREADABLE, "it is empty", row.path))
    case: CaseAnswer = replace(study.case, reasons=reasons)
    assert replace(study, case=case).reason == "X-ray negative; it is empty"
    assert row.path in case.reason


def test_a_model_that_joins_or_calibrates_differently_makes_another_report(screened: Screened) -> None:
    bundle = screened.screener.bundle(Modality.CT)
    named = model_used(bundle).identity
    info = bundle.info.model_copy(update={"operating_points": {"argmax": 0.6}})
    assert model_used(replace(bundle, info=info)).identity != named
    moved = bundle.info.model_copy(update={"provenance": bundle.info.provenance.model_copy(update={"parity": 1.0})})
    assert model_used(replace(bundle, info=moved)).identity == named
