//! Orders that only `nodetool` can give, as short scripts in a node's container. What takes long
//! goes on in the background, one at a time by a lock that ends with its process; its end is a
//! file in the claim. A script that is run again finds out and does no more.

use crate::mesh::build::store::{CASSANDRA_DATA, LEFT, SCYLLA_DATA};
use crate::nodes::reach::Reach;
use crate::nodes::{NodeRef, NodesError};

use super::session::cut;

/// Where claims are mounted, by the image that runs.
const ROOTS: [&str; 2] = [CASSANDRA_DATA, SCYLLA_DATA];
/// A folder in a claim: locks, what failed last, and which repair was done.
const NOTES: &str = ".pulsemesh";

/// Goes to the folder of notes. `$1` is its name, `$2` a text, the others are roots.
const BEGIN: &str = r#"
notes=$1 text=$2; shift 2
for root; do [ -d "$root" ] && break; done
command -v flock >/dev/null || { echo 'the image has no flock' >&2; exit 1; }
mkdir -p "$root/$notes" && cd "$root/$notes" || exit 3
"#;

/// `$text` is the note that is left behind in the claim's root. A failure of the attempt before
/// is told.
const DECOMMISSION: &str = r#"
[ -e "../$text" ] && exit 0
flock -n decommission.lock true || exit 0
said=$(tail -n 3 decommission.log 2>/dev/null)
flock -n decommission.lock sh -c '
  nodetool decommission >decommission.log 2>&1 && echo done >"../$0" && rm decommission.log
' "$text" </dev/null >/dev/null 2>&1 &
[ -z "$said" ] || { echo "$said" >&2; exit 1; }
"#;

/// The node itself has to say that it is out, unless it has said so before.
const MARK_LEFT: &str = r#"
[ -e "../$text" ] && exit 0
nodetool netstats | grep -q 'Mode: DECOMMISSIONED' || { echo 'it has not left' >&2; exit 1; }
echo done >"../$text"
"#;

/// `$text` is why. Each node repairs the ranges that it is the first of; all together, all.
const REPAIR: &str = r#"
[ "$(cat repaired 2>/dev/null)" = "$text" ] && { echo done; exit 0; }
flock -n repair.lock true || exit 0
said=$(tail -n 3 repair.log 2>/dev/null)
case $root in */scylla) full= ;; *) full=-full ;; esac
flock -n repair.lock sh -c '
  nodetool repair $1 -pr >repair.log 2>&1 && echo "$0" >repaired && rm repair.log
' "$text" "$full" </dev/null >/dev/null 2>&1 &
[ -z "$said" ] || { echo "$said" >&2; exit 1; }
"#;

pub(super) async fn decommission<R: Reach>(reach: &R, node: &NodeRef) -> Result<(), NodesError> {
    run(reach, node, ("to leave", DECOMMISSION, LEFT)).await.map(drop)
}

pub(super) async fn mark_left<R: Reach>(reach: &R, node: &NodeRef) -> Result<(), NodesError> {
    run(reach, node, ("to note that it has left", MARK_LEFT, LEFT)).await.map(drop)
}

pub(super) async fn repaired<R: Reach>(
    reach: &R,
    node: &NodeRef,
    reason: &str,
) -> Result<bool, NodesError> {
    let said = run(reach, node, ("to repair", REPAIR, reason)).await?;
    Ok(said.trim() == "done")
}

/// Runs a script with a text and gives what it says.
async fn run<R: Reach>(
    reach: &R,
    node: &NodeRef,
    (order, script, text): (&'static str, &str, &str),
) -> Result<String, NodesError> {
    let mut command = vec!["sh".to_owned(), "-c".to_owned(), format!("{BEGIN}{script}")];
    command.extend(["sh", NOTES, text].map(str::to_owned));
    command.extend(ROOTS.map(str::to_owned));
    let pod = || node.pod.clone();
    let output = reach.exec(node, command).await;
    let output = output.map_err(|why| NodesError::Unreachable { pod: pod(), why: cut(&why) })?;
    if output.is_success {
        return Ok(output.stdout);
    }
    Err(NodesError::Refused { pod: pod(), order, why: cut(&output.stderr) })
}
