r"""Every way to join a study's images, on patients that neither trained nor chose.

    duoscan phantom --patients 480 --seed 33 --slices 16 --ct-size 160 --xray-size 64 --out FOLDER/learn
    duoscan split FOLDER/learn/manifest.csv --ignore-splits --train 0.5 --val 0.4 --test 0.1 \
        --out FOLDER/learn/split.csv
    duoscan train FOLDER/learn/split.csv --modality ct --recipe demo --run FOLDER/run
    duoscan phantom --patients 200 --seed 32 --slices 16 --ct-size 160 --xray-size 96 --out FOLDER/unseen
    python benchmarks/pooling.py FOLDER/run FOLDER/unseen/manifest.csv

Each way is calibrated on the run's validation rows, as a bundle that used it would be. The unseen images are answered
once; all ways are computed from that one table. Where the run's bundle has no attention, ask for one beforehand:
duoscan pool FOLDER/run FOLDER/learn/split.csv --aggregation attention --out FOLDER/attention.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from duoscan.evaluation.aggregation import choose_aggregation, joined_as
from duoscan.evaluation.calibrators import log_losses
from duoscan.evaluation.delong import delong_auroc
from duoscan.evaluation.intervals import bootstrap, paired_difference
from duoscan.evaluation.metrics import Means
from duoscan.evaluation.sample import Sample, sample_of
from duoscan.inference.aggregate import per_patient
from duoscan.inference.aggregation import Aggregation
from duoscan.inference.bundle import read_bundle
from duoscan.inference.predictor import predict_manifest
from duoscan.manifest.table import read_manifest
from duoscan.predictions import Prediction, read_predictions

if TYPE_CHECKING:
    from duoscan.terms import Modality


def main() -> None:
    """Answer, join in every way, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="finished run, or what duoscan pool wrote")
    parser.add_argument("manifest", type=Path, help="images of other patients; all of them are used")
    parser.add_argument("--resamples", type=int, default=2000)
    arguments = parser.parse_args()
    bundle = read_bundle(arguments.run / "model.duoscan")
    validation = read_predictions(arguments.run / "predictions-val.csv")
    unseen = predict_manifest(bundle, read_manifest(arguments.manifest).where(modality=bundle.info.modality))
    names = [one["name"] for one in bundle.info.provenance.metrics["aggregation"]["candidates"]]
    samples = {name: _sample(name, validation, unseen, bundle.info.modality) for name in names}
    losses = {name: Means({"log_loss": log_losses(one.reference, one.probability)}) for name, one in samples.items()}
    used = bundle.info.aggregation or names[0]
    print(f"{samples[used].patients} patients, {int(samples[used].reference.sum())} covid; bundle: {used}")
    print(f"{'way':10} {'AUROC':22} {'log loss':22} {'Brier':8} log loss less that of {used}")
    for name, sample in samples.items():
        auroc = delong_auroc(sample.reference, sample.probability, sample.units)
        loss = bootstrap(losses[name], sample.units, resamples=arguments.resamples)["log_loss"]
        pair = (losses[name], sample.units), (losses[used], sample.units)
        added = paired_difference(*pair, resamples=arguments.resamples)["log_loss"]
        brier = float(np.mean((sample.probability - sample.reference) ** 2))
        print(f"{name:10} {auroc.spoken():22} {loss.spoken():22} {brier:<8.3f} {added.spoken()}")


def _sample(name: str, validation: list[Prediction], unseen: list[Prediction], modality: Modality) -> Sample:
    """The unseen studies joined this way and calibrated on validation studies joined this way."""
    choice = choose_aggregation(validation, modality, wanted=name, resamples=100)
    rows = per_patient(joined_as(unseen, Aggregation.named(name)), modality)
    return choice.calibrator.apply(sample_of(rows, threshold=None))


if __name__ == "__main__":
    main()
