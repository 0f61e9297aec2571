"""Valid and invalid certificates for servers on loopback, and the authority that signs them."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from secrets import token_hex

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Signed:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def served(self, folder: Path) -> ssl.SSLContext:
        """A context for a server. Needs `folder`, as Python loads certificates only from files."""
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file = folder / "served.pem"
        file.write_bytes(key + self.certificate.public_bytes(Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


class Authority:
    """Signs certificates. Clients that use `trusted` accept them."""

    def __init__(self) -> None:
        self._own = _signed(f"authority-{token_hex(4)}", signer=None, is_authority=True)

    @property
    def pem(self) -> bytes:
        """The certificate that clients must trust."""
        return self._own.certificate.public_bytes(Encoding.PEM)

    @property
    def trusted(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.pem.decode())
        return context

    def sign(
        self, host: str = "127.0.0.1", *, begins_in: timedelta = timedelta(hours=-1)
    ) -> Signed:
        """A certificate that is valid for twelve hours."""
        return _signed(host, signer=self._own, begins_in=begins_in)


def self_signed() -> Signed:
    return _signed("127.0.0.1", signer=None)


def _signed(
    name: str,
    *,
    signer: Signed | None,
    begins_in: timedelta = timedelta(hours=-1),
    is_authority: bool = False,
) -> Signed:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begins = datetime.now(UTC) + begins_in
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.certificate.subject if signer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + DAY / 2)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(_alternative(name), critical=False)
    )
    return Signed(builder.sign(signer.key if signer else key, SHA256()), key)


def _alternative(host: str) -> x509.SubjectAlternativeName:
    try:
        return x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))])
    except ValueError:
        return x509.SubjectAlternativeName([x509.DNSName(host)])
