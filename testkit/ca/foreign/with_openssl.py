"""Makes `openssl.pem`: certificates and requests with many of OpenSSL's options.

Fields that no option writes are written as ASN.1 with `openssl asn1parse -genconf`, and signed with `openssl dgst`.
"""

import base64
import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from . import DATA, write

STRINGS = {"t61": 0x4, "bmp": 0x800, "universal": 0x100, "utf8": 0x2000, "printable": 0x2, "ia5": 0x10, "numeric": 0x1}
KEYS = {
    **{f"rsa {bits}": f"genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:{bits}" for bits in (512, 1024, 2048, 4096)},
    "rsa exponent 3": "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:3",
    "rsa-pss key": "genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048",
    "rsa-pss key bound to sha256": "genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 "
    "-pkeyopt rsa_pss_keygen_md:sha256 -pkeyopt rsa_pss_keygen_mgf1_md:sha256 -pkeyopt rsa_pss_keygen_saltlen:32",
    **{
        f"ec {curve}": f"genpkey -algorithm EC -pkeyopt ec_paramgen_curve:{curve} -pkeyopt ec_param_enc:named_curve"
        for curve in (
            *("prime192v1", "secp224r1", "prime256v1", "secp384r1", "secp521r1", "secp256k1"),
            *("brainpoolP256r1", "brainpoolP384r1", "sect283r1", "SM2"),
        )
    },
    "ec explicit parameters": "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit",
    "ed25519": "genpkey -algorithm ED25519",
    "ed448": "genpkey -algorithm ED448",
    "dsa": "",
}
CA = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign")
# Values of extensions, each beside those of a CA; some replace one of these.
EXTENSIONS = {
    "crl distribution point": ["crlDistributionPoints=URI:http://crl.example/a.crl"],
    "crl distribution point with a directory name": [
        (
            "crlDistributionPoints=crldp\n[crldp]\nfullname=dirName:dn\nCRLissuer=dirName:dn\n"
            "reasons=keyCompromise\n[dn]\nCN=x"
        ),
    ],
    "crl distribution point relative": ["crlDistributionPoints=crldp\n[crldp]\nrelativename=dn\n[dn]\nCN=x"],
    "freshest crl": ["freshestCRL=URI:http://crl.example/d.crl"],
    "issuing distribution point": [
        "issuingDistributionPoint=critical,idp\n[idp]\nfullname=URI:http://crl.example/\nonlyCA=TRUE"
    ],
    "aia": ["authorityInfoAccess=OCSP;URI:http://ocsp.example/,caIssuers;URI:http://ca.example/ca.crt"],
    "aia with a directory name": ["authorityInfoAccess=caIssuers;dirName:dn\n[dn]\nCN=x"],
    "sia": ["subjectInfoAccess=caRepository;URI:http://ca.example/"],
    "policies": ["certificatePolicies=1.2.3.4,anyPolicy"],
    "policies with qualifiers": [
        (
            "certificatePolicies=ia5org,@pol\n[pol]\npolicyIdentifier=1.3.5.8\nCPS.1=http://cps.example/\n"
            "userNotice.1=@note\n[note]\nexplicitText=UTF8:Grüße\norganization=Org\nnoticeNumbers=1,2"
        ),
    ],
    "policy twice": ["certificatePolicies=1.2.3.4,1.2.3.4"],
    "policy with a large arc": ["certificatePolicies=1.2.840.4294967296.1"],
    "policy constraints": ["policyConstraints=critical,requireExplicitPolicy:3,inhibitPolicyMapping:0"],
    "policy mappings": ["policyMappings=1.2.3:1.2.4"],
    "inhibit any policy": ["inhibitAnyPolicy=critical,2"],
    "ian": ["issuerAltName=email:a@b.example,URI:http://issuer.example/"],
    "ian critical": ["issuerAltName=critical,DNS:a.example"],
    "tls feature": ["tlsfeature=status_request"],
    "tls feature 23": ["tlsfeature=23"],
    "tls feature critical": ["tlsfeature=critical,status_request,status_request_v2"],
    "ocsp no check": ["noCheck=ignored"],
    "smime capabilities": [
        "1.2.840.113549.1.9.15=ASN1:SEQUENCE:cap\n[cap]\na=SEQUENCE:one\n[one]\no=OID:2.16.840.1.101.3.4.1.42"
    ],
    "netscape": ["nsCertType=sslCA,emailCA\nnsComment=made by a test\nnsBaseUrl=http://ns.example/"],
    "netscape critical": ["nsCertType=critical,sslCA"],
    "subject directory attributes": ["2.5.29.9=DER:3000"],
    "private key usage period": ["2.5.29.16=DER:3011800f32303236303130313030303030305a"],
    "certificate template (microsoft)": ["1.3.6.1.4.1.311.20.2=ASN1:BMPSTRING:SubCA"],
    "ca version (microsoft)": ["1.3.6.1.4.1.311.21.1=DER:020100"],
    "certificate template v2 (microsoft)": [
        "1.3.6.1.4.1.311.21.7=ASN1:SEQUENCE:t\n[t]\no=OID:1.3.6.1.4.1.311.21.8.1.2\na=INTEGER:100\nb=INTEGER:5"
    ],
    "sct list": ["1.3.6.1.4.1.11129.2.4.2=DER:04020000"],
    "ct poison": ["1.3.6.1.4.1.11129.2.4.3=critical,DER:0500"],
    "unknown extension": ["1.2.3.4.5=DER:dead"],
    "unknown critical extension": ["1.2.3.4.5=critical,DER:dead"],
    "san dns": ["subjectAltName=DNS:a.example,DNS:*.b.example"],
    "san uri": ["subjectAltName=URI:spiffe://td.example/ns/a/b"],
    "san uri with a space": ["subjectAltName=URI:http://a b/"],
    "san uri without scheme": ["subjectAltName=URI:a.example/x"],
    "san uri with a bad port": ["subjectAltName=URI:http://a.example:port/"],
    "san uri with a bad escape": ["subjectAltName=URI:spiffe://td/%zz"],
    "san uri ipv6": ["subjectAltName=URI:https://[2001:db8::1]:443/"],
    "san uri ipv6 zone": ["subjectAltName=URI:https://[fe80::1%25eth0]/"],
    "san uri unbalanced bracket": ["subjectAltName=URI:https://[::1/"],
    "san uri urn": ["subjectAltName=URI:urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"],
    "san uri mailto": ["subjectAltName=URI:mailto:a@b.example"],
    "san uri trailing dots": ["subjectAltName=URI:https://a.example./"],
    "san uri underscore": ["subjectAltName=URI:spiffe://a_b/"],
    "san ip": ["subjectAltName=IP:192.0.2.1,IP:2001:db8::1"],
    "san email": ["subjectAltName=email:a@b.example"],
    "san email without at": ["subjectAltName=email:nobody"],
    "san rid": ["subjectAltName=RID:1.2.3.4"],
    "san directory name": ["subjectAltName=dirName:dn\n[dn]\nCN=x"],
    "san other name": ["subjectAltName=otherName:1.3.6.1.4.1.311.20.2.3;UTF8:a@b.example"],
    "san critical": ["subjectAltName=critical,DNS:a.example"],
    "san only directory name critical": ["subjectAltName=critical,dirName:dn\n[dn]\nCN=x"],
    "san underscore": ["subjectAltName=DNS:_a.b_c.example"],
    "san dns latin-1": ["subjectAltName=DER:30038201e4"],
    "san empty": ["subjectAltName=DER:3000"],
    "san ip of 5 octets": ["subjectAltName=DER:300787050102030405"],
    "san ip of 8 octets": ["subjectAltName=DER:300a87080102030405060708"],
    "eku any": ["extendedKeyUsage=anyExtendedKeyUsage"],
    "eku serverAuth": ["extendedKeyUsage=serverAuth,clientAuth"],
    "eku clientAuth only": ["extendedKeyUsage=clientAuth"],
    "eku critical code signing": ["extendedKeyUsage=critical,codeSigning"],
    "eku microsoft": ["extendedKeyUsage=msSGC,nsSGC,1.3.6.1.4.1.311.10.3.4,1.2.3.4"],
    "eku empty": ["extendedKeyUsage=DER:3000"],
    "key identifiers": ["subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid:always,issuer:always"],
    "ski critical": ["subjectKeyIdentifier=critical,hash"],
    "ski empty": ["subjectKeyIdentifier=DER:0400"],
    "ski of 32 octets": [f"subjectKeyIdentifier={'ab' * 32}"],
    "aki critical": ["subjectKeyIdentifier=hash\nauthorityKeyIdentifier=critical,keyid:always"],
    "aki empty": ["authorityKeyIdentifier=DER:3000"],
    "extension twice": ["1.2.3.4.5=DER:01\n1.2.3.4.5=DER:02"],
}
CONSTRAINTS = {
    "dns": "permitted;DNS:svc,permitted;DNS:.example,excluded;DNS:bad.example",
    "dns bad": "permitted;DNS:a..b",
    "dns wildcard": "permitted;DNS:*.example",
    "dns trailing dot": "permitted;DNS:example.",
    "uri": "permitted;URI:.example,permitted;URI:cluster.local",
    "uri with scheme": "permitted;URI:spiffe://cluster.local",
    "uri with a port": "permitted;URI:cluster.local:80",
    "uri of an address": "permitted;URI:192.0.2.1",
    "ip": "permitted;IP:192.0.2.0/255.255.255.0,excluded;IP:2001:db8::/ffff:ffff::",
    "ip with a torn mask": "permitted;IP:192.0.2.0/255.0.255.0",
    "email": "permitted;email:example.org,excluded;email:.b.example,permitted;email:a@c.example",
    "email bad": "permitted;email:a@b@c",
    "directory name": "permitted;dirName:dn",
    "registered id": "excluded;RID:1.2.3",
    "not critical": "-permitted;DNS:svc",
    "empty": "DER:3000",
    "empty subtrees": "DER:3002a000",
    "minimum 0": "DER:300da00b30098204612e6263800100",
    "minimum 1": "DER:300da00b30098204612e6263800101",
    "maximum": "DER:300da00b30098204612e6263810105",
}
BASIC = {
    "basic constraints absent": ["keyUsage=critical,keyCertSign"],
    "basic constraints not critical": ["basicConstraints=CA:TRUE", "keyUsage=keyCertSign"],
    "basic constraints false": ["basicConstraints=critical,CA:FALSE", "keyUsage=digitalSignature"],
    "basic constraints written-out false": ["basicConstraints=critical,DER:3003010100", "keyUsage=digitalSignature"],
    "basic constraints true as 01": ["basicConstraints=critical,DER:3003010101"],
    "basic constraints trailing bytes": ["basicConstraints=critical,DER:30030101ff00"],
    "path length 0": ["basicConstraints=critical,CA:TRUE,pathlen:0", "keyUsage=keyCertSign"],
    "path length 127": ["basicConstraints=critical,CA:TRUE,pathlen:127", "keyUsage=keyCertSign"],
    "path length large": ["basicConstraints=critical,DER:30090101ff02047fffffff", "keyUsage=keyCertSign"],
    "path length too large": ["basicConstraints=critical,DER:300e0101ff020900ffffffffffffffff"],
    "path length negative": ["basicConstraints=critical,DER:30060101ff0201ff", "keyUsage=keyCertSign"],
    "path length without ca": ["basicConstraints=critical,DER:3003020101", "keyUsage=keyCertSign"],
    "key usage absent": ["basicConstraints=critical,CA:TRUE"],
    "key usage all": [
        "basicConstraints=critical,CA:TRUE",
        (
            "keyUsage=digitalSignature,nonRepudiation,keyEncipherment,dataEncipherment,keyAgreement,keyCertSign,cRLSign,"
            "encipherOnly,decipherOnly"
        ),
    ],
    "key usage without keyCertSign": ["basicConstraints=critical,CA:TRUE", "keyUsage=cRLSign"],
    "key usage with trailing zeros": ["basicConstraints=critical,CA:TRUE", "keyUsage=DER:0303000600"],
    "key usage empty": ["basicConstraints=critical,CA:TRUE", "keyUsage=DER:030100"],
    "no extensions": [],
}
NAMES = {
    "multi-valued rdn": "/CN=a+O=b+OU=c/C=DE",
    "email in subject": "/CN=a/emailAddress=a@b.example",
    "domain components": "/DC=example/DC=corp/CN=a",
    "many attributes": "/C=DE/ST=Bayern/L=M/street=S/O=O/OU=U/CN=a/serialNumber=1/GN=g/SN=s/title=t/UID=u/pseudonym=p",
    "empty name": "/",
    "empty common name": "/CN=",
    "long common name": "/CN=" + "a" * 64,
    "escapes": r"/CN=a\/b,c\+d=e;<f>",
    "unknown attribute": "/1.2.3.4=x/CN=a",
    "country of one letter": "/CN=a/jurisdictionC=DE",
}
ALGORITHMS = {
    "rsa md5": ("rsa 2048", "-md5"),
    "rsa sha1": ("rsa 2048", "-sha1"),
    "rsa sha224": ("rsa 2048", "-sha224"),
    "rsa sha384": ("rsa 2048", "-sha384"),
    "rsa sha512": ("rsa 2048", "-sha512"),
    "rsa sha3-256": ("rsa 2048", "-sha3-256"),
    "ecdsa sha1": ("ec prime256v1", "-sha1"),
    "ecdsa sha224": ("ec prime256v1", "-sha224"),
    "ecdsa p256 with sha512": ("ec prime256v1", "-sha512"),
    "ecdsa p521 with sha256": ("ec secp521r1", "-sha256"),
    "pss sha256 salt 32": ("rsa 2048", "-sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32"),
    "pss sha256 salt max": ("rsa 2048", "-sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:-2"),
    "pss sha384 salt 48": ("rsa 2048", "-sha384 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:48"),
    "pss sha512 salt 64": ("rsa 2048", "-sha512 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:64"),
    "pss sha1": ("rsa 2048", "-sha1 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:20"),
    "pss other mgf": (
        "rsa 2048",
        "-sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 -sigopt rsa_mgf1_md:sha1",
    ),
}
SERIALS = {
    "serial 0": "0",
    "serial negative": "-5",
    "serial of 20 octets": "0x7f" + "ab" * 19,
    "serial of 20 octets with the first bit": "0xff" + "ab" * 19,
    "serial of 33 octets": "0x01" + "cd" * 32,
}
REQUESTS = {
    "plain": "",
    "san": "req_extensions=e\n[e]\nsubjectAltName=DNS:a.example,URI:spiffe://td/x",
    "san with a bad uri": "req_extensions=e\n[e]\nsubjectAltName=URI:http://a b/",
    "challenge password": "attributes=a\n[a]\nchallengePassword=secret",
    "unstructured name": "attributes=a\n[a]\nunstructuredName=some name\nchallengePassword=secret",
    "extensions and password": "attributes=a\nreq_extensions=e\n[a]\nchallengePassword=pw\n[e]\nkeyUsage=keyCertSign",
    "tls feature": "req_extensions=e\n[e]\ntlsfeature=status_request",
    "unknown critical extension": "req_extensions=e\n[e]\n1.2.3.4=critical,DER:00",
    "same extension twice": "req_extensions=e\n[e]\n1.2.3.4=DER:00\n1.2.3.4=DER:01",
    "microsoft": "attributes=a\n[a]\n1.3.6.1.4.1.311.13.2.3=10.0.1",
}


