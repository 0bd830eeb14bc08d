"""``duoscan bundle``."""

from __future__ import annotations

from pathlib import Path

import click

from duoscan.files import read_bytes, write_bytes
from duoscan.inference.aggregation import DEFAULTS
from duoscan.inference.bundle import BundleInfo, read_bundle
from duoscan.inference.graph_guards import check_graph
from duoscan.inference.hub import Place, fetch, named_bundle, push
from duoscan.inference.lung_network import finder_of
from duoscan.inference.shipped import shipped_path
from duoscan.interfaces.cli.paths import OUT_FILE
from duoscan.interfaces.cli.site_shown import show_site
from duoscan.interfaces.cli.tables import echo
from duoscan.policies.policy import parse_policy
from duoscan.terms import Modality


class _ShownByDefault(click.Group):
    """``duoscan bundle FILE`` shows the file, as it did before there were other words."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Files and options of ``show`` may follow at once."""
        is_other = args and (args[0] in self.commands or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if is_other else ["show", *args])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A word that is no command is a file."""
        if args and args[0] not in self.commands:
            return "show", self.commands["show"], args
        return super().resolve_command(ctx, args)


@click.group("bundle", cls=_ShownByDefault)
def bundle_command() -> None:
    """Check, show and share bundles; without another word, show: duoscan bundle FILE."""


@bundle_command.command("pull")
@click.argument("place", metavar="hf:OWNER/NAME[@COMMIT]")
@click.option("--out", required=True, type=OUT_FILE, help="Where to write the bundle.")
def pull_command(place: str, *, out: Path) -> None:
    """Fetch a bundle from the Hugging Face hub, check it, and say of which commit it is."""
    found = fetch(_place(place))
    bundle = read_bundle(found.path)
    check_graph(bundle.graph, found.path)
    finder_of(bundle)  # loading checks it
    write_bytes(out, read_bytes(found.path, limit=found.path.stat().st_size), private=False)
    echo(f"{out}: {bundle.info.name}, {bundle.info.modality.spoken}, graph {bundle.digest[:12]}, commit {found.commit}")


@bundle_command.command("push")
@click.argument("target", type=click.Path(exists=True, path_type=Path))
@click.argument("place", metavar="hf:OWNER/NAME[@BRANCH]")
@click.option(
    "--card",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Card to store with it, as 'duoscan card' drafts; if left out, what the bundle says of itself.",
)
@click.option("--public", is_flag=True, help="Let everybody see a repository that is made here.")
def push_command(target: Path, place: str, *, card: Path | None, public: bool) -> None:
    """Store the bundle of a run, with card and hash, on the Hugging Face hub.

    Sign in first: 'hf auth login', or HF_TOKEN. The bundle tells the recipe, sources and counts of its training; look
    at 'duoscan bundle --json' before others can.
    """
    from duoscan.report.cards.bundle import bundle_card

    bundle = read_bundle(target)
    text = bundle_card(bundle) if card is None else read_bytes(card).decode("utf-8")
    where = _place(place)
    commit = push(bundle, where, text, is_private=not public)
    echo(f"{where}: {bundle.info.name} stored; name it hf:{where.repository}@{commit}")


def _place(text: str) -> Place:
    place = Place.named(text)
    if place is None:
        raise click.UsageError(f"'{text}' is no place on a hub; write hf:owner/name, or hf:owner/name@commit")
    return place


@bundle_command.command("show")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print all that the bundle says of itself.")
def show_command(files: tuple[Path, ...], *, as_json: bool) -> None:
    """Check bundles and show what they are; the shipped ones if none is named."""
    for path in files or [shipped_path(modality) for modality in Modality]:
        bundle = named_bundle(path)
        info = bundle.info
        check_graph(bundle.graph, path)
        finder_of(bundle)  # loading checks it
        if as_json:
            echo(info.model_dump_json(indent=1))
            continue
        points = ", ".join(f"{name} {value:.3f}" for name, value in info.operating_points.items())
        echo(
            f"{path}: sound\n"
            f"  {info.name}, {info.modality.spoken}, classes {', '.join(info.classes)}\n"
            f"  input {info.contract.height}×{info.contract.width}, graph {info.graph_sha256[:12]}{_shown(info)}\n"
            f"  operating points {points}\n"
            f"{_flattered(info.provenance.metrics.get('operating_points', {}))}"
            f"  in use: {info.default_point}, for studies {info.study_point or info.default_point}\n"
            f"  images of a study joined by {info.aggregation or DEFAULTS[info.modality].name}, "
            f"study calibrated by {info.study_calibration.kind if info.study_calibration else 'nothing'}\n"
            f"  two-phase policy: {parse_policy(info.policy, str(path)).name if info.policy else 'none stored'}\n"
            f"  trained on {_summary(info.provenance.data_summary)}\n"
            f"  licences: {'; '.join(info.provenance.licences) or 'not stated'}"
        )
        if info.site is not None:
            show_site(info.site)


def _flattered(rates: dict[str, dict[str, list[float]]]) -> str:
    """How each chosen point did on the validation rows it was chosen on, and on those left out of the choice."""
    lines = []
    for name, of in rates.items():
        said = [f"{rate} {own:.3f}, on patients left out of it {other:.3f}" for rate, (own, other) in of.items()]
        lines.append(f"  {name}, chosen on validation: {'; '.join(said)}\n" if said else "")
    return "".join(lines)


def _summary(table: dict[str, dict[str, int]]) -> str:
    return ", ".join(f"{key} {counts['images']}" for key, counts in table.items()) or "unknown data"


def _shown(info: BundleInfo) -> str:
    if info.finder_sha256 is None:
        return ", shown the whole image"
    return f", shown the lungs alone (view '{info.contract.lungs}', lung finder {info.finder_sha256[:12]})"
