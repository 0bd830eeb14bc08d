"""The training loop: deterministic, resumable after a kill at any moment, best weights restored.

An epoch depends only on the recipe, the data and the checkpoint before it: sampling and augmentation draw from a
generator seeded by (seed, epoch), torch's own chance is seeded alike. A killed run therefore repeats the epoch
it was in, and ends as an uninterrupted one would have.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from duoscan.errors import TrainingError
from duoscan.evaluation.metrics import Ranking
from duoscan.terms import POSITIVE
from duoscan.training.augment import augment
from duoscan.training.classifier import Classifier, frozen_modules
from duoscan.training.data import TrainingSet, epoch_order, sampling_weights, site_of
from duoscan.training.views import FrozenLayers, Views, split_backbone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray

    from duoscan.training.recipe import OptimiseSection, Recipe

EVALUATION_BATCH = 32


@dataclass(frozen=True)
class EpochResult:
    """One line of the history."""

    epoch: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    val_auroc: float

    def score(self, monitor: str) -> float:
        """What early stopping compares; higher is better."""
        return -self.val_loss if monitor == "loss" else self.val_auroc


@dataclass
class Progress:
    """Where a run stands; everything but weights that a checkpoint holds."""

    next_epoch: int = 0
    best_epoch: int = -1
    best_score: float = -math.inf
    history: list[EpochResult] = field(default_factory=list)

    def stops(self, section: OptimiseSection) -> bool:
        """Whether no further epoch is wanted."""
        stale = self.next_epoch - 1 - self.best_epoch
        return self.next_epoch >= section.epochs or stale >= section.patience


def use_amp(setting: str, device: torch.device) -> bool:
    """Whether to compute in bfloat16: where asked, and on ``auto`` where the hardware has it."""
    if setting != "auto":
        return setting == "on"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


class Trainer:
    """Trains one network.

    Args:
        network: The classifier, fresh from the recipe.
        recipe: What to do.
        training: Prepared training images, at the crop margin.
        validation: Prepared validation images, at the contract's size.
        checkpoint: File the state is written to after each epoch.
        on_image: Called after each image whose views are made.
    """

    def __init__(
        self,
        network: Classifier,
        recipe: Recipe,
        training: TrainingSet,
        validation: TrainingSet,
        checkpoint: Path,
        on_image: Callable[[], None] = lambda: None,
    ) -> None:
        self.recipe, self.section = recipe, recipe.optimise
        self.training, self.validation = training, validation
        self.checkpoint = checkpoint
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.amp = use_amp(self.section.amp, self.device)
        self._format = torch.channels_last if self.section.channels_last else torch.contiguous_format
        self.network = network.to(self.device, memory_format=self._format)  # type: ignore[call-overload]
        self._frozen = frozen_modules(network, recipe.model.freeze)
        self.averaged = AveragedModel(network, multi_avg_fn=_ema(self.section.ema), use_buffers=True)
        self.optimiser = _optimiser(network, self.section)
        self.steps_per_epoch = max(1, len(training) // self.section.batch_size)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimiser, lambda step: learning_rate_factor(step, self.steps_per_epoch, self.section)
        )
        self.progress = Progress()
        self.best_state: dict[str, Tensor] = {}
        self._weights = sampling_weights(training, recipe.data.balance)
        self._kept = _Kept(self, on_image) if self.section.views else None

    @property
    def judged(self) -> Classifier:
        """The network that is validated and exported: the averaged one where averaging is on."""
        network = self.averaged.module if self.section.ema else self.network
        if not isinstance(network, Classifier):
            raise TypeError(type(network))
        return network

    def run(self, on_step: Callable[[], None] = lambda: None) -> Iterator[EpochResult]:
        """Train until done, yielding each epoch's result after its checkpoint is safe on disk."""
        while not self.progress.stops(self.section):
            result = self._epoch(self.progress.next_epoch, on_step)
            self.progress.history.append(result)
            self.progress.next_epoch += 1
            if result.score(self.section.monitor) > self.progress.best_score:
                self.progress.best_score = result.score(self.section.monitor)
                self.progress.best_epoch = result.epoch
                self.best_state = {name: value.clone() for name, value in self.judged.state_dict().items()}
            self._save()
            yield result
        self.judged.load_state_dict(self.best_state)

    def resume(self) -> bool:
        """Take up the checkpoint, if there is one."""
        if not self.checkpoint.is_file():
            return False
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.best_state = state["best_state"]
        history = [EpochResult(**entry) for entry in state["progress"].pop("history")]
        self.progress = Progress(**state["progress"], history=history)
        return True

    def _save(self) -> None:
        temporary = self.checkpoint.with_suffix(".tmp")
        torch.save(
            {
                "network": self.network.state_dict(),
                "averaged": self.averaged.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "scheduler": self.scheduler.state_dict(),
                "best_state": self.best_state,
                "progress": asdict(self.progress),
            },
            temporary,
        )
        temporary.replace(self.checkpoint)

    def _epoch(self, epoch: int, on_step: Callable[[], None]) -> EpochResult:
        rng = np.random.default_rng([self.recipe.seed, epoch])
        torch.manual_seed(int(rng.integers(2**31)))  # dropout draws from torch's own generator
        self.network.train()
        for module in self._frozen:
            module.eval()  # frozen batch statistics stay frozen too
        order = epoch_order(self._weights, rng)
        losses, correct, seen = [], 0, 0
        for step in range(self.steps_per_epoch):
            chosen = order[step * self.section.batch_size : (step + 1) * self.section.batch_size]
            loss, hits = self._step(chosen, rng)
            losses.append(loss)
            correct, seen = correct + hits, seen + len(chosen)
            on_step()
        mean_loss = float(np.mean(losses))
        if not math.isfinite(mean_loss):
            raise TrainingError(
                f"epoch {epoch}: the loss is {mean_loss}; lower optimise.learning_rate or set optimise.amp='off'. "
                "The last good checkpoint is kept"
            )
        val_loss, val_accuracy, val_auroc = self.validate()
        rate = float(self.scheduler.get_last_lr()[0])
        return EpochResult(epoch, rate, mean_loss, correct / seen, val_loss, val_accuracy, val_auroc)

    def _step(self, chosen: NDArray[np.int64], rng: np.random.Generator) -> tuple[float, int]:
        targets = torch.from_numpy(self.training.targets[chosen]).to(self.device)
        compared = torch.from_numpy(self.training.compared[chosen]).to(self.device)
        images = self._entering(chosen, rng)
        share, partner = 1.0, torch.arange(len(chosen), device=self.device)
        if self.section.mixup:
            share = float(rng.beta(self.section.mixup, self.section.mixup))
            partner = torch.from_numpy(rng.permutation(len(chosen))).to(self.device)
            images = share * images + (1 - share) * images[partner]
        logits = self._logits(self.network, images)
        smoothing = self.section.label_smoothing
        loss = share * contrast_loss(logits, targets, compared, smoothing)
        if self.section.mixup:
            loss = loss + (1 - share) * contrast_loss(logits, targets[partner], compared[partner], smoothing)
        loss = loss + self.network.head.penalty()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.section.clip_norm)
        self.optimiser.step()
        self.scheduler.step()
        self.averaged.update_parameters(self.network)
        return float(loss.detach()), int((logits.argmax(1) == targets).sum())

    def _entering(self, chosen: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        """What enters the layers that learn: images (N, C, H, W), or kept maps (N, D, h, w)."""
        if self._kept is not None:
            return self._kept.training.draw(chosen, rng).to(self.device)
        grey = torch.from_numpy(self.training.grey[chosen]).to(self.device, torch.float32)[:, None]
        return self.normalise(augment(grey, self.recipe.augment, self.recipe.input.size, rng))

    def _logits(self, network: Classifier, entering: Tensor) -> Tensor:
        entering = entering.contiguous(memory_format=self._format)
        with self._autocast():
            if self._kept is None:
                logits: Tensor = network(entering)
            else:
                logits = network.judge(self._kept.learning[network](entering))
        return logits.float()

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp)

    def normalise(self, grey: Tensor) -> Tensor:
        """As :func:`duoscan.imaging.preprocess.normalise`, on a batch; a test holds the two equal."""
        section = self.recipe.input
        if section.normalisation == "per-image":
            mean, std = grey.mean((1, 2, 3), keepdim=True), grey.std((1, 2, 3), keepdim=True, correction=0)
            grey = (grey - mean) / std.clamp_min(1e-6)
        mean, std = (grey.new_tensor(values)[None, :, None, None] for values in (section.mean, section.std))
        return (grey - mean) / std

    def _validated(self, places: NDArray[np.int64]) -> Tensor:
        """Validation images as they are, at the point where they enter the layers that learn."""
        if self._kept is not None:
            return self._kept.validation.draw(places, np.random.default_rng(0)).to(self.device)
        return self.normalise(torch.from_numpy(self.validation.grey[places]).to(self.device, torch.float32)[:, None])

    def validate(self) -> tuple[float, float, float]:
        """Loss, accuracy and AUROC on the validation images, each class weighing as it stands.

        The AUROC is that of ``covid`` against all else; where classes are told apart within sites only, it is the mean
        over the pairs of classes of each site, which weigh by their images.
        """
        network = self.judged.eval()
        logits = []
        with torch.inference_mode():
            for start in range(0, len(self.validation), EVALUATION_BATCH):
                places = np.arange(start, min(start + EVALUATION_BATCH, len(self.validation)))
                logits.append(self._logits(network, self._validated(places)).cpu())
        scores = torch.cat(logits)
        targets = torch.from_numpy(self.validation.targets)
        compared = torch.from_numpy(self.validation.compared)
        if self.recipe.data.contrasts == "all":
            covid = self.recipe.classes.index(POSITIVE)
            found = auroc(scores.double().softmax(1)[:, covid].numpy(), (targets == covid).numpy())
        else:
            found = contrast_auroc(scores.double().numpy(), self.validation)
        return (
            float(contrast_loss(scores, targets, compared)),
            float((scores.masked_fill(~compared, -math.inf).argmax(1) == targets).float().mean()),
            found,
        )


