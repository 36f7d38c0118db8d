"""Where a result comes from: the facts given, the version and, in a checkout, the commit."""

from __future__ import annotations

import re
import subprocess
from importlib.metadata import PackageNotFoundError

from nas.runs import provenance
from tests.small_jobs import CHECKOUT


def test_facts_are_kept_and_version_and_commit_added():
    found = provenance.provenance(seed=3, table=None)
    assert (found["seed"], found["table"]) == (3, None)
    assert list(found) == ["seed", "table", "version", "commit"]


def test_commit_is_that_of_the_checkout():
    if not (CHECKOUT / ".git").exists():
        assert provenance.commit() is None
        return
    done = subprocess.run(["git", "-C", CHECKOUT, "log", "-1", "--format=%H"], capture_output=True, text=True, check=True)
    assert provenance.commit() == done.stdout.strip()
    assert re.fullmatch(r"[0-9a-f]{40}", done.stdout.strip())


def test_outside_a_checkout_or_without_git_there_is_no_commit(monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "__file__", str(tmp_path / "nas" / "runs" / "provenance.py"))
        assert provenance.commit() is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.commit() is None


def test_uninstalled_package_has_no_version(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(provenance, "version", missing)
    assert provenance.package_version() is None