class OpenSSL:
    """The program, in a directory of its own.

    Args:
        directory: for keys and configurations.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def run(self, *arguments: str, stdin: bytes = b"") -> bytes:
        done = subprocess.run(
            ["openssl", *arguments], input=stdin, capture_output=True, cwd=self._directory, check=False
        )
        if done.returncode:
            raise RuntimeError(f"openssl {' '.join(arguments)}: {done.stderr.decode()}")
        return done.stdout

    def key(self, kind: str) -> str:
        path = self._directory / f"{kind}.key"
        if not path.exists():
            if kind == "dsa":
                self.run("dsaparam", "-out", "dsa.params", "2048")
                self.run("genpkey", "-paramfile", "dsa.params", "-out", path.name)
            else:
                self.run(*KEYS[kind].split(), "-out", path.name)
        return path.name

    def configuration(self, text: str) -> str:
        (self._directory / "cnf").write_text(text)
        return "cnf"

    def self_signed(
        self,
        extensions: list[str] | tuple[str, ...] = CA,
        *,
        key: str = "ec prime256v1",
        subject: str = "/CN=Foreign",
        more: str = "",
        mask: int = 0x2000,
    ) -> str:
        # A section may follow an extension, so those without one come first.
        plain = [each for each in extensions if "[" not in each]
        text = "\n".join([*plain, *(each for each in extensions if "[" in each)])
        head = f"[req]\ndistinguished_name=dn\nstring_mask=MASK:{mask}\nutf8=yes\nprompt=no\n[dn]\nCN=x\n"
        self.configuration(f"{head}[ext]\n{text}\n")
        arguments = ("-config", "cnf", *(("-extensions", "ext") if extensions else ()))
        return self.run(
            *("req", "-x509", "-new", "-key", self.key(key), "-subj", subject, "-days", "8400"),
            *(arguments if "-utf8" in more else ("-utf8", *arguments)),
            *more.split(),
        ).decode()

    def request(self, text: str, *, key: str = "ec prime256v1", more: str = "", subject: str = "app") -> str:
        name = f"\n[dn]\nCN={subject}\n"
        self.configuration(f"[req]\ndistinguished_name=dn\nprompt=no\n{text}{name}")
        return self.run("req", "-new", "-key", self.key(key), "-config", "cnf", *more.split()).decode()

    def issued(self, extensions: list[str] | tuple[str, ...], subject: str = "/CN=Issuer", more: str = "") -> str:
        """A certificate of `issuer.key`, signed by the root."""
        plain = [each for each in extensions if "[" not in each]
        text = "\n".join(["[ext]", *plain, *(each for each in extensions if "[" in each)])
        self.configuration(text + "\n")
        request = self.run("req", "-new", "-key", str(DATA / "issuer.key"), "-subj", subject)
        signer = ("-CA", str(DATA / "root.crt"), "-CAkey", str(DATA / "root.key"))
        extended = ("-extfile", "cnf", "-extensions", "ext") if extensions else ()
        return self.run(*("x509", "-req", "-days", "8300", *signer, *extended), *more.split(), stdin=request).decode()

    def der(self, text: str) -> bytes:
        """DER from the text of a configuration for `asn1parse`."""
        self.configuration(text)
        self.run("asn1parse", "-noout", "-genconf", "cnf", "-out", "made.der")
        return (self._directory / "made.der").read_bytes()

    def signed(self, tbs: bytes, algorithm: str = "a", label: str = "CERTIFICATE") -> str:
        """A certificate or request from its signed part."""
        signature = self.run("dgst", "-sha256", "-sign", self.key("ec prime256v1"), stdin=tbs)
        whole = self.der(
            f"asn1=SEQUENCE:c\n[c]\nt=FORMAT:HEX,OCT:00\n{algorithm}=SEQUENCE:alg\ns=FORMAT:HEX,BITSTR:{signature.hex()}\n"
            "[alg]\no=OID:ecdsa-with-SHA256\n"
        )
        body = whole[_head(whole) :].removeprefix(b"\x04\x01\x00")
        content = tbs + body
        pem = base64.encodebytes(b"\x30" + _length(len(content)) + content).decode()
        lines = re.sub(r"(.{64})", r"\1\n", pem.replace("\n", "")).strip()
        return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"


def _head(der: bytes) -> int:
    return 2 + (der[1] & 0x7F if der[1] & 0x80 else 0)


def _length(length: int) -> bytes:
    if length < 0x80:
        return bytes([length])
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(octets)]) + octets


# Fields of a certificate as text for asn1parse; each odd certificate changes some.
TBS = {
    "version": "EXPLICIT:0,INTEGER:2",
    "serial": "INTEGER:7",
    "algorithm": "SEQUENCE:alg",
    "issuer": "SEQUENCE:name",
    "validity": "SEQUENCE:validity",
    "subject": "SEQUENCE:name",
    "key": "",
    "extensions": "EXPLICIT:3,SEQUENCE:extensions",
}
SECTIONS = {
    "alg": "o=OID:ecdsa-with-SHA256",
    "name": "r=SET:rdn",
    "rdn": "a=SEQUENCE:cn",
    "cn": "t=OID:2.5.4.3\nv=UTF8:Foreign",
    "validity": "a=UTCTIME:260101000000Z\nb=UTCTIME:491231235959Z",
    "extensions": "e=SEQUENCE:basic",
    "basic": "o=OID:2.5.29.19\nc=BOOLEAN:TRUE\nv=OCTWRAP,SEQUENCE:ca",
    "ca": "b=BOOLEAN:TRUE",
}
ODD: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "control": ({}, {}),
    "null in the algorithm inside only": ({}, {"alg": "o=OID:ecdsa-with-SHA256\nn=NULL"}),
    "generalized time before 2050": ({}, {"validity": "a=GENTIME:20260101000000Z\nb=GENTIME:20491231235959Z"}),
    "utc time without seconds": ({}, {"validity": "a=UTCTIME:2601010000Z\nb=UTCTIME:491231235959Z"}),
    "utc time with an offset": ({}, {"validity": "a=UTCTIME:260101000000+0100\nb=UTCTIME:491231235959-0100"}),
    "generalized time with a fraction": ({}, {"validity": "a=GENTIME:20260101000000.5Z\nb=UTCTIME:491231235959Z"}),
    "year 9999": ({}, {"validity": "a=UTCTIME:260101000000Z\nb=GENTIME:99991231235959Z"}),
    "ends before it begins": ({}, {"validity": "a=UTCTIME:300101000000Z\nb=UTCTIME:260101000000Z"}),
    "already expired": ({}, {"validity": "a=UTCTIME:200101000000Z\nb=UTCTIME:210101000000Z"}),
    "not yet valid": ({}, {"validity": "a=UTCTIME:480101000000Z\nb=UTCTIME:490101000000Z"}),
    "times before 1970": ({}, {"validity": "a=UTCTIME:600101000000Z\nb=UTCTIME:491231235959Z"}),
    "version 1 with extensions": ({"version": ""}, {}),
    "version 1": ({"version": "", "extensions": ""}, {}),
    "version 1 written out": ({"version": "EXPLICIT:0,INTEGER:0", "extensions": ""}, {}),
    "version 2": ({"version": "EXPLICIT:0,INTEGER:1", "extensions": ""}, {}),
    "version 2 with unique identifiers": (
        {"version": "EXPLICIT:0,INTEGER:1", "extensions": "IMPLICIT:1,FORMAT:HEX,BITSTR:0102"},
        {},
    ),
    "version 4": ({"version": "EXPLICIT:0,INTEGER:3"}, {}),
    "version negative": ({"version": "EXPLICIT:0,INTEGER:-1"}, {}),
    "critical false written out": ({}, {"basic": "o=OID:2.5.29.19\nc=BOOLEAN:FALSE\nv=OCTWRAP,SEQUENCE:ca"}),
    "ca false written out": ({}, {"ca": "b=BOOLEAN:FALSE"}),
    "extensions empty": ({}, {"extensions": ""}),
    "ampersand in printable string": ({}, {"cn": "t=OID:2.5.4.3\nv=IMPLICIT:19U,FORMAT:HEX,OCT:4120262042"}),
    "asterisk in printable string": ({}, {"cn": "t=OID:2.5.4.3\nv=IMPLICIT:19U,FORMAT:HEX,OCT:2a2e61"}),
    "at sign in printable string": ({}, {"cn": "t=OID:2.5.4.3\nv=IMPLICIT:19U,FORMAT:HEX,OCT:614062"}),
    "underscore in printable string": ({}, {"cn": "t=OID:2.5.4.3\nv=IMPLICIT:19U,FORMAT:HEX,OCT:615f62"}),
    "latin-1 in t61 string": ({}, {"cn": "t=OID:2.5.4.3\nv=IMPLICIT:20U,FORMAT:HEX,OCT:4772fcdf65"}),
    "latin-1 in utf8 string": ({}, {"cn": "t=OID:2.5.4.3\nv=IMPLICIT:12U,FORMAT:HEX,OCT:4772fcdf65"}),
    "numeric string": ({}, {"cn": "t=OID:2.5.4.3\nv=NUMERICSTRING:12 34"}),
    "general string": ({}, {"cn": "t=OID:2.5.4.3\nv=GENSTR:abc"}),
    "visible string": ({}, {"cn": "t=OID:2.5.4.3\nv=VISIBLE:abc"}),
    "bit string as a name": ({}, {"cn": "t=OID:2.5.4.45\nv=FORMAT:HEX,BITSTR:0102"}),
    "bmp string with surrogates": ({}, {"cn": "t=OID:2.5.4.3\nv=IMPLICIT:30U,FORMAT:HEX,OCT:d83dde00"}),
    "name with an empty set": ({}, {"rdn": ""}),
    "extension critical as integer": ({}, {"basic": "o=OID:2.5.29.19\nc=INTEGER:1\nv=OCTWRAP,SEQUENCE:ca"}),
}


def odd(openssl: OpenSSL, fields: dict[str, str], sections: dict[str, str], *, key: str = "") -> str:
    """A certificate with some fields written by hand."""
    info = openssl.run("pkey", "-in", openssl.key("ec prime256v1"), "-pubout", "-outform", "DER").hex()
    tbs = {**TBS, "key": f"SEQUENCE:key{key}", **fields}
    point = info[info.index("034200") + 6 :]
    more = {
        "key": "a=SEQUENCE:keyalg\np=FORMAT:HEX,BITSTR:" + point,
        "keyalg": "o=OID:id-ecPublicKey\nc=OID:prime256v1",
        **SECTIONS,
        **sections,
    }
    text = "asn1=SEQUENCE:tbs\n[tbs]\n" + "".join(f"{name}={value}\n" for name, value in tbs.items() if value)
    return openssl.signed(openssl.der(text + "".join(f"[{name}]\n{body}\n" for name, body in more.items())))


def compressed(openssl: OpenSSL, make: Callable[[str], str]) -> str:
    """Objects with a key whose point is compressed."""
    key = openssl.key("ec prime256v1")
    openssl.run("ec", "-in", key, "-conv_form", "compressed", "-out", "compressed.key")
    return make("compressed")


def make(openssl: OpenSSL) -> dict[str, str]:
    """Returns all cases."""
    cases = {f"key {kind}": openssl.self_signed(key=kind) for kind in KEYS}
    cases["key ec compressed point"] = compressed(openssl, lambda key: openssl.self_signed(key=key))
    cases |= {f"signature {name}": openssl.self_signed(key=key, more=more) for name, (key, more) in ALGORITHMS.items()}
    for name, mask in STRINGS.items():
        subject = "/CN=12 34" if name == "numeric" else "/CN=Gr" + ("u" if name in ("printable", "ia5") else "ü")
        cases[f"name {name} string"] = openssl.self_signed(subject=subject, mask=mask)
    cases |= {
        f"name {name}": openssl.self_signed(subject=subject, more="-multivalue-rdn") for name, subject in NAMES.items()
    }
    cases |= {name: openssl.self_signed(more=f"-set_serial {serial}") for name, serial in SERIALS.items()}
    cases |= {name: openssl.self_signed(each) for name, each in BASIC.items()}
    cases |= {f"extension {name}": openssl.self_signed([*CA, *each]) for name, each in EXTENSIONS.items()}
    for name, text in CONSTRAINTS.items():
        critical = "" if text.startswith("-") else "critical,"
        value = text.removeprefix("-") + ("\n[dn]\nO=x" if "dirName" in text else "")
        cases[f"name constraints {name}"] = openssl.self_signed([*CA, f"nameConstraints={critical}{value}"])
    cases |= {f"by hand {name}": odd(openssl, fields, sections) for name, (fields, sections) in ODD.items()}
    for name in (
        "crl distribution point",
        "ian",
        "tls feature 23",
        "san directory name",
        "certificate template (microsoft)",
        "eku clientAuth only",
        "unknown critical extension",
        "san uri with a space",
    ):
        cases[f"issuer {name}"] = openssl.issued([*CA, *EXTENSIONS[name]])
    for name in ("basic constraints false", "path length 0", "key usage without keyCertSign", "no extensions"):
        cases[f"issuer {name}"] = openssl.issued(BASIC[name])
    for name in ("dns", "uri", "ip", "minimum 1", "directory name"):
        text = CONSTRAINTS[name] + ("\n[dn]\nO=x" if "dirName" in CONSTRAINTS[name] else "")
        cases[f"issuer name constraints {name}"] = openssl.issued([*CA, f"nameConstraints=critical,{text}"])
    for name, serial in SERIALS.items():
        cases[f"issuer {name}"] = openssl.issued(CA, more=f"-set_serial {serial}")
    cases |= {f"request {name}": openssl.request(text) for name, text in REQUESTS.items()}
    cases |= {
        f"request key {kind}": openssl.request("", key=kind) for kind in KEYS if kind not in ("rsa 4096", "rsa 512")
    }
    cases["request key ec compressed point"] = compressed(openssl, lambda key: openssl.request("", key=key))
    cases |= {
        f"request signature {name}": openssl.request("", key=key, more=more) for name, (key, more) in ALGORITHMS.items()
    }
    cases["request label NEW"] = openssl.request("", more="-newhdr").replace("NEW CERTIFICATE", "CERTIFICATE")
    cases["request empty subject"] = openssl.request("", more="-subj /")
    return cases


def main() -> None:
    """Writes the file, and before it the root and the keys if there are none."""
    with tempfile.TemporaryDirectory() as directory:
        openssl = OpenSSL(Path(directory))
        if not (DATA / "root.crt").exists():
            for name in ("root", "issuer"):
                openssl.run(*KEYS["ec prime256v1"].split(), "-out", str(DATA / f"{name}.key"))
            (openssl._directory / "root.key").write_bytes((DATA / "root.key").read_bytes())
            openssl.configuration(
                "[req]\ndistinguished_name=dn\n[dn]\n[ext]\n" + "\n".join((*CA, "subjectKeyIdentifier=hash"))
            )
            arguments = (
                "-key",
                "root.key",
                "-subj",
                "/CN=Root",
                "-days",
                "8400",
                "-config",
                "cnf",
                "-extensions",
                "ext",
            )
            openssl.run("req", "-x509", "-new", *arguments, "-out", str(DATA / "root.crt"))
        write("openssl", make(openssl))


if __name__ == "__main__":
    main()
