"""What the user states and the software cannot know: costs, the harm of a CT, the department.

As a TOML file; every table may be left out, and then nothing is computed that would need it:

    ct_harm = 0.005              # in true positives a CT: 200 CTs are worth one found case
    treat_from = 0.1             # P(covid) from which on one would treat, for curves over prevalence
    target_sensitivity = 0.95    # the cheapest policy with at least this is looked for

    [costs]                      # in any one unit
    miss = …
    false_positive = …
    xray = …
    ct = …

    [department]
    arrivals_per_hour = …
    readers = …
    read_minutes = …
    scanners = …
    scan_minutes = …
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from duoscan.errors import InputError
from duoscan.policies.queueing import Department
from duoscan.policies.worth import Costs
from duoscan.settings import Stated, read_toml, validated

_NAMED = "in a TOML file named by --assumptions"
HOW_COSTS = f"give them as [costs] with miss, false_positive, xray and ct, in any one unit, {_NAMED}"
HOW_DEPARTMENT = (
    f"give it as [department] with arrivals_per_hour, readers, read_minutes, scanners and scan_minutes {_NAMED}"
)


class Assumptions(Stated):
    """The file's content.

    Attributes:
        ct_harm: Harm of a CT in true positives.
        treat_from: Threshold probability of the curves over prevalence.
        target_sensitivity: Of the cheapest policy.
        costs: ``None`` where not given; none is assumed.
        department: ``None`` where not given; none is assumed.
    """

    ct_harm: float = Field(default=0.0, ge=0, lt=1)
    treat_from: float = Field(default=0.1, ge=0, lt=1)
    target_sensitivity: float = Field(default=0.95, gt=0, le=1)
    costs: Costs | None = None
    department: Department | None = None


def read_assumptions(path: Path | None, ct_harm: float | None = None) -> Assumptions:
    """Assumptions from a file.

    Args:
        path: Of the TOML file; ``None`` states nothing.
        ct_harm: Goes before the file's.

    Raises:
        InputError: No such file, not TOML, an unknown key or a wrong value.
    """
    table = read_toml(path, InputError) if path else {}
    if ct_harm is not None:
        table["ct_harm"] = ct_harm
    return validated(Assumptions, table, path or Path("assumptions"), InputError)
