"""TRIPOD+AI: 27 items (Collins et al., BMJ 385:e078378, 2024), in our own words."""

from __future__ import annotations

from duoscan.report.cards.item import Item

TITLE = "TRIPOD+AI: prediction models by machine learning"
SOURCE = "Collins et al., TRIPOD+AI statement, BMJ 2024;385:e078378"

_DATA, _METHODS, _OPEN_SCIENCE = "Methods: data", "Methods: analysis", "Open science"

ITEMS = (
    Item("1", "Title", "Development or evaluation, population and outcome", "A model for {task}.", "Write the title."),
    Item("2", "Abstract", "Summary, after TRIPOD+AI for abstracts", "{headline}", "Write the summary."),
    Item("3", "Introduction", "Context, purpose, intended users, known inequalities"),
    Item("4", "Introduction", "Objectives: development, validation or both"),
    Item("5", _DATA, "Sources and dates of the data", "{sources}", "Give the dates."),
    Item("6", _DATA, "Setting, eligibility, treatments", "{exclusions}", "Say how the sources chose their patients."),
    Item("7", _DATA, "Preparation and checks of quality, also across groups", "{preprocessing}"),
    Item(
        "8", _DATA, "Outcome: what, when, how and by whom it was assessed", "{labels}", "Say what the labels rest on."
    ),
    Item("9", _DATA, "Predictors: which, how chosen, how measured", "The pixels of one image alone. {contract}"),
    Item("10", _METHODS, "How the sample size was arrived at", "{tested}", "Say how the size was planned."),
    Item("11", _METHODS, "Missing data", "{missing}"),
    Item("12", _METHODS, "Analysis: parts, model, tuning, measures", "{parts} {model} {training} {choice} {metrics}"),
    Item("13", _METHODS, "Class imbalance", "{imbalance}"),
    Item("14", _METHODS, "Fairness", "{fairness}", "Say how groups of age, sex and origin fare."),
    Item("15", _METHODS, "Output of the model and its thresholds", "{output}"),
    Item("16", _METHODS, "Differences between development and evaluation data", "{external}"),
    Item("17", _METHODS, "Ethical approval"),
    Item(
        "18",
        _OPEN_SCIENCE,
        "Funding, interests, protocol, registration, data, code",
        "{availability}",
        "State funding, interests, protocol and registration.",
    ),
    Item("19", "Patients and public", "Their involvement"),
    Item(
        "20",
        "Results",
        "Flow and characteristics of participants",
        "{flow} {characteristics}",
        "Add age, sex and severity.",
    ),
    Item("21", "Results", "Participants and events in each analysis", "{parts}"),
    Item(
        "22", "Results", "The full model, so that others can use it", "{reproduce}", "Say where the model can be had."
    ),
    Item("23", "Results", "Performance with intervals, also by group", "{performance} {by_source}"),
    Item("24", "Results", "Updating of the model", "{updating}"),
    Item("25", "Discussion", "Interpretation, with fairness"),
    Item("26", "Discussion", "Limitations", "{limitations}", "Add those of the study."),
    Item(
        "27",
        "Discussion",
        "Use: poor input, the users' part, next steps",
        "{poor_input}",
        "Say what users must know and what comes next.",
    ),
)
