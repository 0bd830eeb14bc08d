"""Options of every command that speaks to an archive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from duoscan.interfaces.dicom.archives import Access
from duoscan.interfaces.dicom.credentials import VARIABLE, read_authorization

if TYPE_CHECKING:
    from collections.abc import Callable

_EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)


def access_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Credentials and certificates; :func:`access_of` reads them."""
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


def access_of(
    auth_file: Path | None, ca_file: Path | None, certificate: Path | None, certificate_key: Path | None
) -> Access:
    """How the options let us in.

    Raises:
        InputError: There are no credentials in the file or the environment variable, others can read the file, or a
            certificate comes without its key.
    """
    return Access(read_authorization(auth_file), ca_file, certificate, certificate_key)
