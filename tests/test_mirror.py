"""The tests mirror the tree: a module has the test file of its name, or stands in a list with the file that tests it."""

from __future__ import annotations

from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
TESTED_IN = {
    "nas/cli/hydra_app": "cli/test_command_line",
    "nas/cli/hydra_shows": "cli/test_command_line",
    "nas/cli/next_recipe": "stages/test_next_commands",
    "nas/cli/probe_process": "stages/test_search_plan",
    "nas/cli/sweeps": "cli/test_launchers",
    "nas/cli/verbs": "cli/test_command_line",
    "nas/config/bench_networks_job": "stages/test_bench_networks",
    "nas/config/bench_algorithms_job": "stages/test_bench_algorithms",
    "nas/config/checks": "config/test_jobs",
    "nas/config/measuring_jobs": "config/test_jobs",
    "nas/config/settings": "config/test_jobs",
    "nas/config/train_settings": "config/test_jobs",
    "nas/cost/architecture_program": "cost/test_repair",
    "nas/cost/calibrated": "measuring/test_fit_calibration",
    "nas/cost/calibration": "cost/test_latency_table_mutations",
    "nas/cost/deployed": "supernet/test_latency_control",
    "nas/config/onnx_settings": "exporting/test_onnx_segmentation",
    "nas/exporting/required_packages": "exporting/test_checked_onnx",
    "nas/cost/genotype_latency": "stages/test_predict",
    "nas/cost/prediction": "stages/test_predict",
    "nas/cost/profile_command": "stages/test_predict",
    "nas/cost/published_format": "stages/test_profile_import",
    "nas/cost/table_parts": "cost/test_table_defects",
    "nas/data/classes/cityscapes_labels": "data/test_cityscapes",
    "nas/data/dataset": "contracts/test_dataset_contract",
    "nas/data/files/folder_files": "data/test_folder",
    "nas/data/files/folder_layout": "data/files/test_layout_hints",
    "nas/data/files/pair_dataset": "contracts/test_dataset_contract",
    "nas/data/files/pairs": "data/test_folder",
    "nas/data/street": "data/test_synthetic",
    "nas/devices/runtimes": "worker/test_worker_runtimes",
    "nas/distributed": "distributed/test_several_processes",
    "nas/errors": "cli/test_command_line",
    "nas/files/shipped": "test_packaging",
    "nas/losses/label_size": "contracts/test_loss_contract",
    "nas/measuring/backends/module_runtime": "contracts/test_backend_contract",
    "nas/measuring/backends/torch_modules": "measuring/backends/test_torch_eager",
    "nas/measuring/effort": "stages/test_profiling",
    "nas/measuring/reference_operation": "worker/test_drift",
    "nas/measuring/runners": "measuring/runners/test_worker_runner",
    "nas/measuring/table_filling": "stages/test_profiling",
    "nas/measuring/wanted_operations": "stages/test_profile_plan",
    "nas/network/build": "stages/test_train",
    "nas/network/copying": "stages/test_classification",
    "nas/network/executions": "network/test_mixed",
    "nas/network/official_weights": "search_spaces/squeezenas/test_official_keys",
    "nas/network/segmenter": "stages/test_evaluate_onnx",
    "nas/network/widened": "network/test_fused",
    "nas/ops/operations": "contracts/test_op_contract",
    "nas/ops/pooling_sizes": "ops/test_pooling",
    "nas/ops/zoomed_specs": "ops/test_zoomed",
    "nas/probing": "stages/test_search_plan",
    "nas/probing/bench": "stages/test_bench_search",
    "nas/reports/checkpoint_design": "stages/test_report",
    "nas/reports/front": "stages/test_derive_targets",
    "nas/reports/network_summary": "stages/test_show",
    "nas/reports/page": "stages/test_report",
    "nas/reports/panels": "reports/test_run_metrics",
    "nas/reports/prediction_report": "stages/test_predict",
    "nas/reports/run_pictures": "runs/trackers/test_trackers",
    "nas/reports/run_report": "stages/test_report",
    "nas/reports/stated_latency": "stages/test_evaluate_onnx",
    "nas/runs/known_classes": "reports/test_picture_predictions",
    "nas/runs/trackers": "runs/trackers/test_trackers",
    "nas/space/by_name": "test_modules",
    "nas/space/choice": "space/test_search_space",
    "nas/space/space_entry": "contracts/test_space_contract",
    "nas/supernet/derivation": "stages/test_derive",
    "nas/supernet/draw_plan": "search_spaces/squeezenas/test_squeezenas_runs",
    "nas/supernet/optimizers": "network/test_recompute",
    "nas/supernet/pass_gradients": "supernet/test_steps",
    "nas/supernet/passes": "search_spaces/fasterseg/test_fasterseg_search",
    "nas/supernet/search_task": "stages/test_search",
    "nas/supernet/step_macs": "stages/test_search_plan",
    "nas/supernet/supernet_evaluation": "stages/test_search",
    "nas/training/confusion": "stages/test_evaluate",
    "nas/training/loop_state": "training/test_loop",
    "nas/training/objectives": "stages/test_train_options",
    "nas/training/train_setup": "stages/test_train",
    "nas/training/train_task": "stages/test_train",
    "nas/worker/child_process": "worker/test_trtexec",
    "nas/worker/engines": "worker/test_tensorrt_package",
    "nas/worker/events": "measuring/runners/test_remote_faults",
    "nas/worker/interface": "worker/test_rounds",
    "nas/worker/main": "worker/test_run_job",
    "nas/worker/result": "measuring/runners/test_worker_result",
    "nas/worker/tensorrt_choice": "worker/test_tensorrt_package",
    "nas/worker/timing_journal": "measuring/runners/test_remote_journals",
    "nas/worker/torch_script": "measuring/runners/test_profile_over_ssh",
    "search_spaces/fasterseg/config": "search_spaces/fasterseg/test_space",
    "search_spaces/fasterseg/deployed": "search_spaces/fasterseg/test_fasterseg_facts",
    "search_spaces/fasterseg/latency/costs": "search_spaces/fasterseg/latency/test_expected",
    "search_spaces/fasterseg/latency/paths": "search_spaces/fasterseg/latency/test_expected",
    "search_spaces/fasterseg/lattice": "search_spaces/fasterseg/lattice/test_supernet",
    "search_spaces/lgcnet/cell": "search_spaces/lgcnet/test_space",
    "search_spaces/lgcnet/pooling_heads": "search_spaces/lgcnet/test_lgcnet_options",
    "search_spaces/squeezenas/config": "search_spaces/squeezenas/test_space",
    "search_spaces/squeezenas/decoders": "search_spaces/squeezenas/test_squeezenas_facts",
    "search_spaces/zoo/bisenet_parts": "search_spaces/zoo/test_zoo_contract",
    "search_spaces/zoo/config": "search_spaces/zoo/test_space",
    "search_spaces/zoo/fused_branches": "search_spaces/zoo/test_zoo_contract",
    "search_spaces/zoo/hand_made": "search_spaces/zoo/test_zoo_contract",
    "search_spaces/zoo/layers": "search_spaces/zoo/test_zoo_contract",
    "search_spaces/zoo/networks": "search_spaces/zoo/test_zoo_contract",
    "search_spaces/zoo/pyramids": "search_spaces/zoo/test_zoo_contract",
    "search_spaces/zoo/stdc_trunk": "search_spaces/zoo/test_zoo_contract",
}
"""A module, or a folder of which no module needs to have a file of its own -> the test file below tests/."""


def _modules() -> list[str]:
    paths = [path for package in ("nas", "search_spaces") for path in (CHECKOUT / package).rglob("*.py")]
    return sorted(
        str(path.relative_to(CHECKOUT).with_suffix("")) for path in paths if path.name not in ("__init__.py", "__main__.py")
    )


def _own_test(module: str) -> Path:
    folder, _, name = module.removeprefix("nas/").rpartition("/")
    return CHECKOUT / "tests" / folder / f"test_{name}.py"


@pytest.mark.parametrize("module", _modules())
def test_a_module_has_its_test_file_or_is_listed(module: str) -> None:
    folders = [str(folder) for folder in Path(module).parents]
    assert _own_test(module).is_file() or any(place in TESTED_IN for place in (module, *folders))


@pytest.mark.parametrize("place", TESTED_IN)
def test_the_list_names_files_that_are_there_and_nothing_that_has_its_own(place: str) -> None:
    assert (CHECKOUT / "tests" / f"{TESTED_IN[place]}.py").is_file()
    assert (CHECKOUT / place).is_dir() or (CHECKOUT / f"{place}.py").is_file()
    assert not _own_test(place).is_file()
