"""Sign-off: what readers say of an answer, and when a case is closed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sqlalchemy import select, update

from duoscan.errors import ConflictError
from duoscan.worklist.store.cases import CaseState, Urgency, check_version, read_case
from duoscan.worklist.store.database import new_id
from duoscan.worklist.store.schema import ACCOUNTS, CASES, SIGN_OFFS

if TYPE_CHECKING:
    from sqlalchemy import Connection

_LONGEST_COMMENT = 4000


class Agreement(StrEnum):
    """What a reader says of the answer."""

    AGREE = "agree"
    DISAGREE = "disagree"
    CANNOT_SAY = "cannot say"


@dataclass(frozen=True)
class SignOff:
    """One reader's word.

    Attributes:
        account: Id of the reader.
        reader: Name of the reader.
        version: Of the case that was seen.
        agreement: With the answer of that version.
        comment: In the reader's words.
        created: Seconds since 1970.
    """

    account: str
    reader: str
    version: int
    agreement: Agreement
    comment: str
    created: float


def sign_offs(connection: Connection, case: str) -> list[SignOff]:
    """All of a case, the first first."""
    query = (
        select(SIGN_OFFS, ACCOUNTS.c.name)
        .join(ACCOUNTS, ACCOUNTS.c.id == SIGN_OFFS.c.account)
        .where(SIGN_OFFS.c.case_id == case)
        .order_by(SIGN_OFFS.c.created)
    )
    return [
        SignOff(row.account, row.name, row.version, Agreement(row.agreement), row.comment, row.created)
        for row in connection.execute(query)
    ]


def visible_sign_offs(found: list[SignOff], account: str, *, is_closed: bool) -> list[SignOff]:
    """What a person may see: until a case is closed, nobody but a reader who signed sees another's word."""
    has_signed = any(one.account == account for one in found)
    return found if is_closed or has_signed else []


def sign(
    connection: Connection,
    case: str,
    account: str,
    agreement: Agreement,
    comment: str,
    *,
    version: int,
    readers: int,
    now: float,
) -> bool:
    """Sign a case off.

    Args:
        connection: To write by.
        case: Which.
        account: The reader.
        agreement: With the answer.
        comment: In the reader's words.
        version: Of the case as the reader saw it.
        readers: How many different readers close a case.
        now: Seconds since 1970.

    Returns:
        Whether that closed the case.

    Raises:
        ConflictError: The case changed since, is not answered yet, somebody else is at it, or the reader has signed.
    """
    check_version(connection, case, version)
    row = read_case(connection, case)
    if row is None or row.state is CaseState.WAITING:
        raise ConflictError("the case is still being screened; sign off when it is answered")
    if row.claimed_by not in {None, account} and row.claimed_until >= now:
        raise ConflictError(f"{row.claimed_name} is at this case; wait, or ask them")
    before = sign_offs(connection, case)
    current = {one.account for one in before if one.version == version}
    if account in current:
        raise ConflictError("you have signed this case; it waits for another reader")
    connection.execute(
        SIGN_OFFS.insert().values(
            id=new_id(), case_id=case, account=account, version=version, agreement=agreement,
            comment=comment[:_LONGEST_COMMENT], created=now,
        )
    )  # fmt: skip
    is_closed = len(current) + 1 >= readers
    values: dict[str, object] = {"claimed_by": None, "claimed_until": 0.0, "changed": now}
    if is_closed:
        said = {one.agreement for one in before if one.version == version} | {agreement}
        values |= {
            "state": CaseState.SIGNED,
            "urgency": Urgency.SIGNED.rank,
            "signed": now,
            "agreement": agreement if len(said) == 1 else "readers differ",
        }
    connection.execute(update(CASES).where(CASES.c.id == case).values(**values))
    return is_closed
