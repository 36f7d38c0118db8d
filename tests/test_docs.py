"""The commands of the pages in docs/ run as they are written, in the order of the pages, made short by overrides only."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import nas
import nas.cli
from nas.cli.verbs import SUB_VERBS, VERBS
from nas.data import build_dataset
from nas.data.synthetic import SyntheticConfig
from nas.runs.checkpoint import save_weights
from tests.small_jobs import CHECKOUT
from tests.squeezenas_reference import Reference

pytestmark = pytest.mark.pages
PAGES = ("profile-my-device", "search-on-my-data", "retrain", "export", "published-networks", "bench-networks")
SHORT = {
    "profile": ["rounds=1", "max_rounds=1"],
    "profile plan": ["rounds=1", "max_rounds=1"],
    "profile validate": ["samples=8", "rounds=1", "calibrate=false"],
    "bench": ["rounds=1", "bench.processing=false"],
    "search": ["search.max_steps=2", "search.init_channels=2", "search.eval_every=0"],
    "train": ["train.max_steps=2", "train.batch_size=2"],
}
"""What makes the commands of a verb short; nothing that they state themselves."""
SECOND_OF_A_KIND = {
    "out=runs/labels",
    "out=runs/labels_scored",
    "out=runs/half",
    "out=runs/openvino",
    "out=runs/validate",
    "out=runs/mine",
    "out=networks.zip",
    "out=runs/tracked",
    "out=runs/careful",
    "out=runs/front",  # exact repair of the whole space for three targets
}
"""Words of commands that run in the slow test alone: nothing later needs what they make."""
FIXED = {"protocol=survey": "rounds"}
"""Words of a command with which another setting cannot be given."""


def commands(page: str) -> list[list[str]]:
    """The words of each command in the ```bash blocks of a page."""
    text = (CHECKOUT / "docs" / f"{page}.md").read_text()
    blocks = re.findall(r"^```bash\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    return [shlex.split(line) for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def class_file_of(page: str) -> str:
    """The class file that a page shows."""
    text = (CHECKOUT / "docs" / f"{page}.md").read_text()
    return re.findall(r"^```yaml\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)[0]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder: data with the classes of the page, pictures without labels, images by class, weights with official names."""
    monkeypatch.chdir(tmp_path)
    config = SyntheticConfig(size=[180, 240], train=4, val=2, test=2)
    for split in ("train", "val", "test"):
        scenes = build_dataset(config, split)
        for folder in ("images", "masks"):
            (tmp_path / "my_data" / folder / split).mkdir(parents=True)
        for number in range(len(scenes)):
            image, label = scenes.load(number)
            Image.fromarray(image).save(tmp_path / "my_data" / "images" / split / f"{number}.png")
            Image.fromarray(label % 6).save(tmp_path / "my_data" / "masks" / split / f"{number}.png")
            for folder, pixels in ((split, image), (f"{split}annot", np.where(label == 255, 11, label))):
                (tmp_path / "camvid" / folder).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "camvid" / folder / f"{number}.png")
            for name in ("dull", "bright"):
                folder = tmp_path / "my_images" / split / name
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image // (2 if name == "dull" else 1)).save(folder / f"{number}.png")
    (tmp_path / "my_data" / "classes.yaml").write_text(class_file_of("search-on-my-data"))
    official = Reference(nas.load_genotype("squeezenas/lat_small")).state_dict()
    save_weights(tmp_path / "lat_small.safetensors", official)
    (tmp_path / "photos").mkdir()
    Image.fromarray(image[:90, :110]).save(tmp_path / "photos" / "holiday.jpg")
    return tmp_path


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_every_command_of_the_pages_runs(desk: Path, capsys: pytest.CaptureFixture[str], every: bool) -> None:
    for page in PAGES:
        for program, verb, *words in commands(page):
            assert program == "nas"
            if not every and SECOND_OF_A_KIND & set(words):
                continue
            stated = {word.split("=")[0] for word in words}
            called = f"{verb} {words[0]}" if words[0] in SUB_VERBS.get(verb, {}) else verb
            fixed = {FIXED[word] for word in words if word in FIXED}
            short = [word for word in SHORT.get(called, []) if word.split("=")[0] not in stated | fixed]
            status = nas.cli.main([verb, *words, *short])
            printed = capsys.readouterr()
            assert status == 0, f"{page}: nas {verb} {' '.join(words)}\n{printed.err}"
    for made in ("architecture.png", "runs/search/report.html", "runs/train/model.onnx", "runs/photos/predictions/holiday.png"):
        assert (desk / made).stat().st_size > 0


def test_pages_name_only_verbs_and_settings_that_exist() -> None:
    for page in (*PAGES, "PROFILING", "zoo"):
        text = (CHECKOUT / "docs" / f"{page}.md").read_text()
        for verb in re.findall(r"`nas ([a-z]+)", text):
            assert verb in VERBS, f"{page}: nas {verb}"


def test_every_page_links_only_to_files_that_exist() -> None:
    for path in [CHECKOUT / "README.md", *(CHECKOUT / "docs").glob("*.md"), *(CHECKOUT / "experiments").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_the_class_file_of_the_page_is_plain_yaml() -> None:
    assert {"classes", "ignore"} == yaml.safe_load(class_file_of("search-on-my-data")).keys()
