"""Names of files as people and file systems have them."""
import os


def home(path: str) -> str:
    """Replaces a leading ~ by the home folder, which no shell did for gin."""
    return os.path.expanduser(path) if path else path


def cache() -> str:
    """The folder for what is fetched once: $TFVIT_CACHE, or ~/.cache/tfvit."""
    return home(os.environ.get("TFVIT_CACHE") or "~/.cache/tfvit")


def encoded(path: str) -> bytes:
    """The bytes of a name, which need not be UTF-8, for TensorFlow."""
    return path.encode("utf-8", "surrogateescape")


def shown(path: str | bytes) -> str:
    """A name as text that can be printed, whatever its bytes are."""
    if isinstance(path, str):
        path = encoded(path)
    return path.decode("utf-8", "replace")


def is_local(path: str) -> bool:
    return "://" not in path


def identity(path: str) -> str:
    """The same for all spellings of a path, such as b/a.jpg and ./b/a.jpg.

    Links are not looked up: that would cost a request for each part of it.
    """
    if is_local(path):
        return os.path.abspath(path)
    scheme, _, rest = path.partition("://")
    return f"{scheme}://{os.path.normpath(rest)}"
