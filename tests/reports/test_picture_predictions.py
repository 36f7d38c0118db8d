"""`nas eval` beyond the splits of one size: pictures without labels, labels at full resolution, Cityscapes' own metric."""

from __future__ import annotations

import dataclasses
import json

import cv2
import numpy as np
import pytest
import torch
import yaml
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling
from cityscapesscripts.helpers.labels import trainId2label
from PIL import Image

import nas
from nas.config.jobs import EvalJob
from nas.data.camvid import CamVidConfig
from nas.data.cityscapes import CityscapesConfig
from nas.data.classes.cityscapes_labels import CITYSCAPES
from nas.data.files.resize import resize_image
from nas.data.folder import FolderConfig
from nas.errors import ConfigError, DataError
from nas.reports.picture_predictions import find_classes
from nas.runs.checkpoint import load_weights, save_weights
from nas.runs.known_classes import known_classes
from tests.label_encodings import save_turned
from tests.label_trees import save, scene, write_cityscapes, write_folder
from tests.small_jobs import SIZE, random_genotype

official = evalPixelLevelSemanticLabeling


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders as a training leaves them, with random weights: for Cityscapes' 19 classes and for a data set of three."""
    folder = tmp_path_factory.mktemp("runs")
    trees = {
        "cityscapes": write_cityscapes(folder / "cityscapes_tree", size=(60, 90)),
        "folder": write_folder(folder / "folder_tree"),
    }
    configs = {
        "cityscapes": (CityscapesConfig(root=str(trees["cityscapes"])), 19),
        "folder": (FolderConfig(root=str(trees["folder"]), train="gone"), 3),
    }
    for name, (config, num_classes) in configs.items():
        run = folder / name
        random_genotype(run / "genotype.yaml")
        torch.manual_seed(1)
        network = nas.build(nas.load_genotype(run), num_classes=num_classes)
        save_weights(run / "weights.safetensors", adapted(network).state_dict())
        settings = {"verb": "train", "data": dataclasses.asdict(config)}
        (run / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder


def adapted(network):
    """The network with the statistics of scenes, so that many of its classes are predicted somewhere."""
    scenes = torch.tensor(np.stack([scene(seed, SIZE) for seed in range(8)]).transpose(0, 3, 1, 2) / 64 - 2, dtype=torch.float32)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        network.train()(scenes)
    return network


@pytest.fixture
def pictures(tmp_path):
    """Three images of different sizes, one of them below a folder."""
    for number, (name, size) in enumerate({"a.png": (50, 70), "b.png": (31, 101), "town/c.png": (48, 64)}.items()):
        save(tmp_path / "mine" / name, scene(number, size))
    return tmp_path / "mine"


NAMES = {"a": (50, 70), "b": (31, 101), "town/c": (48, 64)}
CPU = ["trainer.accelerator=cpu", "trainer.threads=1"]


def evaluated(run_nas, out, *arguments):
    outcome = run_nas("eval", *arguments, *CPU, f"out={out}")
    assert (outcome.status, outcome.err) == (0, "")
    return json.loads((out / "eval.json").read_text()), outcome.out


def ids_of(out, name):
    with Image.open(out / "label_ids" / f"{name}.png") as picture:
        assert picture.mode == "L"
        return np.asarray(picture)


def predicted(run, image, num_classes, size, input_size):
    """Ids by the network alone: the image at the input size, its arg max, each pixel's nearest id."""
    network = nas.build(nas.load_genotype(run), num_classes=num_classes).eval()
    network.load_state_dict(load_weights(run / "weights.safetensors"))
    normal = (resize_image(image, input_size) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    with torch.no_grad():
        logits = network(torch.tensor(normal.transpose(2, 0, 1)[None], dtype=torch.float32))[0].numpy()
    rows, columns = (((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size, input_size, strict=True))
    return logits.argmax(axis=0)[rows][:, columns]


@pytest.mark.parametrize("given", [None, [40, 56]])
def test_a_folder_of_pictures_is_predicted_at_their_own_sizes(runs, pictures, run_nas, tmp_path, given):
    run, out = runs / "cityscapes", tmp_path / "out"
    extra = [] if given is None else [f"images_size={given}"]
    report, _ = evaluated(run_nas, out, f"run={run}", f"images={pictures}", *extra)
    assert report["images"] == 3
    assert report["input"] == (given or list(SIZE))
    assert [row["name"] for row in report["files"]] == list(NAMES)
    assert not {"miou", "pixels", "split"} & report.keys()
    everywhere = np.zeros(19, dtype=int)
    for row in report["files"]:
        name, size = row["name"], NAMES[row["name"]]
        ids = ids_of(out, name)
        assert tuple(row["size"]) == ids.shape == size
        image = np.asarray(Image.open(pictures / f"{name}.png"))
        agree = ids == predicted(run, image, 19, size, tuple(given or SIZE))
        assert agree.mean() > 0.999
        counts = np.bincount(ids.ravel(), minlength=19)
        everywhere += counts
        assert list(row["class_shares"].values()) == pytest.approx((counts / ids.size).tolist())
        drawn = np.asarray(Image.open(out / row["overlay"]))
        np.testing.assert_allclose(drawn, (image.astype(float) + CITYSCAPES.palette[ids]) / 2, atol=0.51)
        assert (out / row["label_ids"]).is_file()
    assert report["class_shares"] == pytest.approx(dict(zip(CITYSCAPES.names, everywhere / everywhere.sum(), strict=True)))
    assert (everywhere > 0).sum() > 9  # there is something to tell apart
    assert sorted(path.name for path in out.iterdir()) == ["eval.json", "label_ids", "predictions"]


@pytest.mark.parametrize(
    ("extra", "size"), [([], [31, 101]), (["data.exif=upright"], [31, 101]), (["data.exif=stored"], [101, 31])]
)
def test_pictures_follow_the_rule_of_the_data_for_exif(runs, run_nas, tmp_path, extra, size):
    save_turned(tmp_path / "mine/a.jpg", scene(0, (31, 101)), 6)
    data = ["data=folder", f"data.root={runs / 'folder_tree'}", *extra] if extra else []
    report, _ = evaluated(run_nas, tmp_path / "out", f"run={runs / 'folder'}", f"images={tmp_path / 'mine'}", *data)
    assert report["files"][0]["size"] == size


def test_what_lies_among_pictures_and_is_none_is_named(runs, pictures, run_nas, tmp_path):
    (pictures / "town/notes.txt").write_text("")
    (pictures / "gone.png").symlink_to(pictures / "nowhere.png")
    report, printed = evaluated(run_nas, tmp_path / "out", f"run={runs / 'cityscapes'}", f"images={pictures}")
    assert report["images"] == 3
    assert (
        f"images: passed over: 1 with another ending ({pictures / 'town/notes.txt'}), 1 broken link ({pictures / 'gone.png'})\n"
        in printed
    )


def test_names_come_from_the_run_and_the_summary_says_so(runs, pictures, run_nas, tmp_path):
    report, printed = evaluated(run_nas, tmp_path / "out", f"run={runs / 'cityscapes'}", f"images={pictures / 'a.png'}")
    assert report["classes"] == list(CITYSCAPES.names)
    assert report["classes_from"] == f"{runs / 'cityscapes' / 'config.yaml'}, data=cityscapes"
    assert "1 images without labels; class names:" in printed
    for name in ("eval.json", "predictions", "label_ids"):
        assert f"{tmp_path / 'out' / name}" in printed


def test_a_data_set_of_ones_own_has_its_names_from_its_class_file(runs, pictures, run_nas, tmp_path):
    report, _ = evaluated(run_nas, tmp_path / "out", f"run={runs / 'folder'}", f"images={pictures}")
    assert report["classes"] == ["road", "car", "tree"]
    assert report["palette"][0] == [9, 8, 7]


def test_the_frames_of_a_video(runs, run_nas, tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (80, 56))
    for number in range(5):
        writer.write(np.full((56, 80, 3), 50 * number, np.uint8))
    writer.release()
    report, _ = evaluated(run_nas, tmp_path / "out", f"run={runs / 'cityscapes'}", "images=clip.mp4", "every_frame=2")
    assert [row["name"] for row in report["files"]] == [f"clip_{number:06d}" for number in (0, 2, 4)]
    assert report["every_frame"] == 2
    for number in (0, 2, 4):
        assert ids_of(tmp_path / "out", f"clip_{number:06d}").shape == (56, 80)


def test_without_out_the_run_keeps_its_own_results(runs, pictures, run_nas, tmp_path):
    (runs / "folder" / "eval.json").write_text("{}")
    outcome = run_nas("eval", f"run={runs / 'folder'}", f"images={pictures}", *CPU)
    assert outcome.status == 0
    assert (runs / "folder" / "eval.json").read_text() == "{}"
    (fresh,) = (tmp_path / "runs").iterdir()
    assert (fresh / "eval.json").is_file()


REFUSED = {
    "nowhere": (["images=nowhere"], "nowhere: no such file or folder"),
    "empty": (["images=empty"], "empty: no image in it"),
    "broken": (["images=broken.png"], "broken.png: unreadable or truncated"),
    "broken video": (["images=broken.mp4"], "broken.mp4: unreadable or truncated"),
    "text": (["images=note.txt"], "got a file .txt"),
    "data of other classes": (["images=mine", "data=camvid", "data.root=x"], "got data=camvid with 11 classes, but the network"),
    "class file": (["images=mine", "data=folder", "data.root=empty"], "empty/classes.yaml: no such file"),
    "frames of images": (["images=mine", "every_frame=2"], "every_frame: got 2, but images=mine is no video"),
}


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_status_2_in_a_line(runs, run_nas, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    for name in ("broken.png", "broken.mp4", "note.txt"):
        (tmp_path / name).write_bytes(b"no picture")
    outcome = run_nas("eval", f"run={runs / 'cityscapes'}", *arguments, "out=new", *CPU)
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert message in outcome.err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "val", "images": "x"}, "split: got val with images="),
        ({"full_resolution": True, "images": "x"}, "full_resolution: got true with images="),
        ({"images_size": [3], "images": "x"}, r"images_size: got \[3\], expected \[HEIGHT,WIDTH\]"),
        ({"every_frame": 0, "images": "x"}, "every_frame: got 0, expected at least 1"),
        ({"every_frame": 2}, "every_frame: got 2 without images="),
        ({"images_size": [3, 4]}, r"images_size: got \[3,4\] without images="),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        EvalJob(**settings)


@pytest.fixture
def genotype(runs):
    return nas.load_genotype(runs / "cityscapes")


def without_provenance(genotype):
    return dataclasses.replace(genotype, provenance={})


def test_classes_of_another_number_than_the_run_states_are_numbered(genotype, runs):
    weights = runs / "cityscapes" / "weights.safetensors"
    classes, origin = find_classes(EvalJob(images="x"), known_classes(genotype, weights, 7), weights, 7)
    assert classes.names == tuple(f"class {index}" for index in range(7))
    assert origin.startswith("numbered")


def test_classes_whose_file_has_gone_are_numbered_and_the_reason_is_kept(genotype, runs, tmp_path):
    settings = dataclasses.asdict(FolderConfig(root=str(tmp_path / "gone")))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"verb": "train", "data": settings}))
    weights = tmp_path / "weights.safetensors"
    known = known_classes(without_provenance(genotype), weights, 3)
    classes, origin = find_classes(EvalJob(images="x"), known, weights, 3)
    assert classes.names == ("class 0", "class 1", "class 2")
    assert f"{tmp_path / 'gone' / 'classes.yaml'}: no such file" in origin


