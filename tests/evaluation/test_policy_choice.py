"""The choice of a policy: Tango's limits against others' numbers, and how often a worse policy is taken."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import multinomial, norm

from duoscan.errors import InputError
from duoscan.evaluation.policies.choice import LEVEL, choose
from duoscan.evaluation.policies.noninferiority import PairedDifference, lower_limit, patients_needed, tango_lower
from duoscan.evaluation.policies.operating import Offer, Setting, operating_table
from duoscan.policies.certify import Promise
from duoscan.policies.rule import PolicyKind
from duoscan.policies.scores import PatientScores
from triage_cases import apart, cohort, setting


def test_tango_as_published() -> None:
    # Airway hyper-responsiveness, 1, 1, 7 and 12 of 21 patients (Fagerland, Lydersen and Laake, Statistics in Medicine
    # 2014, table VII): 95 % limits −0.517 and −0.026.
    assert tango_lower(7, 1, 21, 0.025) == pytest.approx(-0.517, abs=5e-4)
    assert -tango_lower(1, 7, 21, 0.025) == pytest.approx(-0.026, abs=5e-4)


def score_by_search(lost: int, gained: int, patients: int, difference: float) -> float:
    """Tango's statistic with the restricted likelihood searched in place of solved."""
    same = patients - lost - gained

    def loss(share_lost: float) -> float:
        shares = share_lost, share_lost + difference, 1 - 2 * share_lost - difference
        counts = lost, gained, same
        return -sum(count * math.log(max(share, 1e-300)) for count, share in zip(counts, shares, strict=True) if count)

    low, high = max(0.0, -difference), (1 - difference) / 2
    share = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    variance = (2 * share + difference - difference**2) / patients
    return ((gained - lost) / patients - difference) / math.sqrt(variance)


@pytest.mark.parametrize(
    ("lost", "gained", "patients"), [(1, 3, 30), (4, 4, 60), (12, 2, 50), (2, 9, 15), (5, 40, 300)]
)
@pytest.mark.parametrize("level", [0.05, 0.01])
def test_tango_by_another_way(lost: int, gained: int, patients: int, level: float) -> None:
    limit = tango_lower(lost, gained, patients, level)
    assert score_by_search(lost, gained, patients, limit) == pytest.approx(norm.isf(level), abs=1e-4)


def test_how_many_are_needed_where_none_is_answered_otherwise() -> None:
    # Five rivals at 0.05 in all: 0.9⁴⁴ = 0.0097 and 0.9⁴³ = 0.0108; 0.95⁹⁰ = 0.0099 and 0.95⁸⁹ = 0.0104.
    for margin, needed in ((0.1, 44), (0.05, 90)):
        assert patients_needed(margin, LEVEL / 5) == needed
        assert lower_limit(0, 0, needed, LEVEL / 5) > -margin >= lower_limit(0, 0, needed - 1, LEVEL / 5)
    assert lower_limit(44, 0, 44, 0.01) == -1.0


def test_one_more_found_never_lowers_the_limit_and_one_more_lost_does() -> None:
    limits = np.array([[lower_limit(lost, gained, 60, 0.01) for gained in range(12)] for lost in range(12)])
    assert np.all(np.diff(limits, axis=1) >= 0)
    assert np.all(np.diff(limits, axis=0) < 0)


@pytest.mark.parametrize(("level", "most"), [(0.01, 0.014), (0.025, 0.034), (0.05, 0.072)])
@pytest.mark.parametrize("patients", [30, 60])
def test_the_level_counted_out_over_all_tables_and_truths(patients: int, level: float, most: float) -> None:
    """How often a policy passes that is worse by just the margin of 0.1, whatever else is true of it."""
    tables = [(lost, gained) for lost in range(patients + 1) for gained in range(patients + 1 - lost)]
    passing = np.array([table for table in tables if lower_limit(*table, patients, level) > -0.1])
    counts = np.column_stack([passing, patients - passing.sum(axis=1)])
    worst = max(
        multinomial.pmf(counts, patients, [gained + 0.1, gained, 0.9 - 2 * gained]).sum()
        for gained in np.linspace(0, 0.45, 19)
    )
    assert level / 10 < worst <= most


