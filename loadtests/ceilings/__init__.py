"""Where one Postgres and one Redis end, in CPU of their own."""
