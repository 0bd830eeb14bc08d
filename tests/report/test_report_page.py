"""The page as a whole: sound, closed in itself, readable, and with the numbers of ``duoscan evaluate``."""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element

import html5lib
import pytest
from click.testing import CliRunner
from jinja2 import Environment, PackageLoader

from duoscan.errors import InputError, MissingExtraError
from duoscan.evaluation.metrics import METRIC_NAMES
from duoscan.interfaces.cli.evaluate import evaluate_command
from duoscan.interfaces.cli.report import report_command
from duoscan.predictions import Prediction, write_predictions
from duoscan.reasons import Reason, ReasonCode
from duoscan.report.wording import contract_steps
from duoscan.terms import Finding, Modality
from stand_ins import brightness_info

HTML = "{http://www.w3.org/1999/xhtml}"
LEAST_CONTRAST_OF_TEXT, LEAST_CONTRAST_OF_GRAPHICS = 4.5, 3.0  # WCAG 2.2, 1.4.3 and 1.4.11, level AA


def parsed(page: str) -> Element:
    """The document; an error of the page is an error of the test."""
    tree: Element = html5lib.HTMLParser(html5lib.getTreeBuilder("etree"), strict=True).parse(page)
    return tree


def named(tree: Element, name: str) -> list[Element]:
    return list(tree.iter(HTML + name))


def text_of(element: Element) -> str:
    return " ".join("".join(element.itertext()).split())


@pytest.fixture(scope="module")
def tree(full_page: str) -> Element:
    return parsed(full_page)