def noisy(rng: np.random.Generator, sick: int, well: int, worse: float) -> PatientScores:
    """CT right in 95 of 100; the X-ray alone as specific and, of the sick, right in 95 less ``worse``, on its own."""
    truth = np.arange(sick + well) < sick
    xray_right = rng.random(len(truth)) < np.where(truth, 0.95 - worse, 0.95)
    ct_right = rng.random(len(truth)) < 0.95
    xray, ct = (np.where(truth == right, 0.9, 0.1) for right in (xray_right, ct_right))
    return PatientScores(tuple(map(str, range(len(truth)))), truth, xray, ct)


def chosen(patients: PatientScores, of: Setting) -> PolicyKind:
    return choose(operating_table(patients, patients, of), patients, of).offer.policy.kind


@pytest.mark.parametrize("sick", [15, 30, 60])
def test_a_policy_ten_points_worse_is_hardly_ever_chosen(sick: int) -> None:
    """By "within the interval of CT for all" it was in 0.95, 0.79 and 0.40 of cohorts with 15, 30 and 60 sick."""
    rng = np.random.default_rng(sick)
    of = setting(margin=0.1, promise=Promise(0.2))
    worse = [chosen(noisy(rng, sick, 200, 0.1), of) is PolicyKind.XRAY_ONLY for _ in range(60)]
    assert np.mean(worse) <= LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / 60)


def test_an_equal_policy_is_chosen_where_there_are_enough() -> None:
    rng = np.random.default_rng(0)
    of = setting(margin=0.1, promise=Promise(0.2))
    equal = [chosen(noisy(rng, 400, 400, 0.0), of) is PolicyKind.XRAY_ONLY for _ in range(20)]
    assert np.mean(equal) > 0.8


def table(patients: PatientScores, of: Setting) -> list[Offer]:
    return operating_table(patients, patients, of)


def test_it_says_who_is_missing() -> None:
    few = cohort(1, 20, 30)
    of = setting()
    found = choose(table(few, of), few, of)
    assert found.offer.policy.kind is PolicyKind.CT_FOR_ALL
    # Either positive loses none of the 20 sick and many of the well; rule-out none of either: 90 each for five rivals.
    assert "nearest is rule-out" in found.why
    assert "70 more sick (there are 20)" in found.why
    assert [rival.keeps(of.margin) for rival in found.rivals] == [False] * 5
    # Enough of both, and the X-ray alone is plainly worse: nobody is missing.
    many, asked = cohort(1, 300, 300), setting(promise=Promise(0.3), miss_rate_asked=True)
    assert "all lose too much; where none is answered otherwise 72 sick" in choose(table(many, asked), many, asked).why


def test_how_many_more_if_it_goes_on_so() -> None:
    # At one lost of 100, Clopper and Pearson's limit at 0.025 comes below 0.05 with some 120 patients.
    seen = PairedDifference(100, 1, 0, lower_limit(1, 0, 100, 0.025))
    needed = seen.patients_for(0.05, 0.025)
    assert needed
    assert lower_limit(needed / 100, 0, needed, 0.025) > -0.05 >= lower_limit((needed - 1) / 100, 0, needed - 1, 0.025)
    assert 100 < needed < 200
    assert PairedDifference(100, 6, 0, -0.2).patients_for(0.05, 0.025) is None
    assert PairedDifference(20, 0, 0, -0.2).patients_for(0.05, 0.025) == 72


def test_with_a_miss_rate_only_the_certified_are_held_against_ct_for_all() -> None:
    patients = cohort(1, 300, 300)
    of = setting(margin=0.2, promise=Promise(0.05), miss_rate_asked=True)
    found = choose(table(patients, of), patients, of)
    assert {rival.offer.policy.kind for rival in found.rivals} == {PolicyKind.RULE_OUT, PolicyKind.THREE_ZONES}
    assert found.level == LEVEL / 2
    assert found.offer.policy.certificate
    few = cohort(1, 40, 300)
    refused = choose(table(few, of), few, of)
    assert refused.offer.policy.kind is PolicyKind.CT_FOR_ALL
    assert "no policy with fewer CTs is certified" in refused.why


def test_without_pairs_it_is_ct_for_all() -> None:
    group = apart(cohort(1, 160, 160))
    found = choose(table(group, setting()), group, setting())
    assert found.offer.policy.kind is PolicyKind.CT_FOR_ALL
    assert "without paired" in found.why


@pytest.mark.parametrize("margin", [0.0, 1.0, -0.1])
def test_a_margin_out_of_range_is_refused(margin: float) -> None:
    with pytest.raises(InputError, match="margin"):
        setting(margin=margin)
