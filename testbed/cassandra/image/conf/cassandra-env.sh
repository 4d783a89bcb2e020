# Adds to JVM_OPTS what depends on the environment: the heap (MAX_HEAP_SIZE), the log of garbage
# collection, administration on this host alone, and JVM_EXTRA_OPTS, which comes last.
: "${CASSANDRA_LOG_DIR:=$CASSANDRA_HOME/logs}"
mkdir -p "$CASSANDRA_LOG_DIR"
JVM_OPTS="$JVM_OPTS -Xlog:gc=info,safepoint=warning:file=$CASSANDRA_LOG_DIR/gc.log:time,uptime:filecount=10,filesize=10485760"
JVM_OPTS="$JVM_OPTS -Xms${MAX_HEAP_SIZE:=1G} -Xmx$MAX_HEAP_SIZE"
export MALLOC_ARENA_MAX="${MALLOC_ARENA_MAX:-4}"
JVM_OPTS="$JVM_OPTS -Dcassandra.jmx.local.port=${JMX_PORT:=7199} -Dcom.sun.management.jmxremote.authenticate=false"
JVM_OPTS="$JVM_OPTS $JVM_EXTRA_OPTS"