@pytest.fixture(scope="module")
def table_page(page_of: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of a table of three classes by a model nobody knows; one row unlabelled, one without an answer."""
    classes = (Finding.COVID, Finding.PNEUMONIA, Finding.NORMAL)
    rows = [
        Prediction(
            f"{number}.png",
            f"p{number}",
            None,
            0.6 if number % 4 == 0 else 0.2,
            "",
            label=classes[number % 3],
            probabilities={
                name: 0.6 if (number % 4, place) in {(0, 0), (1, 1), (2, 2), (3, 2)} else 0.2
                for place, name in enumerate(classes)
            },
        )
        for number in range(30)
    ]
    silent = replace(
        rows[1], path="x.png", probability=None, probabilities={}, reason=Reason(ReasonCode.UNFIT, "blank")
    )
    table = tmp_path_factory.mktemp("table") / "theirs.csv"
    write_predictions([*rows, replace(rows[0], path="y.png", label=None), silent], table)
    return page_of(table)


@pytest.fixture(scope="module")
def hospital_page(hospital_run: Path, page_of: Callable[..., str]) -> str:
    """Of images of patients, from a source whose name is a script."""
    return page_of(hospital_run)


def test_every_kind_of_page_is_sound_html(full_page: str, table_page: str, hospital_page: str) -> None:
    for page in (full_page, table_page, hospital_page):
        parsed(page)


def test_the_page_asks_for_nothing_from_anywhere(full_page: str, tree: Element) -> None:
    for element in tree.iter():
        for attribute, value in element.attrib.items():
            if attribute.rpartition("}")[2] in {"src", "href", "srcset", "data", "action", "poster"}:
                assert value.startswith(("#", "data:")), value
    assert not named(tree, "script")
    assert "@import" not in full_page
    assert not re.search(r"url\((?!#)", full_page)
    (policy,) = [meta for meta in named(tree, "meta") if "http-equiv" in meta.attrib]
    assert policy.attrib["content"].startswith("default-src 'none'; img-src data:;")


def test_identifiers_are_unique_and_links_lead_somewhere(tree: Element) -> None:
    identifiers = [element.attrib["id"] for element in tree.iter() if "id" in element.attrib]
    assert len(identifiers) == len(set(identifiers))
    links = [link.attrib["href"].removeprefix("#") for link in named(tree, "a")]
    assert links
    assert set(links) <= set(identifiers)
    spoken = [e.attrib["aria-labelledby"] for e in tree.iter() if "aria-labelledby" in e.attrib]
    assert set(spoken) <= set(identifiers)


def test_headings_go_down_one_level_at_a_time(tree: Element, table_page: str) -> None:
    for page in (tree, parsed(table_page)):
        levels = [int(e.tag[-1]) for e in page.iter() if re.fullmatch(re.escape(HTML) + "h[1-6]", str(e.tag))]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_who_cannot_see_is_told(tree: Element) -> None:
    assert all(table.find(HTML + "caption") is not None for table in named(tree, "table"))
    assert all(image.attrib["alt"] for image in named(tree, "img"))
    pictures = [element for element in tree.iter() if str(element.tag).endswith("}svg")]
    assert pictures
    assert all("aria-label" in svg.attrib or svg.attrib.get("aria-hidden") == "true" for svg in pictures)
    # Colour is never alone: a right or wrong answer says so.
    marked = [element for element in named(tree, "span") if element.attrib.get("class") in {"right", "wrong"}]
    assert len(marked) == 50
    assert all(text_of(element).endswith(element.attrib["class"]) for element in marked)


def test_the_command_on_the_page_prints_the_numbers_on_the_page(tree: Element, runs: dict[Modality, Path]) -> None:
    """Every metric of the CT chapter, with interval and baseline, as the command named there prints it."""
    (chapter,) = [section for section in named(tree, "section") if section.attrib["id"] == "model-2"]
    command = next(text_of(code) for code in chapter.iter(HTML + "code"))
    duoscan, evaluate, *words = shlex.split(command)
    assert (duoscan, evaluate) == ("duoscan", "evaluate")
    printed = CliRunner().invoke(evaluate_command, words)
    assert printed.exit_code == 0, printed.output
    cells: dict[str, list[str]] = {}
    for part in chapter.iter(HTML + "details"):  # the table with one answer a patient stands above them
        if part.attrib.get("id") in {"model-2-decisions", "model-2-ranking"}:
            for row in part.iter(HTML + "tr"):
                cells.setdefault(text_of(row[0]), [text_of(cell) for cell in row[1:]])
    for name in METRIC_NAMES.values():
        (line,) = [line for line in printed.output.splitlines() if f"│ {name} " in line]
        _, _, value, baseline, _ = (part.strip() for part in line.split("│"))
        point, _, interval = value.partition(" ")
        shown = cells[name]
        assert shown[0] == point
        assert shown[3] == baseline
        if interval:
            assert shown[1].startswith(interval.strip("[]").replace(", ", " to "))
    # 27 test patients with two slices each, a third of them covid.
    assert cells[METRIC_NAMES["accuracy"]][4:] == ["54", "27"]
    assert cells[METRIC_NAMES["sensitivity"]][4:] == ["18", "9"]
    assert "9 covid patients and 18 others" in text_of(chapter)


def test_the_page_states_what_it_must(full_page: str, tree: Element) -> None:
    text = text_of(tree)
    for statement in (
        "Research software, not a medical device.",
        "Not run, so not known: No patient in two splits;",
        "Every image is a synthetic phantom and shows no person.",
        "Chest X-ray against chest CT",
        "answering “not covid” for every image has an accuracy of 0.667",
        "Made with duoscan",
        "SHA-256 of the records",
        "images: CC0",
        "The X-ray and the CT model that gave these answers is none of the models in this report.",
        "The 27 patients who have both images, compared pairwise.",
    ):
        assert statement in text, statement
    assert "diagnosis" not in text.lower()
    # The numbers on the arrows of the rule: of six patients one leaves.
    arrows = [text_of(e) for e in tree.iter() if str(e.tag).endswith("}text") and "count" in e.attrib.get("class", "")]
    assert arrows[:7] == [
        "6", "positive: 2", "no X-ray, or unreadable: 2", "negative: 2", "yes: 1", "no: 1", "sent to CT: 5",
    ]  # fmt: skip


def test_a_table_shows_what_can_be_known(table_page: str) -> None:
    text = text_of(parsed(table_page))
    assert "which model made it, from what and how, is not known here" in text
    assert "No images are shown: a predictions table holds none." in text
    assert "1 rows have no label and are left out (column label)." in text
    assert "Most probable class, normalised" in text
    for absent in ("Preprocessing contract", "Loss", "One answer a patient", "Patient by patient"):
        assert absent not in text


def test_the_diagonal_of_the_classes_is_their_sensitivity(table_page: str) -> None:
    tree = parsed(table_page)
    tables = {text_of(table.find(HTML + "caption")): table for table in named(tree, "table")}  # type: ignore[arg-type]
    (by_class,) = [table for name, table in tables.items() if name.startswith("Most probable class: accuracy")]
    shares = tables["Most probable class, normalised: share of each reference class"]
    found = {text_of(row[0]): text_of(row[1]) for row in by_class.iter(HTML + "tr")}
    rows = list(shares.iter(HTML + "tr"))[1:]
    assert len(rows) == 3
    for place, row in enumerate(rows):
        value, interval = (text_of(span) for span in row[1 + place])
        assert found[text_of(row[0])] == f"{value} ({interval})"


def test_names_from_files_cannot_change_the_page(hospital_page: str) -> None:
    tree = parsed(hospital_page)
    assert not named(tree, "script")
    assert not named(tree, "b")
    assert "<script>alert(1)</script>-0" in text_of(tree)
    assert not named(tree, "img")  # not phantoms, so nobody's image is shown
    assert "images of patients are shown only on request" in text_of(tree)


def test_equal_input_gives_equal_bytes(hospital_page: str, hospital_run: Path, page_of: Callable[..., str]) -> None:
    assert page_of(hospital_run) == hospital_page


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.2."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everything_can_be_read_in_light_and_dark(theme: str) -> None:
    module = Environment(loader=PackageLoader("duoscan.report"), autoescape=True).get_template("palette.css").module
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", str(getattr(module, theme)())))
    for ground in ("page", "card", "shade", "notice"):
        for text in ("ink", "muted", "accent", "good", "bad"):
            assert contrast(colours[text], colours[ground]) >= LEAST_CONTRAST_OF_TEXT, (text, ground)
    for mark in ("blue", "vermillion", "orange", "green"):
        assert contrast(colours[mark], colours["card"]) >= LEAST_CONTRAST_OF_GRAPHICS, mark
    # The darkest cell of a confusion matrix: 40 % blue on the card.
    mixed = "#" + "".join(
        f"{round(0.4 * int(colours['blue'][i : i + 2], 16) + 0.6 * int(colours['card'][i : i + 2], 16)):02x}"
        for i in (1, 3, 5)
    )
    assert contrast(colours["ink"], mixed) >= LEAST_CONTRAST_OF_TEXT


def test_the_command_writes_the_page(runs: dict[Modality, Path], tmp_path: Path) -> None:
    out = tmp_path / "new" / "report.html"
    result = CliRunner().invoke(report_command, [str(runs[Modality.CXR]), "--out", str(out), "--without-images"])
    assert result.exit_code == 0, result.output
    assert f"Written to {out}" in result.output
    assert not named(parsed(out.read_text(encoding="utf-8")), "img")


def test_answers_on_test_rows_are_counted_and_said(runs: dict[Modality, Path], tmp_path: Path) -> None:
    run, out, ledger = runs[Modality.CXR], tmp_path / "report.html", tmp_path / "uses.jsonl"
    arguments = [str(run), "--out", str(out), "--without-images", "--ledger", str(ledger)]
    assert "run-cxr: Use 1 of this test set, by 1 model so far." in CliRunner().invoke(report_command, arguments).output
    # The same test set, so the same count as that of duoscan evaluate.
    words = [str(run), str(run / "manifest.csv"), "--resamples", "100", "--ledger", str(ledger)]
    assert "Use 2 of this test set, by 1 model so far." in CliRunner().invoke(evaluate_command, words).output
    assert "Use 3 of this test set" in CliRunner().invoke(report_command, arguments).output
    assert "use 3 of this test set, by 1 model(s) so far" in out.read_text(encoding="utf-8")


def test_the_command_refuses_before_it_works(
    runs: dict[Modality, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = str(runs[Modality.CXR])
    folder = CliRunner().invoke(report_command, [run, "--out", str(tmp_path)])
    assert isinstance(folder.exception, InputError)
    assert "is a folder; name a file" in str(folder.exception)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    missing = CliRunner().invoke(report_command, [run])
    assert isinstance(missing.exception, MissingExtraError)


def test_a_report_without_augmented_samples_loads_no_torch(hospital_run: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from duoscan.report.page import Request, build_report; "
        "build_report(Request((Path(sys.argv[1]),))); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(hospital_run)], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_the_contract_in_words() -> None:
    contract = brightness_info(Modality.CT).contract
    assert contract_steps(contract) == [
        "CT in Hounsfield units: window −1350 to 150 HU to grey 0 to 1; pictures: grey as it is",
        "Resize to 32 × 32 pixels with anti-aliasing, stretched; clip to 0 to 1",
        "Normalise: subtract 0.5, divide by 0.5; 1 channel(s)",
    ]
    other = contract.model_copy(
        update={"crop_borders": True, "aspect": "pad", "probe": "borders", "normalisation": "per-image"}
    )
    steps = contract_steps(other)
    assert steps[1] == "Cut off black borders (grey at or below 0.04)"
    assert "padded with black, proportions kept" in steps[2]
    assert steps[3] == "Shortcut audit: keep only 'borders' of the image"
    assert "mean 0 and standard deviation 1, then subtract 0.5" in steps[4]


def console_of(page: Path, profile: Path) -> tuple[list[str], str]:
    """What Chromium writes on its console, and the document it ends with."""
    browser = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
    if browser is None:
        pytest.skip("Chromium is not installed")
    flags = "--headless --no-sandbox --disable-gpu --disable-background-networking --no-first-run"
    done = subprocess.run(
        [browser, *flags.split(), "--enable-logging=stderr", f"--user-data-dir={profile}", "--dump-dom", page.as_uri()],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line], done.stdout


@pytest.mark.browser
def test_the_browser_has_nothing_to_complain_of(full_page: str, tmp_path: Path) -> None:
    page, bad = tmp_path / "report.html", tmp_path / "bad.html"
    page.write_text(full_page, encoding="utf-8")
    complaints, document = console_of(page, tmp_path / "profile")
    assert complaints == []
    assert "Two-phase answers" in document
    # The same page with a picture from elsewhere breaks its own policy, which the browser must tell.
    bad.write_text(full_page.replace("</main>", '<img src="missing.png" alt="x"></main>'), encoding="utf-8")
    assert any("Content Security Policy" in line for line in console_of(bad, tmp_path / "profile")[0])
