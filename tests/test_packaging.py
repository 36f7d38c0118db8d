"""The wheel: complete, and usable away from the checkout in an environment of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from nas.files import shipped as resources
from tests.probing.algorithms.made_benchmark import made_mini_benchmark
from tests.small_jobs import SMALL_SPACE

CHECKOUT = Path(__file__).resolve().parent.parent
SOURCES = ("nas", "search_spaces", "conf", "latency_tables", "pyproject.toml", "setup.py", "README.md", "LICENSE")
BENCHMARK = "search_spaces/lgcnet/benchmarks/made"
"""A benchmark that only the wheel of this test holds."""
NEVER = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")


def run(*command, cwd):
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=clean, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, so that nothing is left in the checkout."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        origin = CHECKOUT / name
        if origin.is_dir():
            shutil.copytree(origin, source / name, ignore=NEVER)
        else:
            shutil.copy(origin, source / name)
    (benchmark := source / BENCHMARK).mkdir(parents=True)
    made_mini_benchmark(benchmark)
    options = ("--no-deps", "--no-index", "--no-build-isolation", "--quiet", "--wheel-dir", target)
    run(sys.executable, "-m", "pip", "wheel", *options, source, cwd=source)
    (built,) = target.glob("segnas-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The scripts of a fresh environment with the wheel, which finds the dependencies in the running one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    scripts = folder / "bin"
    options = ("--no-deps", "--no-index", "--quiet", "--no-warn-script-location")
    run(sys.executable, "-m", "pip", "--python", scripts / "python", "install", *options, wheel, cwd=folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    # A path in a .pth file is searched after the folder it lies in, and .pth files over there (an editable install) are not read.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return scripts


def tracked(pattern: str) -> set[str]:
    return {str(path.relative_to(CHECKOUT)) for path in CHECKOUT.glob(pattern)}


def test_wheel_holds_every_module_config_table_genotype_and_benchmark(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = tracked("nas/**/*.py") | tracked("search_spaces/**/*.py")
    genotypes = tracked("search_spaces/*/genotypes/*.yaml")
    benchmarks = tracked("search_spaces/*/benchmarks/*/*") | {
        f"{BENCHMARK}/{name}" for name in ("networks.json.gz", "torch-eager.json")
    }
    mapped = {f"nas/_resources/{name}" for name in tracked("conf/**/*.yaml") | tracked("latency_tables/*/*.json")}
    assert "nas/_resources/conf/search.yaml" in mapped
    assert not (modules | genotypes | benchmarks | mapped) - names


def test_wheel_holds_nothing_else(wheel):
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"nas", "search_spaces"}


def test_installed_package_finds_its_own_files(installed, tmp_path):
    code = (
        "import json, nas, nas.files.shipped as r; print(json.dumps([nas.__file__, str(r.conf_dir()), str(r.tables_dir()), "
        "sorted(r.published_genotypes()), list(r.shipped_benchmarks()), len(nas.load_benchmark('made').networks)]))"
    )
    package, conf, tables, genotypes, benchmarks, networks = json.loads(run(installed / "python", "-c", code, cwd=tmp_path))
    root = str(installed.parent)
    assert all(path.startswith(root) for path in (package, conf, tables))
    assert sorted(path.name for path in Path(conf).glob("*.yaml")) == sorted(
        path.name for path in resources.conf_dir().glob("*.yaml")
    )
    assert genotypes == sorted(resources.published_genotypes())
    assert benchmarks == sorted({*resources.shipped_benchmarks(), "made"})
    assert networks == 512


def test_two_steps_of_search_away_from_the_checkout(installed, tmp_path):
    overrides = (
        "data=synthetic",
        "data.size=[64,96]",
        "data.train=4",
        "data.val=2",
        "search.batch_size=2",
        "search.max_steps=2",
        "search.epochs=1",
        "search.init_channels=4",
        "search.eval_every=0",
        *SMALL_SPACE,
        "latency.table=macs",
        "deploy.input=[64,96]",
        "out=run",
    )
    text = run(installed / "nas", "search", *overrides, cwd=tmp_path)
    assert "genotype.yaml" in text
    for name in ("config.yaml", "genotype.yaml", "metrics.jsonl", "checkpoints/last.pt"):
        assert (tmp_path / "run" / name).is_file(), name
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
