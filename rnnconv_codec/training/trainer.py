"""The optimisation loop that all stages share, and its resumable state.

A state is one safetensors file (nothing is ever unpickled): parameters in float32, both Adam
moments in bfloat16, the exponential moving average of the parameters as a bfloat16 difference
to them, and everything else as JSON in the metadata.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from rnnconv_codec.errors import TrainingError
from rnnconv_codec.files import atomic_write

STATE_VERSION = 1
"""Version of the state file; raised when an older program could not read a newer state."""

ADAM_BETAS = (0.9, 0.99)


@dataclass(frozen=True)
class Schedule:
    """Learning rate over the steps of one stage: warm-up, constant, decay to zero.

    Attributes:
        steps: steps of the whole stage.
        warmup_steps: steps of linear growth at its start.
        decay_steps: steps of decay at its end; 0 keeps the rate constant.
        decay_power: 1 decays linearly, more decays faster at first.
    """

    steps: int
    warmup_steps: int = 100
    decay_steps: int = 0
    decay_power: float = 1.0

    def factor(self, step: int) -> float:
        """Factor on every base learning rate at `step`, 0-based."""
        warmup = min(1.0, (step + 1) / max(1, self.warmup_steps))
        left = self.steps - step
        if left >= self.decay_steps:
            return warmup
        return float(warmup * (max(0, left) / self.decay_steps) ** self.decay_power)


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a learning rate and a clipping norm."""

    name: str
    parameters: list[nn.Parameter]
    learning_rate: float


@dataclass
class Progress:
    """How far a stage has come; part of the state.

    Attributes:
        stage: name of the stage.
        step: steps done in this stage.
        seconds: wall time spent in them, all stretches together.
        running: running averages that the objective keeps, by name.
        history: the stages that came before, with their steps and seconds.
    """

    stage: str
    step: int = 0
    seconds: float = 0.0
    running: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)

    def stages(self) -> list[dict[str, Any]]:
        """The stages so far, this one included, with their steps and seconds."""
        this = {"stage": self.stage, "step": self.step, "seconds": round(self.seconds, 1)}
        return [*self.history, this]


class RunningMeans:
    """Running averages of positive losses, by name; kept in the state's `running`."""

    DECAY = 0.95

    def __init__(self, values: dict[str, float]) -> None:
        self._values = values

    def normalise(self, name: str, loss: Tensor) -> Tensor:
        """The loss divided by its running average, which then takes the loss in."""
        value = float(loss.detach())
        average = self._values.setdefault(name, value)
        self._values[name] = self.DECAY * average + (1 - self.DECAY) * value
        return loss / average


class Trainer:
    """Adam with gradient clipping per group, a schedule and an average of the weights.

    Args:
        model: what is trained; every parameter that a group names.
        groups: disjoint groups of parameters.
        schedule: learning rates over the stage.
        progress: counters, changed in place.
        ema_decay: decay per step of the average of the weights; 0 keeps none.
        clip_norm: largest gradient norm of a group.
    """

    def __init__(
        self,
        model: nn.Module,
        groups: list[ParameterGroup],
        schedule: Schedule,
        progress: Progress,
        *,
        ema_decay: float = 0.0,
        clip_norm: float = 1.0,
    ) -> None:
        self.model = model
        self.groups = groups
        self.schedule = schedule
        self.progress = progress
        self.ema_decay = ema_decay
        self.clip_norm = clip_norm
        self.optimizer = torch.optim.Adam(
            [{"params": group.parameters, "lr": group.learning_rate} for group in groups],
            betas=ADAM_BETAS,
        )
        self.average: dict[str, Tensor] = {}
        if ema_decay:
            self.average = {n: p.detach().clone() for n, p in model.named_parameters()}

    def step(self, loss: Tensor) -> dict[str, float]:
        """One update from a loss; returns the gradient norm of each group, before clipping."""
        factor = self.schedule.factor(self.progress.step)
        for group, options in zip(self.groups, self.optimizer.param_groups, strict=True):
            options["lr"] = group.learning_rate * factor
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norms = {
            group.name: float(nn.utils.clip_grad_norm_(group.parameters, self.clip_norm))
            for group in self.groups
        }
        # One bad batch must not poison the weights, their average and the saved state.
        if all(math.isfinite(norm) for norm in norms.values()):
            self.optimizer.step()
            self._update_average()
        self.progress.step += 1
        return norms

    def _update_average(self) -> None:
        if not self.average:
            return
        # Early on the average follows faster, or it would be dominated by the first weights.
        decay = min(self.ema_decay, (1 + self.progress.step) / (10 + self.progress.step))
        names, parameters = zip(*self.model.named_parameters(), strict=True)
        averages = [self.average[name] for name in names]
        torch._foreach_lerp_(averages, [p.detach() for p in parameters], 1 - decay)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The model with its averaged weights, for validation and export."""
        if not self.average:
            yield
            return
        kept = {n: p.detach().clone() for n, p in self.model.named_parameters()}
        try:
            self._assign(self.average)
            yield
        finally:
            self._assign(kept)

    def _assign(self, values: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(values[name])

    def save(self, path: Path, settings: Mapping[str, Any]) -> None:
        """Write the resumable state."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.model.named_parameters():
            value = parameter.detach()
            tensors[f"model.{name}"] = value.contiguous()
            if self.average:
                difference = (self.average[name] - value).to(torch.bfloat16)
                tensors[f"average.{name}"] = difference.contiguous()
            adam = self.optimizer.state.get(parameter)
            if adam:
                for moment in ("exp_avg", "exp_avg_sq"):
                    tensors[f"{moment}.{name}"] = adam[moment].to(torch.bfloat16).contiguous()
        save_state(path, tensors, self.progress, settings)

    def restore(self, state: State) -> None:
        """Take over parameters, average and moments of a state of the same stage."""
        load_parameters(self.model, state)
        for name, parameter in self.model.named_parameters():
            if self.average and f"average.{name}" in state.tensors:
                difference = state.tensors[f"average.{name}"].float()
                self.average[name] = parameter.detach() + difference
            elif self.average:
                self.average[name] = parameter.detach().clone()
            if f"exp_avg.{name}" in state.tensors:
                self.optimizer.state[parameter] = {
                    "step": torch.tensor(float(state.progress.step)),
                    **{
                        moment: state.tensors[f"{moment}.{name}"]
                        .float()
                        .contiguous(memory_format=_layout(parameter))
                        for moment in ("exp_avg", "exp_avg_sq")
                    },
                }


