"""An object store on this machine for tests: moto's S3 server."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen

import pytest

BUCKETS = ("photos", "small")
SETTINGS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_MAX_ATTEMPTS": "1",
}


@contextmanager
def s3_server() -> Iterator[object]:
    """A server with two empty buckets, which libraries find by the environment, and fsspec's file system for it."""
    pytest.importorskip("s3fs", reason="needs the extra remote")
    server_module = pytest.importorskip("moto.server", reason="needs moto[server]")
    import logging

    import fsspec

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()  # of earlier ones in this process
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
        files = fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True)
        for bucket in BUCKETS:
            files.mkdir(bucket)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        try:
            yield files
        finally:
            server.stop()
            fsspec.get_filesystem_class("s3").clear_instance_cache()
