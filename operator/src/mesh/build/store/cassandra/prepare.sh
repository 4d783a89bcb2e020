# Runs once for each pod, before its node: puts data of a node that has left the ring aside, and
# copies the image's settings to where they can be written.
set -eu
data=/var/lib/cassandra

if [ -e "$data/pulsemesh-left" ]; then
  aside=$data/left-$(date -u +%Y%m%d-%H%M%S)
  mkdir -p "$aside"
  for name in pulsemesh-joined data commitlog hints saved_caches cdc_raw; do
    [ ! -e "$data/$name" ] || mv "$data/$name" "$aside/"
  done
  # Last: what is stopped before it begins again.
  mv "$data/pulsemesh-left" "$aside/"
  echo "the node that used this claim has left the ring: its data is in $aside now"
fi

cp -R /etc/cassandra/. /copy/
