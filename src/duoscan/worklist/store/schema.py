"""The tables. A change here is a new step under ``migrations/versions``; a test holds the two equal.

Times are seconds since 1970, UTC. Identifiers are random texts, so that nobody can count through them.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _text(name: str, *, default: str | None = None) -> Column[str]:
    return Column(name, Text, nullable=False, server_default=default)


def _number(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default="0")


def _time(name: str) -> Column[float]:
    return Column(name, Double, nullable=False, server_default="0")


def _yes_or_no(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False, server_default=text("false"))


ACCOUNTS = Table(
    "accounts",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    _text("role"),
    Column("password_hash", Text),  # none: by a link, or by an identity provider
    _yes_or_no("is_closed"),
    _text("preferences", default="{}"),
    _time("created"),
)

SESSIONS = Table(
    "sessions",
    METADATA,
    Column("token_hash", Text, primary_key=True),
    Column("account", ForeignKey("accounts.id"), nullable=False, index=True),
    _text("kind"),  # browser, or token of a program
    _text("csrf"),
    _text("label", default=""),
    _time("created"),
    _time("expires"),
)

LINKS = Table(
    "links",
    METADATA,
    Column("token_hash", Text, primary_key=True),
    Column("account", ForeignKey("accounts.id"), nullable=False),
    _time("expires"),
)

UPLOADS = Table(
    "uploads",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("account", ForeignKey("accounts.id"), nullable=False),
    Column("idempotency_key", Text),
    _text("state"),
    _text("patient", default=""),  # as the person states it, for pictures that name nobody
    _text("remark", default=""),
    _time("created"),
    UniqueConstraint("account", "idempotency_key"),
)

UPLOAD_FILES = Table(
    "upload_files",
    METADATA,
    Column("upload", ForeignKey("uploads.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    _text("name"),
    _text("blob"),
    _number("bytes"),
)

CASES = Table(
    "cases",
    METADATA,
    Column("id", Text, primary_key=True),
    _text("patient"),  # key of the patient
    _text("patient_id"),
    _text("state"),
    _text("answer", default=""),
    _text("reason", default=""),
    _number("urgency"),
    _text("xray_state", default="absent"),
    Column("xray_probability", Double),
    _text("ct_state", default="absent"),
    Column("ct_probability", Double),
    _yes_or_no("need_ct"),
    _number("images"),
    _time("arrived"),
    _time("changed"),
    _number("version"),
    _text("wanted", default=""),  # key of the job whose answer is to be stored
    Column("document", Text),  # the stored case
    Column("maps", Text),  # blob of its activation maps
    Column("claimed_by", ForeignKey("accounts.id")),
    _time("claimed_until"),
    _time("signed"),  # 0 while open
    _text("agreement", default=""),
    Index("ix_cases_by_urgency", "urgency", "arrived", "id"),
    Index("ix_cases_changed", "changed"),
    Index("ix_cases_patient", "patient"),
    # What arrives after the sign-off is a case of its own, with the signed one as its prior.
    Index(
        "uq_cases_open",
        "patient",
        unique=True,
        sqlite_where=text("signed = 0"),
        postgresql_where=text("signed = 0"),
    ),
)

CASE_IMAGES = Table(
    "case_images",
    METADATA,
    Column("case_id", ForeignKey("cases.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    _text("blob"),
    _text("modality", default=""),
    _text("study", default=""),
    _text("series", default=""),
    _text("described", default=""),
    Column("place_mm", Double),
    _number("number"),
    _number("frames"),
    Column("row_spacing_mm", Double),
    Column("column_spacing_mm", Double),
)

JOBS = Table(
    "jobs",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    _text("kind"),
    _text("subject"),
    _text("state"),
    _number("attempts"),
    _text("worker", default=""),
    _time("not_before"),
    _time("lease_until"),
    _text("reason", default=""),
    _time("created"),
    _time("changed"),
    Index("ix_jobs_due", "state", "not_before", "created"),
)

SIGN_OFFS = Table(
    "sign_offs",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("case_id", ForeignKey("cases.id"), nullable=False, index=True),
    Column("account", ForeignKey("accounts.id"), nullable=False),
    _number("version"),  # of the case that was seen
    _text("agreement"),
    _text("comment", default=""),
    _time("created"),
)

VIEWS = Table(
    "views",
    METADATA,
    Column("account", ForeignKey("accounts.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    _text("query"),
)

TRAIL = Table(
    "trail",
    METADATA,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    _time("at"),
    _text("actor"),
    _text("action"),
    _text("subject"),
    _text("detail"),
    _text("digest"),
    Index("ix_trail_subject", "subject"),
)
