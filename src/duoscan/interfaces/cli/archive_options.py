"""Options of every command that speaks to an archive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from duoscan.archives.credentials import VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable

_EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)


def access_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Credentials and certificates; :func:`~duoscan.archives.credentials.read_access` reads them."""
    for option in (
        click.option("--certificate-key", type=_EXISTING, help="Private key of --certificate."),
        click.option("--certificate", type=_EXISTING, help="Our own certificate, where the archive asks for one."),
        click.option("--ca-file", type=_EXISTING, help="Certificates to trust; DICOMweb: the system's if left out."),
        click.option(
            "--auth-file",
            type=_EXISTING,
            help=f"DICOMweb: a line 'basic USER:PASSWORD' or 'bearer TOKEN'; the variable {VARIABLE} if left out.",
        ),
    ):
        command = option(command)
    return command
