"""Samplers of diffusers in the signature of `samplers`, which imports this file on demand.

Both reuse the last step (multistep methods of order 2), so that a step costs one network
evaluation, where Heun's costs two.
"""

from typing import Any

from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler
from torch import Tensor

from tgp_multimodal.diffusion.paths import T_MIN
from tgp_multimodal.diffusion.samplers import Denoise, Fresh

_TICKS = 1000  # the schedulers count time in whole thousandths
_FLOW = {
    "num_train_timesteps": _TICKS,
    "prediction_type": "flow_prediction",
    "use_flow_sigmas": True,
    "flow_shift": 1.0,
    "solver_order": 2,
    "final_sigmas_type": "zero",
}


def dpm(denoise: Denoise, start: Tensor, fresh: Fresh, times: Tensor) -> Tensor:
    """DPM-Solver++(2M): Lu et al. 2022, arXiv:2211.01095, algorithm 2."""
    scheduler = DPMSolverMultistepScheduler(**_FLOW)  # type: ignore[no-untyped-call]
    return _walk(scheduler, denoise, start, times)


def unipc(denoise: Denoise, start: Tensor, fresh: Fresh, times: Tensor) -> Tensor:
    """UniPC of order 2, predictor and corrector: Zhao et al. 2023, arXiv:2302.04867, section 3."""
    scheduler = UniPCMultistepScheduler(**_FLOW)  # type: ignore[no-untyped-call]
    return _walk(scheduler, denoise, start, times)


def _walk(scheduler: Any, denoise: Denoise, x: Tensor, times: Tensor) -> Tensor:
    """The loop of the stock pipeline.

    It uses only the number of `times` and the first; the grid is the scheduler's own, scaled to
    begin there.
    """
    scheduler.set_timesteps(len(times) - 1)
    scheduler.sigmas = scheduler.sigmas * times[0].item()
    scheduler.timesteps = (scheduler.timesteps * times[0].item()).long()
    # It would look the step up by its time, and a short walk meets the same thousandth twice.
    scheduler.set_begin_index(0)
    for tick in scheduler.timesteps:
        time = tick.item() / _TICKS
        slope = (x - denoise(x, time)) / max(time, T_MIN)
        x = scheduler.step(slope, tick, x).prev_sample
    return x
