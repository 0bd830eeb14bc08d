"""What speaks for a number is no reason against it."""

from __future__ import annotations

from duoscan.audit.gate import Measured, judge
from duoscan.audit.result import Level, against


def test_beside_bad_news_good_news_is_no_reason() -> None:
    judged = [(Level.PASS, "fine"), (Level.WARN, "odd"), (Level.NOT_KNOWN, "too few")]
    assert against(judged) == ("odd", "too few")
    assert against(iter(judged[:1])) == ("fine",)
    assert against([]) == ()


def test_a_verdict_tells_both_apart() -> None:
    facts = Measured(
        "m", 300, 120, 180, (0.9, 0.85, 0.94), (0.85, 0.8, 0.9), 0.6,
        split="test", threshold_is_from_test=False, external_sources=(), test_uses=1, models_tried=1,
    )  # fmt: skip
    verdict = judge((), facts)
    assert verdict.good_news
    assert not set(verdict.good_news) & set(verdict.reasons)
    assert any("120 covid patients and 180 others" in text for text in verdict.good_news)
    assert any("every measured source took part in training" in text for text in verdict.reasons)
