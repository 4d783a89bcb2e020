//! Orders that only `nodetool` can give, as short scripts in a node's container. What takes long
//! goes on in the background, one at a time by a lock that ends with its process; its end is a
//! file in the claim. A script that is run again finds out and does no more.

use std::time::Duration;

use crate::mesh::build::store::{CASSANDRA_DATA, LEFT, SCYLLA_DATA};
use crate::nodes::reach::Reach;
use crate::nodes::{NodeRef, NodesError};

use super::session::cut;

/// Where claims are mounted, by the image that runs.
const ROOTS: [&str; 2] = [CASSANDRA_DATA, SCYLLA_DATA];
/// A folder in a claim: locks, what failed last and when, and which repair was done.
const NOTES: &str = ".pulsemesh";

/// Between a failure and the next attempt: what makes a node refuse is seldom over sooner, and
/// each attempt loads it.
const PAUSE: Duration = Duration::from_secs(300);

/// Goes to the folder of notes. `$1` is its name, `$2` a text, `$3` the pause, the others are
/// roots.
const BEGIN: &str = r#"
notes=$1 text=$2 pause=$3; shift 3
for root; do [ -d "$root" ] && break; done
command -v flock >/dev/null || { echo 'the image has no flock' >&2; exit 1; }
mkdir -p "$root/$notes" && cd "$root/$notes" || exit 3
"#;

/// Has a command run in the background, unless it runs or has failed within the pause; once it
/// ends well, `$text` is in the file `$2`. What failed last is told until then, also while it is
/// tried again: how often in a row as output, and why as error.
const WORK: &str = r#"
work() {
  order=$1 proof=$2; shift 2
  failures=0 at=0 said=
  seen=$(cat "$order.failed" 2>/dev/null)
  if [ "$(printf '%s\n' "$seen" | sed -n 2p)" = "$text" ]; then
    failures=${seen%% *} at=$(printf '%s\n' "$seen" | sed -n '1s/.* //p')
    said=$(printf '%s\n' "$seen" | tail -n +3)
  fi
  past=$(($(date +%s) - at))
  if flock -n "$order.lock" true && { [ $past -ge $pause ] || [ $past -lt 0 ]; }; then
    flock -n "$order.lock" sh -c '
      order=$0 proof=$1 text=$2 failures=$3 seen=$4; shift 4
      # What ended since it was looked at is not begun anew.
      [ "$(cat "$order.failed" 2>/dev/null)" = "$seen" ] || exit 0
      [ "$(cat "$proof" 2>/dev/null)" != "$text" ] || exit 0
      if "$@" >"$order.log" 2>&1; then
        echo "$text" >"$proof" && rm -f "$order.log" "$order.failed"
      else
        { echo "$failures $(date +%s)"; echo "$text"; tail -n 3 "$order.log"; } >"$order.new"
        mv "$order.new" "$order.failed"
      fi
    ' "$order" "$proof" "$text" $((failures + 1)) "$seen" "$@" </dev/null >/dev/null 2>&1 &
  fi
  [ $failures -eq 0 ] || { echo "$failures"; echo "$said" >&2; exit 1; }
}
"#;

/// `$text` is the note that is left behind in the claim's root.
const DECOMMISSION: &str = r#"
[ -e "../$text" ] && exit 0
work decommission "../$text" nodetool decommission
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
case $root in */scylla) full= ;; *) full=-full ;; esac
work repair repaired nodetool repair $full -pr
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
    let mut command = vec!["sh".to_owned(), "-c".to_owned(), format!("{BEGIN}{WORK}{script}")];
    let pause = PAUSE.as_secs().to_string();
    command.extend(["sh", NOTES, text, &pause].map(str::to_owned));
    command.extend(ROOTS.map(str::to_owned));
    let pod = || node.pod.clone();
    let output = reach.exec(node, command).await;
    let output = output.map_err(|why| NodesError::Unreachable { pod: pod(), why: cut(&why) })?;
    if output.is_success {
        return Ok(output.stdout);
    }
    let why = cut(&output.stderr);
    Err(match output.stdout.trim().parse() {
        Ok(times) => NodesError::Failing { pod: pod(), order, times, why },
        Err(_) => NodesError::Refused { pod: pod(), order, why },
    })
}

