"""Every reader against files made of its seeds by chance that is seeded; run as a script, it prints what it found.

    python tests/fuzz/all_readers.py INPUTS SEED FOLDER

The last line is JSON: inputs, faults with the file that showed each, and how much the process grew.
"""

from __future__ import annotations

import faulthandler
import json
import random
import sys
import warnings
from pathlib import Path

from fuzz.targets import TARGETS
from fuzz.trial import Trial, name_of, peak_bytes

_STALLED_S = 120


def main(inputs: int, seed: int, folder: Path) -> None:
    """Read so many files, shared among the readers by their weights."""
    warnings.simplefilter("ignore")
    weights = sum(target.weight for target in TARGETS)
    done, faults, growth = 0, [], 0
    for number, target in enumerate(TARGETS):
        place, scratch = folder / f"{number}", folder / f"{number}-seeds"
        place.mkdir()
        scratch.mkdir()
        rng, seeds, trial = random.Random(f"{seed} {target.name}"), target.seeds(scratch), Trial(target, place)
        share = -int(-inputs * target.weight // weights)
        for content in seeds[:3]:
            trial.read(content)  # loads what is loaded once, so that it is not counted
        base = peak_bytes()
        for _ in range(share):
            content = target.mutate(rng, rng.choice(seeds))
            faulthandler.dump_traceback_later(_STALLED_S, exit=True)
            outcome = trial.read(content)
            done += 1
            if outcome.fault:
                kept = folder / f"{number}-{name_of(content)}.bin"
                kept.write_bytes(content)
                faults.append(f"{target.name}: {outcome.fault} ({kept})")
        growth = max(growth, peak_bytes() - base)
    faulthandler.cancel_dump_traceback_later()
    sys.stdout.write(json.dumps({"inputs": done, "faults": faults, "growth_bytes": growth}) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
