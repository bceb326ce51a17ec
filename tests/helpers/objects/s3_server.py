"""An S3 server on loopback (moto's), in a process of its own."""

import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyarrow import fs

from tests.browser.visit import free_port, serving

KEYS = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"}
BUCKET = "selfrepair"


@contextmanager
def s3_server() -> Iterator[str]:
    """The end of an address in it, from `?` on: s3://selfrepair/<prefix> and that is a store.

    Sets the keys in the environment, which it takes whatever they are. No process may open S3 and
    then be forked.
    """
    os.environ |= KEYS
    port = free_port()
    command = ["-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    with serving(command, Path(), f"http://127.0.0.1:{port}/moto-api/"):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT")
        urllib.request.urlopen(request, timeout=60).close()
        yield f"?endpoint_override=127.0.0.1%3A{port}&scheme=http&region=us-east-1"


def objects(options: str, prefix: str) -> dict[str, int]:
    """The objects below a prefix, with their sizes."""
    files, base = fs.FileSystem.from_uri(f"s3://{BUCKET}/{prefix}{options}")
    selector = fs.FileSelector(base, allow_not_found=True, recursive=True)
    return {
        info.path.removeprefix(f"{base}/"): info.size
        for info in files.get_file_info(selector)
        if info.type == fs.FileType.File
    }
