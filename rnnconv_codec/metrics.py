"""Measures of quality and rate."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rnnconv_codec.errors import MissingExtraError

PEAK = 255
"""Largest value of an 8-bit sample."""

MS_SSIM_MIN_SIDE = 161
"""MS-SSIM with five scales and an 11-pixel window needs images larger than 160 pixels a side."""

_PIXELS_AT_A_TIME = 1 << 18
"""So many are compared at a time: 64-bit differences take 24 bytes a pixel and more."""


def mean_squared_error(picture: Image.Image, reference: Image.Image) -> float:
    """Mean over all samples of the squared difference, in squared levels.

    Raises:
        ValueError: sizes or modes differ.
    """
    if picture.size != reference.size or picture.mode != reference.mode:
        raise ValueError(
            f"cannot compare {picture.mode} {picture.size} with {reference.mode} {reference.size}"
        )
    width, height = picture.size
    rows = max(1, _PIXELS_AT_A_TIME // width)
    # A sum of integers is exact whatever its parts.
    total = samples = 0
    for top in range(0, height, rows):
        box = (0, top, width, min(height, top + rows))
        first, second = (np.asarray(image.crop(box), np.int64) for image in (picture, reference))
        total += int(np.sum((first - second) ** 2))
        samples += first.size
    return total / samples


def psnr(picture: Image.Image, reference: Image.Image) -> float:
    """Peak signal-to-noise ratio in dB of two 8-bit pictures; infinite if they are equal.

    Raises:
        ValueError: sizes or modes differ.
    """
    return psnr_of_error(mean_squared_error(picture, reference))


def psnr_of_error(mse: float) -> float:
    """PSNR in dB of a mean squared error in squared levels; infinite for none."""
    return math.inf if mse == 0 else 10 * math.log10(PEAK**2 / mse)


def ms_ssim(picture: Image.Image, reference: Image.Image) -> float:
    """Multi-scale structural similarity (Wang et al. 2003), mean over the channels, 0 to 1.

    Not a number for pictures of less than `MS_SSIM_MIN_SIDE` pixels a side. Needs the extra
    `eval` (pytorch-msssim).

    Raises:
        MissingExtraError: it is not installed.
    """
    import torch

    try:
        from pytorch_msssim import ms_ssim as measure
    except ImportError as error:
        raise MissingExtraError(
            "MS-SSIM needs pytorch-msssim: pip install 'rnnconv-codec[eval]'"
        ) from error

    if min(reference.size) < MS_SSIM_MIN_SIDE:
        return math.nan

    def tensor(image: Image.Image) -> torch.Tensor:
        samples: NDArray[np.float32] = np.asarray(image, np.float32)
        return torch.from_numpy(samples.reshape(*samples.shape[:2], -1)).permute(2, 0, 1)[None]

    with torch.inference_mode():
        return float(measure(tensor(picture), tensor(reference), data_range=PEAK))