class _Kept:
    """The views of both parts of a trainer, and the layers of each of its networks that come after them."""

    def __init__(self, trainer: Trainer, on_image: Callable[[], None]) -> None:
        network, recipe = trainer.network, trainer.recipe
        halves = {
            one: split_backbone(one, frozen_modules(one, recipe.model.freeze)) for one in {network, trainer.judged}
        }
        self.learning = {one: learning for one, (_, learning) in halves.items()}
        layers = FrozenLayers(halves[network][0], network.channels, recipe.input.size)
        make = partial(Views, recipe, layers, trainer.normalise)
        self.training = make(trainer.training, trainer.section.views, on_image)
        self.validation = make(trainer.validation, 0, on_image)


def contrast_loss(logits: Tensor, targets: Tensor, compared: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy over the classes that each image is told apart from; the others' logits do not count.

    Args:
        logits: (N, K).
        targets: (N,), each among its image's compared classes.
        compared: (N, K), true where a class counts.
        smoothing: Share of the target that is spread over the compared classes.
    """
    log_shares = logits.masked_fill(~compared, -math.inf).log_softmax(1)
    spread = log_shares.masked_fill(~compared, 0).sum(1) / compared.sum(1)
    own = log_shares.gather(1, targets[:, None])[:, 0]
    return -((1 - smoothing) * own + smoothing * spread).mean()


def contrast_auroc(logits: NDArray[np.float64], images: TrainingSet) -> float:
    """Mean AUROC over the pairs of classes of each site, weighed by the images of a pair.

    Args:
        logits: (N, K).
        images: The N images.
    """
    sites = [site_of(record) for record in images.records]
    total = weight = 0.0
    for site in dict.fromkeys(sites):
        own = np.array([one == site for one in sites])
        for first, second in combinations(sorted(set(images.targets[own].tolist())), 2):
            pair = own & np.isin(images.targets, (first, second))
            score = logits[pair, first] - logits[pair, second]
            total += pair.sum() * auroc(score, images.targets[pair] == first)
            weight += pair.sum()
    return total / weight if weight else 0.5


def auroc(score: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Of N images, each weighing alike."""
    return float(Ranking(positive, score).auroc_and_average_precision(np.ones((1, len(score))))[0][0])


def learning_rate_factor(step: int, steps_per_epoch: int, section: OptimiseSection) -> float:
    """Factor on the base learning rate at an optimiser step.

    Linear warm-up, then: ``cosine`` falls to 0 at the last epoch (Loshchilov & Hutter, ICLR 2017); ``exponential``
    multiplies by ``decay_rate`` every ``decay_steps`` steps; ``constant`` stays.
    """
    warmup = min(1.0, (step + 1) / max(1.0, section.warmup_epochs * steps_per_epoch))
    if section.schedule == "constant":
        return warmup
    if section.schedule == "exponential":
        return float(warmup * section.decay_rate ** (step // section.decay_steps))
    return warmup * 0.5 * (1 + math.cos(math.pi * min(1.0, step / (section.epochs * steps_per_epoch))))


def _optimiser(network: Classifier, section: OptimiseSection) -> torch.optim.Optimizer:
    """AdamW or Adam; biases and batch-norm scales are not decayed."""
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    kind = torch.optim.AdamW if section.optimiser == "adamw" else torch.optim.Adam
    return kind(
        [
            {"params": [p for p in learning if p.ndim > 1], "weight_decay": section.weight_decay},
            {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=section.learning_rate,
    )


def _ema(decay: float) -> Callable[..., None]:
    """Averaging with a warm-up, so that the first steps do not weigh for ever."""

    def update(averaged: tuple[Tensor, ...], current: tuple[Tensor, ...], count: Tensor | int) -> None:
        steps = float(count)
        share = min(decay, (1 + steps) / (10 + steps))
        get_ema_multi_avg_fn(share)(averaged, current, count)  # type: ignore[no-untyped-call]

    return update
