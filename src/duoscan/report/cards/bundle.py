"""The card of a bundle alone: what it says of itself, for a hub where nobody drafted more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.report.cards.text import front_matter, plain
from duoscan.terms import NOTICE

if TYPE_CHECKING:
    from duoscan.inference.bundle import Bundle


def bundle_card(bundle: Bundle) -> str:
    """Write it; ``duoscan card`` drafts one with the numbers of a run and their verdict.

    Args:
        bundle: Any.
    """
    info, made = bundle.info, bundle.info.provenance
    points = ", ".join(f"{name} {value:.3f}" for name, value in info.operating_points.items())
    data = ", ".join(f"{key} ({counts['images']} images)" for key, counts in made.data_summary.items())
    verdict = (info.verdict or {}).get("level", "not audited")
    front = {
        "license": "unknown",
        "library_name": "duoscan",
        "pipeline_tag": "image-classification",
        "tags": ["medical-imaging", "covid-19", info.modality.value, "onnx"],
    }
    lines = [
        *front_matter(front),
        "",
        f"# {plain(info.name)}",
        "",
        NOTICE,
        "",
        f"- Answers: {info.modality.spoken}; classes {', '.join(info.classes)}",
        f"- Input: {info.contract.height} × {info.contract.width}",
        f"- Operating points: {points}; in use: {info.default_point}",
        f"- Verdict of `duoscan audit`: {verdict}",
        f"- Trained on: {plain(data or 'not stated')}",
        f"- Licences of images and weights: {plain('; '.join(made.licences) or 'not stated')}",
        f"- Made with: duoscan {made.duoscan_version}",
        f"- SHA-256 of the graph: {info.graph_sha256}",
        "",
        "No figure stands here: `duoscan evaluate` measures it on your images, `duoscan audit` says what it is worth.",
        "",
        "```",
        f"duoscan screen PATH --{'xray' if info.modality == 'cxr' else 'ct'}-bundle hf:OWNER/NAME@COMMIT",
        "```",
    ]
    return "\n".join(lines) + "\n"