def test_a_search_tells_the_names_where_no_training_does(genotype, tmp_path):
    weights = tmp_path / "weights.safetensors"
    classes, origin = find_classes(EvalJob(images="x"), known_classes(genotype, weights, 11), weights, 11)
    assert classes.names[0] == "sky"
    assert origin == "the genotype's provenance, data=synthetic"


def test_data_that_is_given_comes_first(genotype, runs):
    weights = runs / "cityscapes" / "weights.safetensors"
    job = EvalJob(images="x", data=CamVidConfig(root="/nowhere"))
    classes, origin = find_classes(job, known_classes(genotype, weights, 11), weights, 11)
    assert (classes.names[0], origin) == ("sky", "data=camvid")
    with pytest.raises(ConfigError, match="11 classes, but the network of .* has 19"):
        find_classes(job, known_classes(genotype, weights, 19), weights, 19)
    with pytest.raises(ConfigError, match="got a network of 255 classes"):
        find_classes(job, known_classes(genotype, weights, 255), weights, 255)


def official_score(tree, label_ids, tmp_path):
    """Mean and class IoU by the official script, from predicted train ids that are written as label ids."""
    truths, files = [], []
    to_label = np.array([trainId2label[index].id for index in range(19)])
    for truth in sorted((tree / "gtFine/val").rglob("*_labelIds.png")):
        city, frame = truth.parent.name, truth.name.removesuffix("_gtFine_labelIds.png")
        ids = np.asarray(Image.open(label_ids / city / f"{frame}_leftImg8bit.png"))
        save(tmp_path / "results" / f"{frame}.png", to_label[ids])
        truths.append(str(truth))
        files.append(str(tmp_path / "results" / f"{frame}.png"))
    arguments = official.CArgs()
    vars(arguments).update(vars(official.args))
    arguments.evalInstLevelScore, arguments.JSONOutput, arguments.quiet = False, False, True
    return official.evaluateImgLists(files, truths, arguments)


