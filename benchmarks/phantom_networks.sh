#!/usr/bin/env bash
# Whether networks learn the disease from phantoms: AUROC on patients of a seed they have not seen, and on cohorts whose
# labels were dealt out anew, where nothing can be learned.
#
#     bash benchmarks/phantom_networks.sh FOLDER
#
# Makes the cohorts and four runs in FOLDER (about 20 minutes on two cores) and prints four evaluations. What is there
# already is not made again.
set -euo pipefail
folder=${1:?name a folder to work in}
duoscan=${DUOSCAN:-.venv/bin/duoscan}
sizes=(--slices 16 --ct-size 192 --xray-size 384)

cohort() { # name, patients, seed, more options
    test -e "$folder/$1/manifest.csv" || "$duoscan" phantom --patients "$2" --seed "$3" "${sizes[@]}" --out "$folder/$1" "${@:4}"
}

cohort learn 600 1
cohort unseen 240 2
cohort shuffled 300 3 --shuffle-labels
cohort shuffled-unseen 240 4 --shuffle-labels
for modality in cxr ct; do
    for pair in learn:unseen shuffled:shuffled-unseen; do
        run="$folder/run-${pair%%:*}-$modality"
        test -e "$run/model.duoscan" ||
            "$duoscan" train "$folder/${pair%%:*}/manifest.csv" --modality "$modality" --recipe demo --run "$run"
        echo "== $modality: trained on ${pair%%:*}, tested on ${pair##*:}"
        "$duoscan" evaluate "$run" "$folder/${pair##*:}/manifest.csv" --split all --per-patient
    done
done
