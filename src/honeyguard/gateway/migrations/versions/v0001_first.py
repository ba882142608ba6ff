"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "0001", None, None, None


def upgrade() -> None:
    op.create_table(
        "clients",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("key_hash", sa.Text, nullable=False),
        sa.Column("budget", sa.BigInteger),
        sa.Column("spent", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("mode", sa.Text, nullable=False, server_default="normal"),
        sa.Column("step", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("risk", sa.Float, nullable=False, server_default="0"),
        sa.Column("reason", sa.Text),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("revoked", sa.Float),
    )
    op.create_table(
        "entries",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("time", sa.Float, nullable=False),
        sa.Column("client", sa.Text),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("images", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
    )
    op.create_index("entries_kind", "entries", ["kind", "time"])
    op.create_index("entries_client", "entries", ["client", "seq"])
    heads = op.create_table(
        "heads",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
    )
    op.bulk_insert(heads, [{"id": 1, "seq": 0, "digest": "0" * 64}])
    op.create_table("journals", sa.Column("name", sa.Text, primary_key=True))
    op.create_table(
        "queries",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("content", sa.LargeBinary),
    )
    op.create_table(
        "marks",
        sa.Column("client", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("time", sa.Float, nullable=False),
        sa.Column("image", sa.LargeBinary, nullable=False),
        sa.Column("told", sa.BigInteger, nullable=False),
        sa.Column("hidden", sa.BigInteger, nullable=False),
    )
