#!/bin/bash
# What the official image's entrypoint does with its environment and /etc/cassandra: without
# arguments, or with options alone, runs `cassandra -f`, after it has edited cassandra.yaml and
# cassandra-rackdc.properties in place from CASSANDRA_* variables.
set -e
if [ $# -eq 0 ] || [ "${1#-}" != "$1" ]; then
  set -- cassandra -f "$@"
fi

address() { ip -4 address | sed -n '/127\.0\.0\.1/d; s|^ *inet \([0-9.]*\)/.*|\1|p' | head -n 1; }

# Not `sed -i`, which makes a new file: one that is mounted can't be replaced.
edit() { # FILE EXPRESSION
  local copy
  copy=$(mktemp)
  sed -r "$2" "$1" >"$copy"
  cat "$copy" >"$1"
  rm "$copy"
}

if [ "$1" = cassandra ]; then
  : "${CASSANDRA_RPC_ADDRESS=0.0.0.0}" "${CASSANDRA_LISTEN_ADDRESS=auto}"
  [ "$CASSANDRA_LISTEN_ADDRESS" != auto ] || CASSANDRA_LISTEN_ADDRESS=$(address)
  : "${CASSANDRA_BROADCAST_ADDRESS=$CASSANDRA_LISTEN_ADDRESS}"
  [ "$CASSANDRA_BROADCAST_ADDRESS" != auto ] || CASSANDRA_BROADCAST_ADDRESS=$(address)
  : "${CASSANDRA_BROADCAST_RPC_ADDRESS:=$CASSANDRA_BROADCAST_ADDRESS}"
  : "${CASSANDRA_SEEDS:=$CASSANDRA_BROADCAST_ADDRESS}"
  edit "$CASSANDRA_CONF/cassandra.yaml" 's/(- seeds:).*/\1 "'"$CASSANDRA_SEEDS"'"/'
  for key in broadcast_address broadcast_rpc_address cluster_name endpoint_snitch listen_address num_tokens \
    rpc_address start_rpc; do
    variable=CASSANDRA_${key^^}
    [ -z "${!variable}" ] ||
      edit "$CASSANDRA_CONF/cassandra.yaml" 's/^(# )?('"$key"':).*/\2 '"${!variable}"'/'
  done
  for key in dc rack; do
    variable=CASSANDRA_${key^^}
    [ -z "${!variable}" ] ||
      edit "$CASSANDRA_CONF/cassandra-rackdc.properties" 's/^('"$key"'=).*/\1 '"${!variable}"'/'
  done
fi
exec "$@"
