"""Container images in a certificate: the extension with which Dapr's development branch names a workload's images.

No release of Dapr up to 1.18.3 issues or reads it; see `--image-extension`.
"""

import dataclasses
import json

from sentry_trio.ca.asn1 import Tag, encode
from sentry_trio.ca.compose import extension

OID = "1.3.6.1.4.1.57683.100.1"

# Go's encoding/json escapes these, so that JSON may stand within HTML and JavaScript.
_ESCAPES = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})


@dataclasses.dataclass(frozen=True, slots=True)
class ContainerImage:
    """One container of a workload.

    Attributes:
        role: `daprd` or `app`.
        container_name: its name in the pod.
        image: the image's reference.
        digest: the image's digest; empty when it is not known, and then left out.
    """

    role: str
    container_name: str
    image: str
    digest: str = ""


def images_extension(images: tuple[ContainerImage, ...]) -> bytes:
    """Encode images as Dapr's development branch does: an OCTET STRING that holds compact JSON.

    Raises:
        ValueError: a text has a lone surrogate, which UTF-8 cannot carry.
    """
    document = json.dumps([_fields(image) for image in images], ensure_ascii=False, separators=(",", ":"))
    content = document.translate(_ESCAPES).encode()
    return extension(OID, encode(Tag.OCTET_STRING, content))


def _fields(image: ContainerImage) -> dict[str, str]:
    fields = {"role": image.role, "containerName": image.container_name, "image": image.image}
    return fields | {"digest": image.digest} if image.digest else fields
