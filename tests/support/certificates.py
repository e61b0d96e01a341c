"""Certificates that nobody has signed, for servers of the tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

REQUEST = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


def self_signed(folder: Path, name: str, kind: str) -> Path:
    """Return a self-signed certificate for a name of a kind ("DNS", "IP"), with its key; skip where openssl lacks."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the openssl command, which makes the test's certificate, is not installed")
    key, path = folder / "key.pem", folder / "certificate.pem"
    subject = ["-subj", f"/CN={name}", "-addext", f"subjectAltName={kind}:{name}"]
    command = [openssl, *REQUEST, *subject, "-keyout", str(key), "-out", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + key.read_bytes())
    return path
