"""``duoscan adapt``: a bundle for another hospital, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from duoscan.adaptation.adapt import adapt
from duoscan.adaptation.cases import SiteWish
from duoscan.errors import InputError, ManifestError
from duoscan.inference.bundle import Bundle, read_bundle, write_bundle
from duoscan.inference.predictor import predict_manifest
from duoscan.interfaces.cli import cli
from duoscan.manifest.records import Manifest
from duoscan.manifest.table import write_manifest
from duoscan.policies.certify import Models, check_certificate
from duoscan.policies.policy import Certificate, Policy
from duoscan.policies.rule import PolicyKind
from duoscan.rows import csv_text
from duoscan.terms import Modality
from linear_heads import linear_bundle, write_site
from stand_ins import brightness_graph, brightness_info

WISH = SiteWish("St. Anna", 0.1)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """50 sick and 50 well, darker than what the bundle takes for even."""
    return write_site(tmp_path_factory.mktemp("site"), 50, 50, shift=-0.15)


@pytest.fixture(scope="module")
def adapted(site: Manifest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Bundle, Result]:
    """The parent, the bundle that the command makes of it, and what the command says."""
    folder = tmp_path_factory.mktemp("adapted")
    policy = Policy(kind=PolicyKind.XRAY_ONLY, xray_threshold=0.5, ct_threshold=0.5)
    stored = policy.model_dump(mode="json", exclude_none=True)
    parent = linear_bundle(folder / "parent.duoscan", 2, policy=stored, aggregation="max")
    rows = [(str(site.file(record)), record.label, record.patient_id) for record in site]
    (folder / "local.csv").write_text(csv_text(("path", "label", "patient_id"), rows))
    words = ["adapt", parent.path, folder / "local.csv", "--site", "St. Anna", "--out", folder / "new.duoscan"]
    result = CliRunner().invoke(cli, list(map(str, words)), catch_exceptions=False)
    return parent, read_bundle(folder / "new.duoscan"), result


def test_the_new_bundle_names_site_parent_and_evidence(adapted: tuple[Bundle, Bundle, Result]) -> None:
    parent, new, result = adapted
    evidence = new.info.site
    assert result.exit_code == 0
    assert evidence is not None
    assert (evidence.site, evidence.parent_digest) == ("St. Anna", parent.study_digest)
    assert evidence.patients == {"covid": 50, "normal": 50}
    assert evidence.fitted_patients == 100 - 29 - 25
    assert evidence.certificate.positives == 29
    assert new.info.study_threshold == evidence.certificate.threshold
    assert new.info.provenance.data_summary["St. Anna/covid"] == {"images": 50, "patients_or_blocks": 50}
    assert new.study_digest != parent.study_digest
    assert new.info.policy is None
    assert (new.info.contract, new.info.classes) == (parent.info.contract, parent.info.classes)
    for shown in (result.output, CliRunner().invoke(cli, ["bundle", str(new.path)]).output):
        assert "At most 0.1 of the sick patients of St. Anna" in shown
        assert "on patients left out" in shown


def test_p_of_covid_means_more_after_than_before(adapted: tuple[Bundle, Bundle, Result]) -> None:
    evidence = adapted[1].info.site
    assert evidence is not None
    before, after = (float(of["ece"].value or 0.0) for of in (evidence.before, evidence.after))
    assert before > 0.25
    assert after < 0.12
    assert (evidence.difference["brier_score"].high or 1.0) < 0.0


def test_a_certificate_of_the_parent_is_void(adapted: tuple[Bundle, Bundle, Result]) -> None:
    parent, new, _ = adapted
    certificate = Certificate(
        method="exact",
        covers="leaving at X-ray",
        kind=PolicyKind.XRAY_ONLY,
        alpha=0.1,
        delta=0.05,
        positives=30,
        missed=0,
        xray_threshold=0.5,
        calibration_fingerprint="x",
        date="2026-01-01",
        promise="of others",
        xray_graph_sha256=parent.study_digest,
    )
    with pytest.raises(InputError, match="it has expired"):
        check_certificate(certificate, Models(new.study_digest, ""))


def test_the_same_seed_gives_the_same_bundle(site: Manifest, tmp_path: Path) -> None:
    parent = linear_bundle(tmp_path / "parent.duoscan")
    made = [adapt(parent, site, WISH, tmp_path / name).path.read_bytes() for name in ("a.duoscan", "b.duoscan")]
    assert made[0] == made[1]


def test_new_weights_answer_as_they_were_fitted(tmp_path: Path) -> None:
    """A bundle that looks at the wrong thing: the refit is taken, and the written graph ranks as the figures say."""
    site = write_site(tmp_path / "site", 110, 90)
    parent = linear_bundle(tmp_path / "parent.duoscan", blind=True)
    new = adapt(parent, site, WISH, tmp_path / "new.duoscan")
    evidence = new.info.site
    assert evidence is not None
    assert evidence.refit
    assert new.digest != parent.digest
    assert float(evidence.after["auroc"].value or 0) > float(evidence.before["auroc"].value or 0) + 0.1
    answers = {row.path: row for row in predict_manifest(new, site)}
    sick = [answers[record.path].probability or 0.0 for record in site if record.label == "covid"]
    assert sum(one < new.info.study_threshold for one in sick) / len(sick) <= 0.15


def test_a_graph_of_another_end_is_recalibrated_only(site: Manifest, tmp_path: Path) -> None:
    parent = write_bundle(tmp_path / "parent.duoscan", brightness_info(Modality.CXR), brightness_graph())
    new = adapt(parent, site, WISH, tmp_path / "new.duoscan")
    assert new.info.site is not None
    assert "the last layer stays: the graph's logits are no linear layer" in new.info.site.reasons[0]
    assert new.graph == parent.graph
    assert new.study_digest != parent.study_digest
    assert new.info.site.certificate.positives == 50


def test_ct_without_patients_goes_by_blocks(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", 40, 40, images=3, modality=Modality.CT)
    nameless = site.replace([record.model_copy(update={"patient_id": None}) for record in site])
    write_manifest(nameless, tmp_path / "site" / "site.csv")
    parent = linear_bundle(tmp_path / "parent.duoscan", modality=Modality.CT)
    words = ["adapt", parent.path, tmp_path / "site" / "site.csv", "--site", "A", "--block-size", "3"]
    result = CliRunner().invoke(cli, [*map(str, words), "--out", str(tmp_path / "new.duoscan")], catch_exceptions=False)
    assert "240 images of 80 blocks in place of patients" in result.output


@pytest.mark.parametrize(
    ("sick", "well", "message"),
    [
        (20, 30, r"9 more with covid are missing \(20 of 29\).*20 allow a miss rate of 0\.14"),
        (35, 5, r"15 more without are missing \(5 of 20\)"),
        (30, 0, r"20 more without are missing \(0 of 20\)"),
    ],
)
def test_too_few_are_refused_with_the_number_missing(sick: int, well: int, message: str, tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", sick, well)
    with pytest.raises(InputError, match=message):
        adapt(linear_bundle(tmp_path / "p.duoscan"), site, WISH, tmp_path / "new.duoscan")
    assert not (tmp_path / "new.duoscan").exists()


def test_what_cannot_be_used_is_refused(site: Manifest, tmp_path: Path) -> None:
    parent, out = linear_bundle(tmp_path / "p.duoscan"), tmp_path / "new.duoscan"
    ct = linear_bundle(tmp_path / "ct.duoscan", modality=Modality.CT)
    with pytest.raises(InputError, match="answers chest CT, and the cases hold chest X-ray"):
        adapt(ct, site, WISH, out)
    unlabelled = site.replace([record.model_copy(update={"label": None}) for record in site])
    with pytest.raises(InputError, match="none of 100 images has a label"):
        adapt(parent, unlabelled, WISH, out)
    adapt(parent, site, WISH, out)
    with pytest.raises(InputError, match="100 of 100 images are of elsewhere, on which the bundle was trained"):
        adapt(read_bundle(out), site, WISH, tmp_path / "again.duoscan")
    broken = site.replace([site.records[0].model_copy(update={"path": "broken.png"}), *site.records])
    (site.root / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ManifestError, match=r"1 of 101 images cannot be answered(?s:.*)broken\.png"):
        adapt(parent, broken, WISH, out)
    left_out = adapt(parent, broken, replace(WISH, leaves_out=True), out).info.site
    assert left_out is not None
    assert left_out.images == 100
    assert left_out.reasons[-1] == "left out: 1 images that cannot be answered"
    for wrong in ({"site": " "}, {"site": "A", "alpha": 0.0}, {"site": "A", "delta": 1.0}):
        with pytest.raises(InputError):
            SiteWish(**wrong)  # type: ignore[arg-type]


def test_nothing_is_written_over_unasked(site: Manifest, tmp_path: Path) -> None:
    out = tmp_path / "taken.duoscan"
    out.write_bytes(b"mine")
    words = ["adapt", str(linear_bundle(tmp_path / "p.duoscan").path), str(site.root), "--site", "A", "--out", str(out)]
    result = CliRunner().invoke(cli, words)
    assert isinstance(result.exception, InputError)
    assert "--force" in str(result.exception)
    assert out.read_bytes() == b"mine"
