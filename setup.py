"""Packages of the wheel: those of the source tree, and conf/ and latency_tables/ mapped into `nas._resources`.

Everything else stands in pyproject.toml, which can find packages or map folders, but not both.
"""

from setuptools import find_packages, setup

RESOURCES = {"nas._resources.conf": "conf", "nas._resources.latency_tables": "latency_tables"}

setup(
    packages=[*find_packages(include=["nas", "nas.*", "search_spaces", "search_spaces.*"]), *RESOURCES],
    package_dir=RESOURCES,
    package_data={
        "nas": ["py.typed"],
        "search_spaces": ["py.typed", "*/genotypes/*.yaml", "*/benchmarks/*/*.json", "*/benchmarks/*/*.json.gz"],
        "nas._resources.conf": ["**/*.yaml"],
        "nas._resources.latency_tables": ["README.md", "*/*.json"],
    },
)
