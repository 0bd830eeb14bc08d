"""The ``duoscan`` command. Each subcommand lives in its own module and is imported when it is called."""

from __future__ import annotations

import importlib
import io
import os
import sys
from typing import Any

import click

from duoscan.errors import DuoscanError
from duoscan.interfaces.cli.tables import STOPPED, echo, use_what_the_terminal_can_show

# name → (module, attribute, one line of help); kept here so that ``--help`` imports nothing heavy.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "import": ("duoscan.interfaces.cli.manifest", "import_command", "Make a manifest from images."),
    "data": ("duoscan.interfaces.cli.data", "data_command", "List and check public data sets."),
    "split": ("duoscan.interfaces.cli.manifest", "split_command", "Split a manifest by patient."),
    "phantom": ("duoscan.interfaces.cli.phantom", "phantom_command", "Make a synthetic cohort with known truth."),
    "evaluate": (
        "duoscan.interfaces.cli.evaluate",
        "evaluate_command",
        "Metrics with intervals and figures.",
    ),
    "compare": ("duoscan.interfaces.cli.compare", "compare_command", "Several models side by side."),
    "audit": (
        "duoscan.interfaces.cli.audit",
        "audit_command",
        "Audit data and model; say what a number may be called.",
    ),
    "report": ("duoscan.interfaces.cli.report", "report_command", "One HTML file of all evidence."),
    "card": ("duoscan.interfaces.cli.card", "card_command", "Draft checklists and cards of a run."),
    "samplesize": (
        "duoscan.interfaces.cli.samplesize",
        "samplesize_command",
        "Patients that an interval of a wished width needs.",
    ),
    "train": ("duoscan.interfaces.cli.train", "train_command", "Train one phase from a recipe."),
    "yardstick": (
        "duoscan.interfaces.cli.yardstick",
        "yardstick_command",
        "Train without each source in turn, and ask it of that source.",
    ),
    "pool": (
        "duoscan.interfaces.cli.pool",
        "pool_command",
        "Choose how the images of a study are joined.",
    ),
    "adapt": ("duoscan.interfaces.cli.adapt", "adapt_command", "Adapt a bundle to a hospital's own cases."),
    "split-fault": (
        "duoscan.interfaces.cli.split_fault",
        "split_fault_command",
        "Show what a split by image adds to a figure.",
    ),
    "shortcuts": (
        "duoscan.interfaces.cli.shortcuts",
        "shortcuts_command",
        "Learn from borders and thumbnails: what skill is left?",
    ),
    "bundle": ("duoscan.interfaces.cli.bundle", "bundle_command", "Check, show and share model bundles."),
    "predict": ("duoscan.interfaces.cli.screen", "predict_command", "One row per image."),
    "triage": ("duoscan.interfaces.cli.triage", "triage_command", "Choose, certify and store a policy."),
    "screen": ("duoscan.interfaces.cli.screen", "screen_command", "One two-phase answer per patient."),
    "decide": (
        "duoscan.interfaces.cli.decide",
        "decide_command",
        "Decide again from stored answers; no model is run.",
    ),
    "node": ("duoscan.interfaces.cli.node", "node_command", "Listen for DICOM studies, screen and report them."),
    "serve": ("duoscan.interfaces.cli.serve", "serve_command", "Serve the reading room: a worklist in the browser."),
    "pacs": ("duoscan.interfaces.cli.pacs", "pacs_command", "Ask an archive; find, fetch and store studies in it."),
    "deidentify": (
        "duoscan.interfaces.cli.deidentify",
        "deidentify_command",
        "Remove identity from DICOM images.",
    ),
}


class LazyGroup(click.Group):
    """A group that imports a subcommand's module only when the subcommand is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order a person meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module that holds ``cmd_name``."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="duoscan")
def cli() -> None:
    """Two-phase COVID-19 detection from chest X-ray and CT.

    Research software, not a medical device.
    """


def main(arguments: list[str] | None = None) -> Any:
    """Run the command; a deliberate error, or a disk that fails, becomes one clear message and exit code 2."""
    use_what_the_terminal_can_show()
    try:
        sys.exit(cli.main(arguments, standalone_mode=False) or 0)
    except DuoscanError as error:
        # Indented, so that a line end in a file's name never begins a message of its own.
        echo(f"duoscan: {error}".replace("\n", "\n  "), err=True)
        sys.exit(2)
    except click.ClickException as error:
        text = io.StringIO()
        error.show(text)
        echo(text.getvalue(), err=True, nl=False)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        echo("duoscan: stopped; what was written before stands", err=True)
        sys.exit(STOPPED)
    except BrokenPipeError:  # who reads the table has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        echo(f"duoscan: {where}{error.strerror or error}; what was written before stands", err=True)
        sys.exit(2)