@pytest.mark.parametrize("size", [None, (30, 45), (48, 64)], ids=["own size", "half size", "another shape"])
def test_eval_of_cityscapes_is_the_official_score_at_full_label_resolution(runs, run_nas, tmp_path, size):
    run, tree = f"run={runs / 'cityscapes'}", runs / "cityscapes_tree"
    sized = [] if size is None else [f"data.size=[{size[0]},{size[1]}]"]
    height, width = size or (60, 90)
    report, _ = evaluated(run_nas, tmp_path / "split", run, "data=cityscapes", f"data.root={tree}", "split=val", *sized)
    evaluated(run_nas, tmp_path / "images", run, f"images={tree / 'leftImg8bit/val'}", f"images_size=[{height},{width}]")
    expected = official_score(tree, tmp_path / "images" / "label_ids", tmp_path)
    assert report["full_resolution"] is True
    assert report["miou"] == pytest.approx(expected["averageScoreClasses"], abs=1e-9)
    for name, row in report["classes"].items():
        score = expected["classScores"][name]
        assert row["iou"] == (None if np.isnan(score) else pytest.approx(score, abs=1e-9)), name
    assert report["miou"] > 0
    truths = [np.asarray(Image.open(path)) for path in (tree / "gtFine/val").rglob("*_labelIds.png")]
    assert report["pixels"] == sum(int(np.isin(truth, list(official_ids())).sum()) for truth in truths)


