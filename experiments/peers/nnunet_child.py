"""nnU-Net's planner and predictor in a process of their own, maybe of another Python: imports nothing of this project.

    python nnunet_child.py JOB ANSWER

``JOB``: {"mode": "plan", "shape", "spacing", "classes"} or {"mode": "window" or "whole", "volume", "plan"}, ``plan`` an
answer of the first. Isensee et al., "nnU-Net", Nature Methods 18, 2021; package nnunetv2.
"""

import json
import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

NAME = "Dataset001_CT"


def plan(job):
    """What nnU-Net's default planner makes of a data set of such CTs: its 3d_fullres configuration, and the windows."""
    with TemporaryDirectory() as folder:
        for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            os.environ[variable] = os.path.join(folder, variable)
            Path(folder, variable, NAME).mkdir(parents=True)
        case = {"images": ["ct_0000.nii.gz"], "label": "ct.nii.gz"}
        labels = {"background": 0, **{f"organ_{i}": i for i in range(1, job["classes"])}}
        dataset = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 1, "file_ending": ".nii.gz"}
        fingerprint = {"spacings": [job["spacing"]], "shapes_after_crop": [job["shape"]]}
        fingerprint["median_relative_size_after_cropping"] = 1.0
        write(Path(folder, "nnUNet_raw", NAME, "dataset.json"), dataset | {"dataset": {"ct": case}})
        write(Path(folder, "nnUNet_preprocessed", NAME, "dataset_fingerprint.json"), fingerprint)
        return planned(job, dataset)


def planned(job, dataset):
    """The first steps of ``ExperimentPlanner.plan_experiment``; the others are about other configurations."""
    import numpy as np
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
    from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape
    from nnunetv2.utilities.json_export import recursive_fix_for_json_export

    planner = ExperimentPlanner(NAME)
    forward = [int(axis) for axis in planner.determine_transpose()[0]]
    target = planner.determine_fullres_target_spacing()
    shape = np.array(compute_new_shape(job["shape"], job["spacing"], target))[forward]
    voxels = float(np.prod(shape, dtype=float))
    configuration = planner.get_plans_for_configuration(target[forward], shape, "3d_fullres", voxels, {})
    found = {"configuration": configuration, "shape": [int(n) for n in shape], "forward": forward, "dataset": dataset}
    recursive_fix_for_json_export(found)
    return found | described(found)


def described(found):
    """Patch, windows, parameters and GFLOP of a plan."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    made, _ = predictor(found)
    patch = [int(n) for n in found["configuration"]["patch_size"]]
    # A volume below the patch's size is padded to it.
    padded = [max(n, p) for n, p in zip(found["shape"], patch)]  # noqa: B905 - Python 3.9 has no strict
    windows = len(made._internal_get_sliding_window_slicers(tuple(padded)))
    parameters = sum(p.numel() for p in made.network.parameters())
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        made.network.to("meta").eval()(torch.empty(1, 1, *patch, device="meta"))
    kwargs = found["configuration"]["architecture"]["arch_kwargs"]
    return {
        "patch": patch,
        "windows": windows,
        "parameters": parameters,
        "features": [int(n) for n in kwargs["features_per_stage"]],
        "gflop_a_window": counter.get_total_flops() / 1e9,
    }


def predictor(found):
    """nnU-Net's predictor with the plan's network, random weights, on the CPU, without mirroring; and its patch."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans = PlansManager({"configurations": {"3d_fullres": found["configuration"]}, "label_manager": "LabelManager"})
    configuration = plans.get_configuration("3d_fullres")
    classes = len(found["dataset"]["labels"])
    torch.manual_seed(0)
    network = get_network_from_plans(
        configuration.network_arch_class_name, configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import, 1, classes, deep_supervision=False,
    )  # fmt: skip
    made = nnUNetPredictor(
        use_mirroring=False, perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False
    )
    made.manual_initialization(network.eval(), plans, configuration, None, found["dataset"], "nnUNetTrainer", None)
    return made, configuration.patch_size


def predict(job):
    """Seconds of one window, or of the whole CT, by the predictor's own functions."""
    import numpy as np
    import torch
    from acvl_utils.cropping_and_padding.padding import pad_nd_image
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape

    found = job["plan"]
    made, patch = predictor(found)
    volume = np.load(job["volume"]).transpose(found["forward"])[None].astype(np.float32)
    volume = (volume - volume.mean()) / max(float(volume.std()), 1e-8)
    if list(volume.shape[1:]) != found["shape"]:
        spacing = [job["spacing"][axis] for axis in found["forward"]]
        target = found["configuration"]["spacing"]
        volume = resample_data_or_seg_to_shape(volume, found["shape"], spacing, target, is_seg=False)
    data = torch.from_numpy(np.ascontiguousarray(volume))
    if job["mode"] == "whole":
        return timed(lambda: made.predict_sliding_window_return_logits(data))
    data = pad_nd_image(data, patch, "constant", {"value": 0})
    windows = made._internal_get_sliding_window_slicers(data.shape[1:])
    window = torch.clone(data[windows[len(windows) // 2]][None], memory_format=torch.contiguous_format)
    return timed(lambda: made._internal_maybe_mirror_and_predict(window))


def timed(work):
    """Wall and processor seconds of a call."""
    began, cpu = time.perf_counter(), time.process_time()
    work()
    return {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}


def peak_memory_mib():
    """Peak resident memory of this process in MiB; see oarseg.process."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def write(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")


def main():
    job, answer = (Path(path) for path in sys.argv[-2:])
    if find_spec("nnunetv2") is None:
        print(f"error: {sys.executable} has no package nnunetv2", file=sys.stderr)
        return 3
    request = json.loads(job.read_text(encoding="utf-8"))
    result = plan(request) if request["mode"] == "plan" else predict(request)
    write(answer, result | {"peak_memory_mib": peak_memory_mib()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
