"""TLS for DICOM connections (PS3.15 B.9 and B.10, BCP 195: TLS 1.2 or later, both sides show a certificate)."""

from __future__ import annotations

import ssl
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from duoscan.errors import InputError


class Tls(BaseModel):
    """Certificates of one side, PEM files.

    Attributes:
        certificate: Own certificate, with the chain.
        key: Its private key.
        ca: Whose certificates are believed; the other side must show one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    certificate: Path
    key: Path
    ca: Path

    def server_context(self) -> ssl.SSLContext:
        """For a listener: a peer without a certificate of the CA is turned away in the handshake.

        Raises:
            InputError: A file is missing or holds no certificate.
        """
        return self._loaded(ssl.PROTOCOL_TLS_SERVER)

    def client_context(self) -> ssl.SSLContext:
        """For a caller: the listener's certificate must be of the CA and name the host that was called.

        Raises:
            InputError: A file is missing or holds no certificate.
        """
        return self._loaded(ssl.PROTOCOL_TLS_CLIENT)

    def _loaded(self, side: int) -> ssl.SSLContext:
        context = ssl.SSLContext(side)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_cert_chain(self.certificate, self.key)
            context.load_verify_locations(self.ca)
        except OSError as error:  # ssl.SSLError too
            raise InputError(
                f"TLS files {self.certificate}, {self.key}, {self.ca}: cannot be used "
                f"({error.strerror or type(error).__name__}); give PEM files that belong together"
            ) from error
        return context
