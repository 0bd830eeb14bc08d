"""Training speed of a recipe's network: float32 and bfloat16, channels first and last; medians of repeated steps.

    python benchmarks/train_step.py --backbone FOLDER [--steps 7]

The four settings take turns, so that other load on the machine, which is printed, meets all of them alike.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections import defaultdict

import torch
import torch.nn.functional as F

from duoscan.training.classifier import Classifier, build_classifier
from duoscan.training.recipe import read_recipe


def step(network: Classifier, images: torch.Tensor, targets: torch.Tensor, *, amp: bool) -> float:
    """Seconds of one forward and backward pass."""
    started = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        logits = network(images)
    F.cross_entropy(logits.float(), targets).backward()
    network.zero_grad()
    return time.perf_counter() - started


def main() -> None:
    """Time the four settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--steps", type=int, default=7)
    arguments = parser.parse_args()
    recipe = read_recipe("compact-ct", [f"model.backbone={arguments.backbone}"])
    batch = recipe.optimise.batch_size
    images, targets = torch.rand(batch, 1, recipe.input.size, recipe.input.size), torch.randint(2, (batch,))
    network = build_classifier(recipe)[0].train()
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for turn in range(arguments.steps + 1):
        for layout in (torch.contiguous_format, torch.channels_last):
            network = network.to(memory_format=layout)
            for amp in (False, True):
                taken = step(network, images.contiguous(memory_format=layout), targets, amp=amp)
                if turn:  # the first turn warms up
                    seconds[str(layout).removeprefix("torch."), "bfloat16" if amp else "float32"].append(taken)
    for (layout, kind), times in seconds.items():
        print(f"{layout:18} {kind:9} {batch / statistics.median(times):6.1f} images/s (median of {len(times)})")
    print(f"{torch.get_num_threads()} threads, load average {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
