"""Kill test of the node: kill -9 at random during reception, screening and sending; what is lost, what is done twice?

    python benchmarks/node_kill.py [--kills 50] [--kills-a-run 5] [--seed 0] [--slow-senders 0]

Each run sends the six studies of three synthetic patients to a node with stand-in models and kills it five times. A
sender repeats each object until it is acknowledged; a destination counts what arrives. Ends with exit code 1 if an
acknowledged object is lost, a patient is screened or a study reported twice, or one is not reported. Slow senders hold
on to connections from another address all the while, by two bytes a second.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from node_kills import run_kills
from stand_ins import write_brightness_bundles


def main() -> None:
    """Run and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--kills-a-run", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slow-senders", type=int, default=0)
    arguments = parser.parse_args()
    during: Counter[str] = Counter()
    acknowledged = studies = problems = dripped = 0
    for number in range(arguments.kills // arguments.kills_a_run):
        with tempfile.TemporaryDirectory() as name:
            bundles = write_brightness_bundles(Path(name))
            told = {"seed": arguments.seed + number, "kills": arguments.kills_a_run}
            outcome = run_kills(Path(name), bundles, slow_senders=arguments.slow_senders, **told)
        during += outcome.during
        acknowledged += outcome.acknowledged
        studies += outcome.studies
        dripped += outcome.dripped
        problems += len(outcome.problems)
        print(f"run {number}: last logged before each kill {dict(outcome.during)}")
        for problem in outcome.problems:
            print(f"  PROBLEM {problem}")
    print(f"{during.total()} kills, last event before: {dict(during.most_common())}")
    print(f"{acknowledged} objects acknowledged, {studies} studies, {problems} problems")
    print(f"{arguments.slow_senders} slow senders, {dripped} bytes of theirs taken")
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.2f}")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
