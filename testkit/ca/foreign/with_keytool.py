"""Makes `keytool.pem`: certificates and requests of Java's keytool."""

import itertools
import subprocess
import tempfile
from pathlib import Path

from . import write

_STORE = ("-keystore", "store", "-storepass", "changeit", "-storetype", "PKCS12")
_CA = ("-ext", "bc:c=ca:true", "-ext", "ku:c=keyCertSign,cRLSign")
_EC = ("-keyalg", "EC", "-groupname", "secp256r1")
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "ec": ("CN=Foreign", (*_EC, *_CA)),
    "defaults for rsa": ("CN=Foreign", ("-keyalg", "RSA")),
    "rsa 1024 sha1": ("CN=Foreign", ("-keyalg", "RSA", "-keysize", "1024", "-sigalg", "SHA1withRSA", *_CA)),
    "rsa pss": ("CN=Foreign", ("-keyalg", "RSA", "-keysize", "2048", "-sigalg", "RSASSA-PSS", *_CA)),
    "rsa pss key": ("CN=Foreign", ("-keyalg", "RSASSA-PSS", "-keysize", "2048", "-sigalg", "RSASSA-PSS", *_CA)),
    "dsa": ("CN=Foreign", ("-keyalg", "DSA", "-keysize", "2048", *_CA)),
    "p384": ("CN=Foreign", ("-keyalg", "EC", "-groupname", "secp384r1", *_CA)),
    "p521": ("CN=Foreign", ("-keyalg", "EC", "-groupname", "secp521r1", *_CA)),
    "ed25519": ("CN=Foreign", ("-keyalg", "Ed25519", *_CA)),
    "ed448": ("CN=Foreign", ("-keyalg", "Ed448", *_CA)),
    "many attributes": ("CN=Duke, OU=Java, O=Sun & Co, L=Zürich, ST=ZH, C=CH", (*_EC, *_CA)),
    "email": ("EMAILADDRESS=a@b.example, CN=Duke", (*_EC, *_CA)),
    "multi-valued": ("CN=a+OU=b, O=c", (*_EC, *_CA)),
    "not critical": ("CN=Foreign", (*_EC, "-ext", "bc=ca:true", "-ext", "ku=keyCertSign")),
    "path length": ("CN=Foreign", (*_EC, "-ext", "bc:c=ca:true,pathlen:2", "-ext", "ku:c=keyCertSign")),
    "no ca": ("CN=Foreign", (*_EC, "-ext", "bc:c=ca:false")),
    "critical written out": ("CN=Foreign", (*_EC, *_CA, "-ext", "1.2.3.4:nc=0500")),
    "san": (
        "CN=Foreign",
        (*_EC, *_CA, "-ext", "san=dns:a.example,uri:spiffe://td/x,ip:192.0.2.1,email:a@b.example,oid:1.2.3"),
    ),
    "ian": ("CN=Foreign", (*_EC, *_CA, "-ext", "ian=uri:http://a.example/,dns:b.example")),
    "eku": ("CN=Foreign", (*_EC, *_CA, "-ext", "eku=serverAuth,clientAuth")),
    "aia and sia": (
        "CN=Foreign",
        (
            *_EC,
            *_CA,
            "-ext",
            "aia=ocsp:uri:http://o/,caIssuers:uri:http://c/",
            "-ext",
            "sia=timeStamping:uri:http://t/",
        ),
    ),
    "crl": ("CN=Foreign", (*_EC, *_CA, "-ext", "crl=uri:http://crl.example/")),
    "past": ("CN=Foreign", (*_EC, *_CA, "-startdate", "2020/01/01 00:00:00")),
    "after 2050": ("CN=Foreign", (*_EC, *_CA, "-startdate", "2051/01/01 00:00:00")),
}


def make(directory: Path) -> dict[str, str]:
    """Returns all cases."""

    def keytool(*arguments: str) -> str:
        done = subprocess.run(
            ["keytool", *arguments, *_STORE], capture_output=True, text=True, cwd=directory, check=True
        )
        return done.stdout

    cases = {}
    for number, (name, (subject, options)) in enumerate(CASES.items()):
        alias = ("-alias", str(number))
        keytool("-genkeypair", *alias, "-dname", subject, "-validity", "8400", *options)
        cases[name] = keytool("-exportcert", "-rfc", *alias)
        extended = [each for pair in itertools.pairwise(options) if pair[0] == "-ext" for each in pair]
        cases[f"request {name}"] = keytool("-certreq", *alias, *extended).replace("NEW CERTIFICATE", "CERTIFICATE")
    return cases


def main() -> None:
    """Writes the file."""
    with tempfile.TemporaryDirectory() as directory:
        write("keytool", make(Path(directory)))


if __name__ == "__main__":
    main()
