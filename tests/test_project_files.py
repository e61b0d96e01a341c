"""What stands at the top of the repository says the same things."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).parents[1]


def project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    return project


def test_the_licence_is_one() -> None:
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text())
    assert project()["license"] == citation["license"] == "Apache-2.0"
    assert all((PROJECT / name).is_file() for name in project()["license-files"])
    assert "Version 2.0, January 2004" in (PROJECT / "LICENSE").read_text()


def test_the_version_is_one() -> None:
    assert project()["version"] == yaml.safe_load((PROJECT / "CITATION.cff").read_text())["version"]


def test_the_notice_names_files_that_exist() -> None:
    named = re.findall(r"(?:docs|retrieval)/[\w/.]+\w", (PROJECT / "NOTICE").read_text())
    assert len(named) == 2
    assert all((PROJECT / name).is_file() for name in named)


def test_a_commit_is_checked_as_make_lint_checks() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    (source,) = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text())["repos"]
    for hook in source["hooks"]:
        command = hook["entry"].removeprefix(".venv/bin/").replace(" --force-exclude", "")
        assert f"$(BIN)/{command}" in makefile, hook["id"]


def test_the_change_log_has_its_headings() -> None:
    headings = re.findall(r"^##+ (.+)$", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[:5] == ["Unreleased", "Added", "Changed", "Fixed", "Renamed"]
