# Runs at each start of the container: writes the node's settings and becomes the image's own
# entrypoint, with the addresses of this pod and the flags that it is given.
set -eu
settings=/settings
seeds=$(cat "$settings/seeds")
echo "seeds: $seeds"

cat "$settings/scylla.yaml" >/etc/scylla/scylla.yaml
cat "$settings/rackdc.$RACK.properties" >/etc/scylla/cassandra-rackdc.properties
exec /docker-entrypoint.py --seeds "$seeds" --listen-address "$POD_IP" --broadcast-address "$POD_IP" \
  --rpc-address 0.0.0.0 --broadcast-rpc-address "$POD_IP" --api-address 127.0.0.1 "$@"
