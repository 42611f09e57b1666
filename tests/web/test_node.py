"""The tests of web/test, by node's own runner."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

WEB = Path(__file__).parents[2] / "web"
NODE = 20  # the oldest release that is supported


def test_the_modules_pass_their_own_tests() -> None:
    npm, node = shutil.which("npm"), shutil.which("node")
    if not npm or not node:
        pytest.skip("no node here")
    if int(subprocess.check_output([node, "--version"], text=True).strip("v").split(".")[0]) < NODE:
        pytest.skip(f"node is older than {NODE}")
    if not (WEB / "node_modules").is_dir():
        pytest.skip("the packages of web/ are not installed: make web")
    environment = {**os.environ, "npm_config_update_notifier": "false"}
    result = subprocess.run([npm, "test", "--silent"], cwd=WEB, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]
