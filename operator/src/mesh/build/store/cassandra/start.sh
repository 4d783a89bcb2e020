# Runs at each start of the container: writes the node's settings and becomes the image's own
# entrypoint, which fills in the addresses.
set -eu
data=/var/lib/cassandra etc=/etc/cassandra settings=/settings

all=$(cat "$settings/seeds")
others=
for seed in $(echo "$all" | tr , ' '); do
  case $seed in
    "$POD_NAME".*) ;;
    *) others=$others${others:+,}$seed ;;
  esac
done

if [ -e "$data/pulsemesh-joined" ] && [ -d "$data/data/system" ]; then
  # Being a seed itself, it starts though it finds no other; it has its data, and needs none.
  seeds=$others${others:+,}$POD_IP
elif [ -n "$others" ]; then
  # Not a seed itself: a seed takes over no data.
  seeds=$others
else
  seeds=$POD_IP
fi
echo "seeds: $seeds"

edits="s|@SEEDS@|$seeds|"
if [ -z "$others" ]; then
  # Nobody to hear of, nobody to share tokens with: a lone node would wait for nothing.
  edits="$edits; /^allocate_tokens/d"
  export JVM_EXTRA_OPTS="$JVM_EXTRA_OPTS -Dcassandra.skip_wait_for_gossip_to_settle=0"
fi
sed "$edits" "$settings/cassandra.yaml" >"$etc/cassandra.yaml"
cat "$settings/rackdc.$RACK.properties" >"$etc/cassandra-rackdc.properties"
cat "$settings/logback.xml" >"$etc/logback.xml"
exec docker-entrypoint.sh cassandra -f