#[cfg(test)]
mod unit_tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::process::Command;
    use std::time::Instant;

    use tempfile::TempDir;
    use tokio::time::sleep;

    use super::*;
    use crate::nodes::reach::{Login, Output};

    /// A container that is a folder, with a `nodetool` that writes down each call and does as the
    /// file `answer` says.
    #[derive(Debug)]
    struct Folder(TempDir);

    impl Folder {
        fn new() -> Self {
            let folder = Self(TempDir::new().expect("a folder"));
            fs::create_dir(folder.at("cassandra")).expect("a root");
            let tool = folder.at("nodetool");
            let script = "#!/bin/sh\necho x >>\"${0%/*}/calls\"\n. \"${0%/*}/answer\"\n";
            fs::write(&tool, script).expect("written");
            fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).expect("a program");
            folder
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn answer(&self, script: &str) {
            fs::write(self.at("answer"), script).expect("written");
        }

        fn calls(&self) -> usize {
            fs::read_to_string(self.at("calls")).unwrap_or_default().lines().count()
        }

        /// What failed last did so long ago.
        fn wait_long(&self, times: u32) {
            let file = self.at("cassandra/.pulsemesh/repair.failed");
            let text = fs::read_to_string(&file).expect("a failure");
            let (_, rest) = text.split_once('\n').expect("lines");
            fs::write(&file, format!("{times} 1\n{rest}")).expect("written");
        }
    }

    impl Reach for Folder {
        async fn exec(&self, _: &NodeRef, command: Vec<String>) -> Result<Output, String> {
            let script = format!("PATH=\"{}:$PATH\"; {}", self.0.path().display(), command[2]);
            let root = self.at("cassandra").display().to_string();
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(script).args(
                command[3..].iter().map(|word| if word == CASSANDRA_DATA { &root } else { word }),
            );
            let output = tokio::task::spawn_blocking(move || shell.output()).await.expect("run");
            let output = output.map_err(|error| error.to_string())?;
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            let is_success = output.status.success();
            Ok(Output { is_success, stdout: text(output.stdout), stderr: text(output.stderr) })
        }

        async fn login(&self, _: &NodeRef) -> Result<Option<Login>, String> {
            Ok(None)
        }

        async fn is_at_its_address(&self, _: &NodeRef) -> Result<bool, String> {
            Ok(true)
        }
    }

    fn node() -> NodeRef {
        let [namespace, pod, credentials] = ["shop", "demo-store-a-0", "a"].map(str::to_owned);
        NodeRef { namespace, pod, address: [127, 0, 0, 1].into(), credentials }
    }

    /// Gives the order until it answers as wished.
    async fn until(
        folder: &Folder,
        reason: &str,
        is_it: impl Fn(&Result<bool, NodesError>) -> bool,
    ) -> Result<bool, NodesError> {
        let begun = Instant::now();
        loop {
            let answer = repaired(folder, &node(), reason).await;
            if is_it(&answer) {
                return answer;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{answer:?}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn times(answer: &Result<bool, NodesError>) -> u32 {
        match answer {
            Err(NodesError::Failing { times, why, .. }) => {
                assert_eq!(why, "no peer");
                *times
            }
            _ => 0,
        }
    }

    #[tokio::test]
    async fn what_fails_is_told_alike_and_tried_again_only_after_a_pause() {
        let folder = Folder::new();
        folder.answer("echo no peer; exit 1");
        until(&folder, "a", |answer| times(answer) == 1).await.expect_err("it failed");
        for _ in 0..3 {
            assert_eq!(times(&repaired(&folder, &node(), "a").await), 1);
        }
        assert_eq!(folder.calls(), 1, "not within the pause");
        folder.wait_long(1);
        until(&folder, "a", |answer| times(answer) == 2).await.expect_err("it failed");
        assert_eq!(folder.calls(), 2);
        // It is told also while it is tried again.
        folder.answer("while [ ! -e \"${0%/*}/go\" ]; do sleep 0.01; done");
        folder.wait_long(2);
        for _ in 0..3 {
            assert_eq!(times(&repaired(&folder, &node(), "a").await), 2);
        }
        fs::write(folder.at("go"), "").expect("written");
        until(&folder, "a", |answer| matches!(answer, Ok(true))).await.expect("repaired");
        assert_eq!(folder.calls(), 3);
    }

    #[tokio::test]
    async fn another_repair_does_not_wait_for_the_one_that_failed() {
        let folder = Folder::new();
        folder.answer("echo no peer; exit 1");
        until(&folder, "a", |answer| times(answer) == 1).await.expect_err("it failed");
        folder.answer("exit 0");
        until(&folder, "b", |answer| matches!(answer, Ok(true))).await.expect("repaired");
        assert_eq!(folder.calls(), 2);
    }

    #[tokio::test]
    async fn a_leave_is_noted_where_the_next_start_looks() {
        let folder = Folder::new();
        folder.answer("exit 0");
        let begun = Instant::now();
        while !folder.at("cassandra").join(LEFT).exists() {
            decommission(&folder, &node()).await.expect("begun");
            assert!(begun.elapsed() < Duration::from_secs(20));
            sleep(Duration::from_millis(5)).await;
        }
        decommission(&folder, &node()).await.expect("nothing to do");
        assert_eq!(folder.calls(), 1);
    }
}