def official_ids():
    return {trainId2label[index].id for index in range(19)}


def test_full_resolution_can_be_asked_for_and_refused(runs, run_nas, tmp_path):
    """The folder's masks have 24 x 32 pixels, a twelfth of them at 6 x 8."""
    tree = runs / "folder_tree"
    common = [f"run={runs / 'folder'}", "data=folder", f"data.root={tree}", "data.size=[6,8]", "pictures=0"]
    found = {}
    for asked in ("null", "false", "true"):
        report, _ = evaluated(run_nas, tmp_path / asked, *common, f"full_resolution={asked}")
        found[asked] = report
    assert found["null"] == found["false"]
    truths = [np.asarray(Image.open(path)) for path in (tree / "masks/test").iterdir()]
    valid = sum(int(np.isin(truth, [0, 1, 5, 9]).sum()) for truth in truths)
    assert found["true"]["pixels"] == valid
    assert found["false"]["pixels"] <= 3 * 6 * 8


def test_the_test_split_of_cityscapes_is_refused_with_the_reason(runs, run_nas, tmp_path):
    tree = runs / "cityscapes_tree"
    outcome = run_nas("eval", f"run={runs / 'cityscapes'}", "data=cityscapes", f"data.root={tree}", "out=new", *CPU)
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert "labels of Cityscapes' test split are dummies" in outcome.err
    assert "set split=val, or draw predictions with images=" in outcome.err
    assert not (tmp_path / "new").exists()


def test_data_of_a_user_trains_and_is_evaluated(runs, run_nas, tmp_path):
    """The whole way: conf/data/folder.yaml, training, metrics by the names of the class file."""
    data = ["data=folder", f"data.root={runs / 'folder_tree'}"]
    short = ["train.max_steps=2", "train.batch_size=2", "train.crop=[24,32]"]
    genotype = runs / "folder" / "genotype.yaml"
    assert run_nas("train", f"genotype={genotype}", *data, *short, *CPU, "out=run").status == 0
    report, _ = evaluated(run_nas, tmp_path / "out", "run=run", *data)
    assert list(report["classes"]) == ["road", "car", "tree"]
    assert len(list((tmp_path / "out" / "predictions").iterdir())) == 3


def test_truth_beyond_the_split_of_a_data_set_is_refused(tmp_path):
    data = nas.data.build_dataset(CityscapesConfig(root=str(write_cityscapes(tmp_path))), "val")
    with pytest.raises(IndexError, match="from 0 to 2"):
        data.truth(3)
    (tmp_path / "gtFine/val/lindau/lindau_000001_000019_gtFine_labelIds.png").unlink()
    with pytest.raises(DataError, match="no such file"):
        data.truth(1)
