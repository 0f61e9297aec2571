#!/bin/sh
# Starts Postgres like its image does. Creates the user's database first, without passwords.
set -eu
programs=$(echo /usr/lib/postgresql/*/bin)
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    "$programs/initdb" --auth=trust --encoding=UTF8 --username="$POSTGRES_USER" >/dev/null
    echo "host all all all $POSTGRES_HOST_AUTH_METHOD" >>"$PGDATA/pg_hba.conf"
    echo "CREATE DATABASE $POSTGRES_DB" | "$programs/postgres" --single -D "$PGDATA" postgres >/dev/null
fi
exec "$programs/postgres" -D "$PGDATA" -c listen_addresses='*'
