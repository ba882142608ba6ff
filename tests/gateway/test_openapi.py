"""The OpenAPI document is true: schemathesis asks what it allows and what it doesn't."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateway.serving import Running

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "negative_data_rejection,ignored_auth,unsupported_method"
)


@pytest.mark.slow
def test_schemathesis_finds_nothing(up: Running, tmp_path: Path) -> None:
    document = tmp_path / "openapi.json"
    document.write_bytes(up.send("GET", "/openapi.json").content)
    command: list[str | Path] = [
        Path(sys.executable).with_name("schemathesis"), "run", document, "--url", up.url, "--header", f"X-API-Key: {up.key}",
        "--header", f"Authorization: Bearer {up.key}",
        "--checks", CHECKS, "--max-examples", "40", "--seed", "0", "--suppress-health-check", "all", "--no-color",
    ]  # fmt: skip
    out = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert out.returncode == 0, out.stdout[-6000:] + out.stderr[-2000:]
