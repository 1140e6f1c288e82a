"""From a training state to a weights file."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from rnnconv_codec.codec import network_tensors
from rnnconv_codec.entropy.integer_model import export_context
from rnnconv_codec.networks.config import config_from_dict
from rnnconv_codec.training.calibration import calibrated
from rnnconv_codec.training.model import TrainableCodec
from rnnconv_codec.training.post_filter import with_post_filter
from rnnconv_codec.training.trainer import load_parameters, load_state
from rnnconv_codec.weights import save_model_file


def export_weights(
    state_path: Path,
    output: Path,
    post_filter: Path | None = None,
    calibration: Path | None = None,
) -> bytes:
    """Write the weights file of a state's averaged weights; returns its model id.

    Args:
        state_path: state of stage graft, context or joint.
        output: file to write.
        post_filter: state of stage post-filter that was trained behind it.
        calibration: folder of photographs that tell how large values become, so that much of the
            network can run in 8 bits; see `calibrated`.

    Raises:
        TrainingError: the state is missing or does not fit, or there are no photographs.
        OutputFileError: the file cannot be written.
    """
    state = load_state(state_path)
    stages = state.progress.stages()
    if post_filter is None:
        codec = TrainableCodec(config_from_dict(state.settings["network"]))
        load_parameters(codec, state, averaged=True)
    else:
        filter_state = load_state(post_filter)
        codec = with_post_filter(state, filter_state)
        stages = [*stages, filter_state.progress.stages()[-1]]
    if calibration is not None:
        codec = calibrated(codec, calibration)
    training = {"stages": stages, "ms_ssim_weight": state.settings.get("ms_ssim_weight", 0.0)}
    return save_model_file(output, codec.config, weights_tensors(codec), training)


def weights_tensors(codec: TrainableCodec) -> dict[str, Tensor]:
    """The tensors of a weights file: the network's as they are, the context model's quantised."""
    return {**network_tensors(codec.network), **export_context(codec.context)}