def _layout(tensor: Tensor) -> torch.memory_format:
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


@dataclass(frozen=True)
class State:
    """A state read from a file."""

    tensors: dict[str, Tensor]
    progress: Progress
    settings: dict[str, Any]


def save_state(
    path: Path, tensors: Mapping[str, Tensor], progress: Progress, settings: Mapping[str, Any]
) -> None:
    """Write tensors, counters and settings as one safetensors file, replacing it as a whole."""
    metadata = {
        "rnncodec": "training state",
        "version": str(STATE_VERSION),
        "progress": json.dumps(asdict(progress)),
        "settings": json.dumps(settings),
    }
    atomic_write(path, save_tensors(dict(tensors), metadata), force=True)


def load_state(path: Path) -> State:
    """Read a state.

    Raises:
        TrainingError: missing, not a state, or of another version.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata.get("rnncodec") != "training state":
            raise TrainingError(f"{path}: not a training state")
        if metadata["version"] != str(STATE_VERSION):
            raise TrainingError(f"{path}: training state of version {metadata['version']}")
        progress = Progress(**json.loads(metadata["progress"]))
        return State(tensors, progress, json.loads(metadata["settings"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(f"{path}: cannot read the training state: {error}") from error


def load_parameters(
    model: nn.Module, state: State, *, averaged: bool = False, without: str | None = None
) -> None:
    """Set the parameters of a model from a state.

    Args:
        model: the model that the state was saved from.
        state: the state.
        averaged: take the averaged weights where the state has them.
        without: how the names of parameters begin that the state does not have.

    Raises:
        TrainingError: a parameter is missing or has another shape.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if without is not None and name.startswith(without):
                continue
            value = state.tensors.get(f"model.{name}")
            if value is None or value.shape != parameter.shape:
                raise TrainingError(f"the training state has no fitting {name}")
            if averaged and f"average.{name}" in state.tensors:
                value = value + state.tensors[f"average.{name}"].float()
            parameter.copy_(value)


class StopRequest:
    """Turns SIGINT and SIGTERM into a request to stop after the current step."""

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> StopRequest:
        self._previous = {
            number: signal.signal(number, self._handle)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


@dataclass(frozen=True)
class Limits:
    """When a stretch of training stops, saves and validates.

    Attributes:
        minutes: wall time of this stretch; None is no limit.
        save_every: seconds between two saves of the state.
        validate_every: seconds between two validations.
    """

    minutes: float | None = None
    save_every: float = 300.0
    validate_every: float = 300.0


def run(
    trainer: Trainer,
    batches: Iterator[Tensor],
    objective: Callable[[Tensor], Tensor],
    *,
    limits: Limits,
    save: Callable[[], None],
    validate: Callable[[], None],
    report: Callable[[int, float, dict[str, float]], None],
) -> None:
    """Train until the schedule, the time limit or a signal ends it; save and validate at the end.

    Args:
        trainer: model and optimiser; its progress is where the run begins.
        batches: training crops, one item a step.
        objective: the loss of a batch.
        limits: when to stop, save and validate.
        save: writes the state.
        validate: measures and logs.
        report: called after every step with step, loss and gradient norms.
    """
    progress = trainer.progress
    start = last_save = last_validation = time.monotonic()
    seconds_before = progress.seconds
    with StopRequest() as stop:
        while progress.step < trainer.schedule.steps and not stop.requested:
            now = time.monotonic()
            if limits.minutes is not None and now - start >= 60 * limits.minutes:
                break
            loss = objective(next(batches))
            norms = trainer.step(loss)
            progress.seconds = seconds_before + time.monotonic() - start
            report(progress.step, float(loss.detach()), norms)
            if now - last_save >= limits.save_every:
                last_save = now
                save()
            if now - last_validation >= limits.validate_every:
                last_validation = now
                validate()
        save()
        validate()
