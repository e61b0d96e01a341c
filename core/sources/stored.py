"""Images in stores (S3, Google Cloud, Azure, ...) and wherever else fsspec reads, named by their URL in a manifest.

Only manifests may name them, and only these protocols: a store is read with the credentials of this process, and
others of fsspec reach any host, private ones too. An http(s) address is fetched as everywhere, see `fetch.py`.
"""

from __future__ import annotations

from functools import cache
from typing import IO, Any
from urllib.parse import urlsplit

from consilience.core.errors import DatasetError, FetchError, ImageError, MissingExtraError, import_extra
from consilience.core.images import ImageSource

STORES = ("abfs", "abfss", "az", "file", "gcs", "gs", "memory", "s3", "s3a")


def protocol_of(name: str) -> str:
    """Return the protocol of an address in small letters; '' of a path.

    >>> protocol_of("s3://bucket/leaf.jpg"), protocol_of("leaf.jpg")
    ('s3', '')
    """
    protocol, mark, _ = name.partition("://")
    return protocol.lower() if mark else ""


def check_address(name: str) -> None:
    """Refuse an address that no image can be read from.

    Raises:
        DatasetError: an unknown protocol, or a password in the address of a store.
        MissingExtraError: the package for its store is not installed.
    """
    protocol = protocol_of(name)
    if protocol in ("", "http", "https"):
        return
    if protocol not in STORES:
        raise DatasetError(f"no image is read from {protocol}://; use http, https, {', '.join(STORES)}, or a path")
    if "@" in urlsplit(name).netloc and protocol not in ("abfs", "abfss"):  # there it is container@account
        raise DatasetError(f"an address in {protocol}:// holds a user name or password; set it in the environment")
    _opener(protocol)


def shown_address(name: str) -> str:
    """Return an address as it may be written down: without user name, password, query and fragment."""
    protocol = protocol_of(name)
    if protocol in STORES:
        return name.partition("?")[0]
    from consilience.core.fetch import without_secrets

    try:
        return without_secrets(name)
    except FetchError:  # nothing of it is safe to show
        return f"{protocol}://(no usable address)"


def openable(name: str) -> ImageSource:
    """Return what `load_image` takes for an image's path or address."""
    return Stored(name) if protocol_of(name) in STORES else name


class Stored:
    """A file in a store, opened when it is first read."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._file: IO[bytes] | None = None

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; none at the end.

        Raises:
            ImageError: it cannot be read. MissingExtraError: the package for its store is not installed.
        """
        opener = _opener(protocol_of(self.name))
        try:
            if self._file is None:  # not by fsspec.open, which follows '::' to other protocols
                store, path = opener(**opener._get_kwargs_from_urls(self.name)), opener._strip_protocol(self.name)
                if store.info(path)["type"] != "file":  # opening a pipe or a device could block, or never end
                    raise ImageError(f"'{self.name}' is no file; name one image file")
                self._file = store.open(path, "rb")
            if not (data := self._file.read(size)):
                self._file.close()
        except ImageError:
            raise
        except FileNotFoundError as cause:
            raise ImageError(f"there is no '{self.name}'; check the address") from cause
        except Exception as cause:  # the packages of the stores raise errors of their own, some with whole requests
            raise ImageError(
                f"'{self.name}' cannot be read ({type(cause).__name__}); check the address and what the environment "
                "says of the store"
            ) from cause
        return data


@cache
def _opener(protocol: str) -> Any:
    """Return the class of fsspec that knows the protocol."""
    fsspec = import_extra("fsspec", "stores")
    try:
        return fsspec.get_filesystem_class(protocol)
    except ImportError as cause:
        raise MissingExtraError(
            f"{protocol}:// needs a package that is not installed: {cause} (with pip install)"
        ) from cause
