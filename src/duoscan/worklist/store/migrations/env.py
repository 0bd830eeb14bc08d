"""Called by Alembic with the connection that :class:`~duoscan.worklist.store.database.Database` opened."""

from __future__ import annotations

from alembic import context

from duoscan.worklist.store.schema import METADATA


def migrate() -> None:
    """Take the steps that the database has not taken yet."""
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=METADATA,
        render_as_batch=True,  # SQLite alters a table by making it anew
        transactional_ddl=False,  # the caller's transaction holds all of it
    )
    context.run_migrations()


if __name__ == "env_py":  # as Alembic loads it; whoever else imports it migrates nothing
    migrate()
