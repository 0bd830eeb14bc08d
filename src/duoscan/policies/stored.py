"""The policy a bundle carries, and whether it may be obeyed with the models at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.errors import InputError
from duoscan.inference.bundle import write_changed
from duoscan.policies.certify import Models, check_certificate
from duoscan.policies.policy import DEFAULT_POLICY, Certificate, Policy, PolicyDraft, parse_policy

if TYPE_CHECKING:
    from pathlib import Path

    from duoscan.inference.bundle import Bundle


def store_policy(bundle: Bundle, policy: Policy, path: Path) -> Bundle:
    """Write a copy of a bundle that carries the policy; the bundle itself is sealed and stays as it is.

    Args:
        bundle: Either phase.
        policy: Resolved.
        path: Of the copy.
    """
    table = policy.model_dump(mode="json", exclude_none=True)
    return write_changed(bundle, path, {"policy": table})


def stored_policy(xray: Bundle, ct: Bundle) -> PolicyDraft | None:
    """The policy that the bundles carry; ``None`` where neither does.

    Raises:
        InputError: They carry different ones, or one that is not understood.
    """
    found = [
        parse_policy(bundle.info.policy, str(bundle.path)) for bundle in (xray, ct) if bundle.info.policy is not None
    ]
    if len(found) == 2 and found[0] != found[1]:
        raise InputError(
            f"{xray.path} and {ct.path} carry different policies ({found[0].name}; {found[1].name}); "
            "name the one to obey with --policy"
        )
    return found[0] if found else None


def policy_in_force(xray: Bundle, ct: Bundle, given: PolicyDraft | None) -> Policy:
    """The policy given, else the one the bundles carry, else confirm positives; with thresholds.

    Raises:
        InputError: Its certificate is for other models, or the bundles carry different policies.
    """
    policy = given or stored_policy(xray, ct) or DEFAULT_POLICY
    if policy.certificate:
        check_covers(policy.certificate, xray.study_digest, ct.study_digest)
    return policy.resolved(xray.info.study_threshold, ct.info.study_threshold)


def check_covers(certificate: Certificate, xray_digest: str, ct_digest: str) -> None:
    """Hold a certificate against the models that answer, by their ``study_digest``.

    Raises:
        InputError: It is for other models.
    """
    check_certificate(certificate, Models(xray_digest, ct_digest))
