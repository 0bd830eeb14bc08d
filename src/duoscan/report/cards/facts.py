"""What a run, its manifest and its audits can say of themselves, as sentences; a fact that is unknown is left out."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from duoscan.audit.result import Level
from duoscan.evaluation.evaluate import METHOD
from duoscan.evaluation.metrics import METRIC_NAMES
from duoscan.inference.site import SITE_FIGURES
from duoscan.report.wording import contract_steps, operating_point, spoken, tested_part
from duoscan.terms import POSITIVE, Split

if TYPE_CHECKING:
    from collections.abc import Iterable

    from duoscan.evaluation.evaluate import Evaluation
    from duoscan.evidence.making import Making
    from duoscan.evidence.subject import Subject
    from duoscan.evidence.verdicts import Judgement
    from duoscan.inference.bundle import BundleInfo
    from duoscan.manifest.records import ImageRecord

_SHOWN = ("auroc", "sensitivity", "specificity", "ppv", "npv", "accuracy", "balanced_accuracy", "brier_score")
_UNDER_REASONS = "Not to be quoted without the reasons of the gate: "


def gather(subject: Subject, evaluation: Evaluation, judgement: Judgement) -> dict[str, str]:
    """Every fact that is known, by the name the checklists use."""
    facts = _measured(subject, evaluation, judgement) | _audited(judgement)
    if subject.records is not None:
        facts |= _data(list(subject.records))
    if subject.making is not None:
        facts |= _made(subject.making) | _trained(subject.making.info.provenance.recipe)
    return {name: text for name, text in facts.items() if text}


def counted(records: Iterable[ImageRecord]) -> str:
    """Images and patients by label, e.g. ``30 covid images of 12 patients or blocks, …``."""
    rows = list(records)
    units = Counter(label for label, _ in {(record.label, record.unit) for record in rows})
    images = Counter(record.label for record in rows)
    return ", ".join(
        f"{count} {label or 'unlabelled'} images of {units[label]} patients or blocks"
        for label, count in sorted(images.items(), key=lambda item: str(item[0]))
    )


def _data(records: list[ImageRecord]) -> dict[str, str]:
    sources = sorted({record.source for record in records})
    by_split = {split: [one for one in records if one.split is split] for split in Split}
    named = sum(record.patient_id is not None for record in records)
    return {
        "sources": "; ".join(f"{name} ({counted(one for one in records if one.source == name)})" for name in sources)
        + ".",
        "labels": "Labels are those of the sources and were not checked again; "
        f"{sum(record.label is None for record in records)} of {len(records)} images have none.",
        "parts": " ".join(f"{split}: {counted(own)}." for split, own in by_split.items() if own),
        "flow": f"{len(records)} images in the manifest: {counted(records)}.",
        "characteristics": " ".join(
            f"{split}: {counted(own)}, from {', '.join(sorted({one.source for one in own}))}."
            for split, own in by_split.items()
            if own
        ),
        "missing": f"{len(records) - named} of {len(records)} images name no patient; a block of neighbouring images, "
        "or the image itself, stands for the patient there. An image that cannot be read gets no answer and counts "
        "against the coverage.",
        "licences": "; ".join(sorted({record.license for record in records if record.license})),
    }


def _made(making: Making) -> dict[str, str]:
    info = making.info
    found = {name: version for name, version in making.environment.items() if name not in {"machine", "threads"}}
    software = ", ".join(f"{name} {version}" for name, version in found.items())
    return {
        "preprocessing": "; ".join(contract_steps(info.contract)) + ".",
        "contract": f"{info.contract.height} × {info.contract.width} pixels, contract {info.contract.digest()[:12]}.",
        "software": f"duoscan {info.provenance.duoscan_version}" + (f"; {software}." if software else "."),
        "output": _thresholds(info),
        "explanation": "Class activation map: the model's own evidence for covid at each place of the image.",
        "reproduce": f"Recipe, manifest and environment lie in the run; SHA-256 of the graph {info.graph_sha256}, of "
        f"the records {info.provenance.data_fingerprint}." + (f" Made by: {making.command}" if making.command else ""),
        "availability": "The code is duoscan, under Apache-2.0; the bundle is one file that ONNX Runtime can run.",
        "poor_input": "An image that is unreadable or not of the modality is refused with a reason, never answered.",
        "updating": _updated(info),
    }


def _updated(info: BundleInfo) -> str:
    """Where and on whom the bundle was adapted, and what that changed on patients left out."""
    site = info.site
    if site is None:
        return "None: a bundle is sealed and is not updated."
    figures = "; ".join(
        f"{title} {site.before[name].spoken} before, {site.after[name].spoken} after"
        for name, title in SITE_FIGURES.items()
    )
    layer = "new weights of the last layer" if site.refit else "the weights as they were"
    return (
        f"Adapted to {site.site} on {site.date} from {site.parent_name} ({site.parent_digest[:12]}), {layer}, on "
        f"{site.images} images of {site.spoken_patients}. {' '.join(f'{one}.' for one in site.reasons)} "
        f"On patients left out: {figures}. {site.certificate.promise}"
    )


def _thresholds(info: BundleInfo) -> str:
    points = ", ".join(f"{name} {value:.4g}" for name, value in info.operating_points.items())
    return (
        f"A probability of each of {', '.join(info.classes)}; covid from {info.threshold:.4g} "
        f"({info.default_point}). Thresholds chosen on validation{' or at the site' if info.site else ''}: {points}."
    )


def _trained(recipe: dict[str, Any]) -> dict[str, str]:
    """Sentences of the resolved recipe; none where a bundle states none."""
    if not recipe:
        return {}
    model, data, optimise = recipe.get("model", {}), recipe.get("data", {}), recipe.get("optimise", {})
    augment = {name: value for name, value in recipe.get("augment", {}).items() if value}
    members = model.get("members", 1)
    views = data.get("exclude_views") or []
    merged = ", ".join(f"{one} as {other}" for one, other in (data.get("merge") or {}).items())
    return {
        "model": f"{model.get('backbone')}, classes {', '.join(recipe.get('classes', ()))}, dropout "
        f"{model.get('dropout')} before the last layer.",
        "start": "Weights trained on other images." if model.get("pretrained") else "Weights drawn at random.",
        "training": f"At most {optimise.get('epochs')} epochs of batches of {optimise.get('batch_size')}, "
        f"{optimise.get('optimiser')}, learning rate {optimise.get('learning_rate')}, schedule "
        f"{optimise.get('schedule')}; augmentation: {_listed(augment)}.",
        "choice": f"The epoch with the best {optimise.get('monitor')} on validation; stopped after "
        f"{optimise.get('patience')} epochs without a better one. Nothing was chosen on test.",
        "ensemble": f"Mean of {members} members from as many seeds." if members > 1 else "None: one network.",
        "selection": f"Sources: {', '.join(data.get('sources') or ()) or 'all'}; views left out: "
        f"{', '.join(views) or 'none'}; labels merged: {merged or 'none'}.",
        "exclusions": f"Left out by the recipe: views {', '.join(views) or 'none'}, and labels that are no class.",
        "imbalance": f"Drawing balanced by: {data.get('balance')}.",
    }


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items()) or "none"


def _measured(subject: Subject, evaluation: Evaluation, judgement: Judgement) -> dict[str, str]:
    verdict = judgement.verdict
    mark = "" if verdict.may_headline else _UNDER_REASONS
    shown = "; ".join(f"{METRIC_NAMES[name]} {spoken(evaluation.metrics[name])}" for name in _SHOWN)
    overall, cells = evaluation.overall, evaluation.overall.confusion
    external = verdict.measured.external_sources if verdict.measured else None
    names = ", ".join(METRIC_NAMES[name] for name in _SHOWN)
    sources = "; ".join(
        f"{name}: AUROC {spoken(result.metrics['auroc'])}" for name, result in evaluation.by_source.items()
    )
    kind = subject.modality.spoken if subject.modality else "chest"
    where = f"{overall.images} images of {overall.people}, {tested_part(subject)}"
    return {
        "task": f"telling COVID-19 from the rest on {kind} images",
        "headline": f"On {where}: AUROC {spoken(evaluation.metrics['auroc'])}." if verdict.may_headline else "",
        "tested": f"Measured on {where}.",
        "metrics": f"{names}, beside always giving the more common answer.",
        "statistics": f"95 % intervals: {METHOD}, {evaluation.resamples} resamples, seed {evaluation.seed}.",
        "performance": f"{mark}{shown}. Positive: {operating_point(subject, evaluation.threshold, '')}.",
        "accuracy": f"{mark}sensitivity {spoken(evaluation.metrics['sensitivity'])}, specificity "
        f"{spoken(evaluation.metrics['specificity'])}.",
        "failures": f"Missed {cells.false_negative} of {cells.true_positive + cells.false_negative} {POSITIVE} images; "
        f"{cells.false_positive} of {cells.false_positive + cells.true_negative} others called positive.",
        "by_source": f"By source: {mark}{sources}.",
        "internal": f"Measured on {where}." if not subject.is_external else "",
        "external": f"Sources that took no part in training: {', '.join(external)}." if external else "",
        "limitations": " ".join(
            [
                f"Verdict of the gate: {verdict.level}.",
                *verdict.reasons,
                *([f"Not run: {'; '.join(verdict.not_run)}."] if verdict.not_run else []),
                *evaluation.notes,
            ]
        ),
    }


def _audited(judgement: Judgement) -> dict[str, str]:
    checks = {check.name: check for check in judgement.verdict.checks}

    def said(*names: str) -> str:
        ran = [checks[name] for name in names if checks[name].level is not Level.NOT_RUN]
        return " ".join(f"{one.title}: {one.level}. {' '.join(one.reasons)}" for one in ran)

    return {
        "disjoint": said("patients", "copies"),
        "robustness": said("shortcuts", "perturbation", "attention"),
        "fairness": said("confounding"),
    }
