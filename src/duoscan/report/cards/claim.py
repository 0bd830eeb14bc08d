"""CLAIM, update of 2024: 44 items (Tejani et al., Radiology: Artificial Intelligence 6(4), 2024), in our own words."""

from __future__ import annotations

from duoscan.report.cards.item import Item

TITLE = "CLAIM 2024: artificial intelligence in medical imaging"
SOURCE = "Tejani et al., Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update, Radiology: AI"

_STUDY, _DATA, _REFERENCE, _PARTS = "Study design", "Data", "Reference standard", "Data partitions"
_MODEL, _TRAINING, _EVALUATION = "Model", "Training", "Evaluation"

ITEMS = (
    Item("1", "Title", "Name the kind of artificial intelligence", "Deep learning for {task}.", "Write the title."),
    Item("2", "Abstract", "Structured summary", "{headline}", "Write the summary."),
    Item("3", "Introduction", "Clinical background, intended use and role"),
    Item("4", "Introduction", "Aims, objectives and hypotheses"),
    Item("5", _STUDY, "Prospective or retrospective", left="Say how the images were gathered."),
    Item("6", _STUDY, "Goal of the study", "A model for {task}.", "Say what the study was to show."),
    Item("7", _DATA, "Sources of the data", "{sources}"),
    Item("8", _DATA, "Who was included and excluded", "{exclusions}", "Say how the sources chose their patients."),
    Item("9", _DATA, "Preprocessing", "{preprocessing}"),
    Item("10", _DATA, "Parts of the data that were selected", "{selection}"),
    Item("11", _DATA, "De-identification"),
    Item("12", _DATA, "How missing data were handled", "{missing}"),
    Item("13", _DATA, "How images were acquired"),
    Item("14", _REFERENCE, "How the reference standard was obtained", "{labels}", "Say what the labels rest on."),
    Item("15", _REFERENCE, "Why this reference standard"),
    Item("16", _REFERENCE, "Who annotated, with which training"),
    Item("17", _REFERENCE, "How the test set was annotated"),
    Item("18", _REFERENCE, "Agreement between and within readers"),
    Item("19", _PARTS, "How data were assigned to parts", "{parts}", "Say who made the split and how."),
    Item("20", _PARTS, "Level at which the parts are apart", "{disjoint}"),
    Item("21", "Testing data", "Planned sample size", "{tested}", "Say how the size was planned."),
    Item("22", _MODEL, "The model in detail", "{model}"),
    Item("23", _MODEL, "Software", "{software}"),
    Item("24", _MODEL, "How weights were initialised", "{start}"),
    Item("25", _TRAINING, "How it was trained", "{training}"),
    Item("26", _TRAINING, "How the final model was chosen", "{choice}"),
    Item("27", _TRAINING, "Ensembles", "{ensemble}"),
    Item("28", _EVALUATION, "Metrics", "{metrics}"),
    Item("29", _EVALUATION, "Statistics and uncertainty", "{statistics}"),
    Item("30", _EVALUATION, "Robustness and sensitivity", "{robustness}"),
    Item("31", _EVALUATION, "Explainability", "{explanation}", "Say how it was checked."),
    Item("32", _EVALUATION, "Evaluation on internal data", "{internal}"),
    Item("33", _EVALUATION, "Test on external data", "{external}"),
    Item("34", _EVALUATION, "Registration of a trial"),
    Item("35", "Results: data", "Numbers included and excluded", "{flow}"),
    Item("36", "Results: data", "Who they are, in each part", "{characteristics}", "Add age, sex and severity."),
    Item("37", "Results: performance", "Metrics with uncertainty", "{performance}"),
    Item("38", "Results: performance", "Diagnostic accuracy and its precision", "{accuracy}"),
    Item("39", "Results: performance", "Analysis of failures", "{failures}", "Look at them and say what they share."),
    Item("40", "Discussion", "Limitations", "{limitations}", "Add those of the study."),
    Item("41", "Discussion", "What it means for practice"),
    Item("42", "Other", "Protocol or further technical detail", "{reproduce}", "Name the protocol."),
    Item("43", "Other", "Where software, model and data are", "{availability}", "Say where the model can be had."),
    Item("44", "Other", "Funding and the funders' role"),
)
