"""What README and docs speak of, small: images, runs, tables, an archive; what a page types is run in a copy of it."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from transformers import MobileNetV2Config, MobileNetV2Model

from duoscan.archives.credentials import VARIABLE
from duoscan.archives.send import send_files
from duoscan.inference.bundle import read_bundle
from duoscan.inference.predictor import predict_manifest
from duoscan.interfaces.cli import main
from duoscan.manifest.records import Manifest
from duoscan.manifest.table import read_manifest, write_manifest
from duoscan.phantom.cohort import write_cohort
from duoscan.phantom.plan import FileFormat, PhantomOptions
from duoscan.policies.policy import PolicyDraft, policy_toml
from duoscan.policies.rule import PolicyKind
from duoscan.predictions import write_predictions
from duoscan.rows import csv_text
from duoscan.terms import Modality
from duoscan.worklist.journal import Journal
from duoscan.worklist.spool import Spool
from node_parts import free_port
from orthanc import CREDENTIALS, Orthanc
from written_runs import cohort, write_run

ROOT = Path(__file__).parents[1]
STUDY = "1.2.3.4"
"""The study that pages name."""

SMALLER: dict[str, list[str]] = {
    "train": ["--set", "optimise.epochs=1", "--set", "input.size=32", "--set", "model.backbone=plain:tiny"],
    "shortcuts": ["--set", "input.size=32"],
    "split-fault": ["--set", "optimise.epochs=1", "--set", "input.size=32"],
    "yardstick": ["--frozen", "--no-controls", "--set", "input.size=32"],
    "evaluate": ["--resamples", "100"],
    "triage": ["--resamples", "100"],
    "phantom": ["--patients", "30", "--slices", "3", "--ct-size", "64", "--xray-size", "96"],
    "audit": ["--model-images", "6"],
}
"""Options that make a command cheap; they come last, so they count."""

_MADE_BY = {"train": "--run", "yardstick": "--run", "shortcuts": "--run", "split-fault": "--run"}
_SIZE: dict[str, Any] = {"seed": 3, "slices": 4, "ct_size": 96, "xray_size": 96}


def make_world(home: Path) -> None:
    """Write everything into an empty folder."""
    write_cohort(PhantomOptions(patients=4, **_SIZE, formats=FileFormat.DICOM), home / "STUDIES", workers=1)
    write_cohort(PhantomOptions(patients=4, **_SIZE), home / "incoming", workers=1)
    _write_tables(home)
    _write_class_folders(home)
    config = MobileNetV2Config(depth_multiplier=0.35)
    MobileNetV2Model(config).save_pretrained(home / "weights")
    for folder in ("DIR", "spool"):
        (home / folder).mkdir()
    Journal(Spool(home / "spool").journal).close()
    shutil.copy(next((home / "incoming" / "cxr").rglob("*.png")), home / "PATH")
    shutil.copytree(home / "STUDIES", home / "results")
    (home / "auth").write_text(CREDENTIALS + "\n", encoding="utf-8")
    (home / "auth").chmod(0o600)
    (home / "asked.csv").write_text("patient_id,need_ct\nphantom-3-0001,yes\n", encoding="utf-8")
    (home / "ours.toml").write_text("ct_harm = 0.005\n", encoding="utf-8")
    (home / "triage").mkdir()
    draft = PolicyDraft(kind=PolicyKind.CT_FOR_ALL)
    (home / "triage" / "policy.toml").write_text(policy_toml(draft), encoding="utf-8")
    (home / "src" / "duoscan").mkdir(parents=True)
    (home / "src" / "duoscan" / "models").symlink_to(ROOT / "src" / "duoscan" / "models")


def _write_tables(home: Path) -> None:
    """Runs, manifests and predictions of two cohorts, in which covid is bright."""
    parts = {kind: _of_source(cohort(home / "bright", "", kind), "darkcovidnet") for kind in Modality}
    others = {kind: _of_source(cohort(home / "others", "", kind), "ucsd_covid_ct") for kind in Modality}
    for name, kind in (("mine", Modality.CXR), ("xray", Modality.CXR), ("ct", Modality.CT)):
        write_run(home / "runs" / name, parts[kind])
    for name, kinds in (("paired", parts), ("others", others)):
        root = kinds[Modality.CXR].root
        write_manifest(Manifest(root, tuple(row for part in kinds.values() for row in part)), home / f"{name}.csv")
    for kind in Modality:
        for name in (f"runs/data/{kind}", f"runs/data/{kind}-all", f"data/{kind}"):
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            write_manifest(parts[kind], home / f"{name}.csv")
    both = _joined([parts[Modality.CXR], others[Modality.CXR]], home)
    rows = [row.model_copy(update={"split": None}) for row in both]  # a yardstick opens no row that is called test
    for name in ("sources", "siim"):
        write_manifest(both.replace(rows), home / f"{name}.csv")
    for name in ("manifest", "split", "MANIFEST"):
        write_manifest(parts[Modality.CXR], home / f"{name}.csv")
    bundle = read_bundle(home / "runs" / "mine")
    shutil.copy(home / "runs" / "mine" / "model.duoscan", home / "FILE")
    for name, kind in (("xray", Modality.CXR), ("ct", Modality.CT)):
        bundle = read_bundle(home / "runs" / name)
        write_predictions(predict_manifest(bundle, parts[kind]), home / f"{name}-predictions.csv")
    shutil.copy(home / "xray-predictions.csv", home / "theirs.csv")
    with (home / "theirs.csv").open(encoding="utf-8") as stream:
        found = list(csv.DictReader(stream))
    for name in ("predictions", "rival"):
        told = ({"site": "north", "age": str(40 + place % 40), "sex": "FM"[place % 2]} for place in range(len(found)))
        table = [row | more for row, more in zip(found, told, strict=True)]
        (home / f"{name}.csv").write_text(csv_text(list(table[0]), (row.values() for row in table)), encoding="utf-8")
    wide = [(row["path"], row["label"], row["probability"], row["probability"]) for row in found]
    (home / "wide.csv").write_text(csv_text(["path", "label", "resnet", "vgg"], wide), encoding="utf-8")


def _joined(manifests: list[Manifest], home: Path) -> Manifest:
    """One manifest of several, whose patients are others."""
    rows = [
        row.model_copy(
            update={"path": str(part.file(row).relative_to(home)), "patient_id": f"{row.source}-{row.patient_id}"}
        )
        for part in manifests
        for row in part
    ]
    return Manifest(home, tuple(rows))


def _of_source(manifest: Manifest, source: str) -> Manifest:
    return manifest.replace([row.model_copy(update={"source": source}) for row in manifest])


def _write_class_folders(home: Path) -> None:
    pictures = read_manifest(home / "incoming" / "manifest.csv").where(modality=Modality.CXR)
    for number in range(36):
        place = home / "images" / ("covid", "normal", "pneumonia")[number % 3] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(pictures.file(pictures.records[number % len(pictures)]), place)


@dataclass(frozen=True)
class World:
    """A copy of everything, in which the lines of one page are run one after another.

    Attributes:
        home: The folder; the user's home as well.
        orthanc: The archive; ``None`` where Orthanc is not installed.
        study: A study that it holds.
    """

    home: Path
    orthanc: Orthanc | None = None
    study: str = STUDY

    def run(self, words: list[str]) -> tuple[int, str]:
        """Run a command of duoscan; its exit code and, where it went wrong, what it said."""
        words = [self._meant(word) for word in words]
        if words[0] == "yardstick":  # it leaves sources out, and a folder of images is one
            words = ["sources.csv" if word == "split.csv" else word for word in words]
        self._clear(words)
        if words[0] == "node" and "--config" in words:
            return self._run_node(words)
        with contextlib.ExitStack() as stack, Path(os.devnull).open("w") as nowhere:
            stack.enter_context(contextlib.redirect_stdout(nowhere))
            with pytest.raises(SystemExit) as ended:
                main([*words, *SMALLER.get(words[0], [])])
        return int(ended.value.code or 0), ""

    def _meant(self, word: str) -> str:
        """What a page calls by an example's name."""
        names = {"$DATA": str(self.home / "data"), STUDY: self.study}
        names |= dict.fromkeys(("$W", "$WEIGHTS"), str(self.home / "weights"))
        if self.orthanc:
            names |= {"ORTHANC@pacs.example.org:4242": self.orthanc.address("dimse")}
            names |= {"https://pacs.example.org/dicom-web": self.orthanc.address("web")}
            names |= {"ARCHIVE": self.orthanc.address("dimse")}
        for name, meant in names.items():
            if word == name or word.startswith(f"{name}/"):
                word = word.replace(name, meant, 1)
        return str(Path(word).expanduser()) if word.startswith("~") else word

    def _clear(self, words: list[str]) -> None:
        """A page makes what it names as new; another page, or this world, has made it before."""
        for option in ("--out", "--dicom-out", "--key-file", _MADE_BY.get(words[0])):
            if option in words and not (option == "--key-file" and "--new-key" not in words):
                made = self.home / words[words.index(option) + 1]
                shutil.rmtree(made, ignore_errors=True) if made.is_dir() else made.unlink(missing_ok=True)

    def _run_node(self, words: list[str]) -> tuple[int, str]:
        """A node runs until it is told to stop."""
        address = self.orthanc.address("dimse") if self.orthanc else "ARCHIVE@127.0.0.1:104"
        settings = f'spool = "spool-of-node"\n[listen]\nport = {free_port()}\n[destination]\naddress = "{address}"\n'
        (self.home / "node.toml").write_text(settings, encoding="utf-8")
        words = ["node.toml" if word.endswith(".toml") else word for word in words]
        command = [sys.executable, "-m", "duoscan", *words]
        node = subprocess.Popen(command, cwd=self.home, stderr=subprocess.PIPE, text=True)
        assert node.stderr is not None
        with node.stderr as log:
            try:
                first = json.loads(log.readline())
                assert first["event"] == "started", first
            finally:
                node.send_signal(signal.SIGTERM)
            return node.wait(30), log.read()


def fill_archive(orthanc: Orthanc, home: Path) -> None:
    """Store the studies of a world."""
    send_files(sorted((home / "STUDIES" / "dicom").rglob("*.dcm")), orthanc.peer)


@contextlib.contextmanager
def in_world(home: Path, orthanc: Orthanc | None) -> Iterator[World]:
    """Work in a copy of the world as its user; the archive, where there is one, holds its studies."""
    image = next((home / "STUDIES" / "dicom").rglob("*.dcm"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setenv("HOME", str(home))
        patch.setenv(VARIABLE, CREDENTIALS)
        yield World(home, orthanc, str(dcmread(image, stop_before_pixels=True).StudyInstanceUID))
