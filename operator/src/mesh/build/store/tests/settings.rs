//! The settings of a node: that Cassandra takes them, and what the scripts make of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use pulsemesh_crds::quantity::Size;
use serde_json::{Value, json};

use super::fixture::{managed, plan, reached, rename};
use crate::mesh::build::store::{JOINED, LEFT, objects};
use crate::mesh::observed::Observed;
use crate::mesh::plan::{ManagedPlan, Plan};
use crate::mesh::topology::StoreStep;

fn files(plan: &Plan, step: &StoreStep) -> BTreeMap<String, String> {
    let objects = objects(plan, &Observed::default(), step).expect("they can be written");
    serde_json::from_value(objects[1].value.data["data"].clone()).expect("files")
}

fn yaml(managed: ManagedPlan) -> Value {
    let files = files(&plan(managed), &reached(&[("rack1", 1)]));
    serde_saphyr::from_str(&files["cassandra.yaml"]).expect("it is YAML")
}

fn seeds(step: &StoreStep) -> String {
    files(&plan(managed(&[("a", 3), ("b", 3)])), step)["seeds"]
        .replace(".demo-store.default.svc", "")
        .replace("demo-store-", "")
}

/// The fields of Cassandra 5.0's `Config`, one a line.
const KNOWN: &str = include_str!("cassandra-5.0-settings.txt");

#[test]
fn cassandra_knows_every_setting() {
    for managed in [managed(&[("rack1", 1)]), managed(&[("a", 1), ("b", 1), ("c", 1)])] {
        let yaml = yaml(managed);
        for key in yaml.as_object().expect("settings").keys() {
            assert!(KNOWN.lines().any(|known| known == key), "Cassandra would refuse {key}");
        }
    }
}

#[test]
fn settings_follow_the_plan() {
    let with = |size: &str, copies| {
        let mut managed = managed(&[("rack1", 3)]);
        managed.storage.size = Size::from(size);
        managed.replication_factor = copies;
        yaml(managed)
    };
    let lone = with("1Gi", 1);
    assert_eq!(lone["cluster_name"], json!("default/demo"));
    assert_eq!(lone["authenticator"], json!("PasswordAuthenticator"));
    assert_eq!(lone["commitlog_total_space"], json!("256MiB"));
    assert_eq!(lone["max_hints_size_per_host"], json!("64MiB"));
    assert_eq!(lone["commitlog_sync"], json!("group"), "the only copy");
    let large = with("1Ti", 3);
    assert_eq!(large["commitlog_total_space"], json!("8192MiB"));
    assert_eq!(large["max_hints_size_per_host"], json!("65536MiB"));
    assert_eq!(large["commitlog_sync"], json!("periodic"));
    assert!(large.get("default_keyspace_rf").is_none(), "it locks the first node");
    assert_eq!(with("100Mi", 1)["commitlog_total_space"], json!("128MiB"));
}

#[test]
fn seeds_are_the_first_pods_of_each_rack() {
    for (racks, expected) in [
        (&[("a", 1), ("b", 0)][..], "a-0"),
        (&[("a", 0), ("b", 1)], "b-0"),
        (&[("a", 2), ("b", 0)], "a-0,a-1"),
        (&[("a", 3), ("b", 0)], "a-0,a-1"),
        (&[("a", 3), ("b", 3)], "a-0,b-0"),
        (&[("a", 0), ("b", 0)], "a-0"),
    ] {
        assert_eq!(seeds(&reached(racks)), expected, "{racks:?}");
    }
}

#[test]
fn tokens_are_chosen_for_no_more_copies_than_there_are_racks() {
    let racks = [("a", 2), ("b", 2), ("c", 2)];
    for (replicas, expected) in
        [([1, 0, 0], 3), ([2, 0, 0], 3), ([1, 1, 0], 1), ([1, 1, 1], 3), ([2, 2, 2], 3)]
    {
        let step = racks.iter().zip(replicas).map(|((name, _), n)| (*name, n));
        let files = files(&plan(managed(&racks)), &reached(&step.collect::<Vec<_>>()));
        let yaml: Value = serde_saphyr::from_str(&files["cassandra.yaml"]).expect("YAML");
        let found = &yaml["allocate_tokens_for_local_replication_factor"];
        assert_eq!(*found, json!(expected), "{replicas:?}");
    }
}

/// Runs `start.sh` in a folder that has a claim, an /etc/cassandra and the settings.
fn start(seeds: &str, claim: &[&str]) -> BTreeMap<String, String> {
    let root = tempfile::tempdir().expect("a folder");
    let path = |name: &str| root.path().join(name);
    let mut plan = plan(managed(&[("rack1", 2)]));
    rename(&mut plan, "demo");
    let files = files(&plan, &reached(&[("rack1", 2)]));
    for folder in ["data", "etc", "settings", "bin"] {
        std::fs::create_dir(path(folder)).expect("a folder");
    }
    for (name, text) in &files {
        std::fs::write(path("settings").join(name), text).expect("written");
    }
    std::fs::write(path("settings/seeds"), seeds).expect("written");
    for name in claim {
        std::fs::create_dir_all(path("data").join(name)).expect("a folder");
    }
    let entrypoint = "#!/bin/sh\necho \"$JVM_EXTRA_OPTS\" >\"$OUT\"\n";
    executable(&path("bin/docker-entrypoint.sh"), entrypoint);
    let script = files["start.sh"]
        .replace("data=/var/lib/cassandra etc=/etc/cassandra settings=/settings", "");
    let path_variable = format!("{}:/usr/bin:/bin", path("bin").display());
    let output = Command::new("sh")
        .args(["-c", &script])
        .env_clear()
        .env("PATH", path_variable)
        .env("data", path("data"))
        .env("etc", path("etc"))
        .env("settings", path("settings"))
        .env("OUT", path("etc/options"))
        .envs([("POD_NAME", "demo-store-rack1-0"), ("POD_IP", "10.0.0.7"), ("RACK", "rack1")])
        .env("JVM_EXTRA_OPTS", "-Dfirst")
        .output()
        .expect("sh is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |name: &str| std::fs::read_to_string(path("etc").join(name)).expect(name);
    ["cassandra.yaml", "cassandra-rackdc.properties", "logback.xml", "options"]
        .map(|name| (name.to_owned(), read(name)))
        .into()
}

fn executable(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).expect("written");
    let permissions = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path, permissions).expect("it is ours");
}

#[test]
fn a_node_is_a_seed_itself_only_if_it_is_the_first_or_has_joined() {
    const SELF: &str = "demo-store-rack1-0.demo-store.default.svc";
    const OTHER: &str = "demo-store-rack1-1.demo-store.default.svc";
    let joined = [JOINED, "data/system"];
    let both = format!("{SELF},{OTHER}");
    let with_self = format!("{OTHER},10.0.0.7");
    for (seeds, claim, expected) in [
        (SELF, &[][..], "10.0.0.7"),
        (SELF, &joined, "10.0.0.7"),
        (&both, &[], OTHER),
        (&both, &joined, &with_self),
        (OTHER, &joined, &with_self),
        // Wiped by hand: the note alone is no data.
        (&both, &[JOINED], OTHER),
        // Not yet joined: it goes on to take over data.
        (&both, &["data/system"], OTHER),
    ] {
        let files = start(seeds, claim);
        let yaml: Value = serde_saphyr::from_str(&files["cassandra.yaml"]).expect("YAML");
        let found = &yaml["seed_provider"][0]["parameters"][0]["seeds"];
        assert_eq!(*found, json!(expected), "{seeds} {claim:?}");
        let shares = yaml.get("allocate_tokens_for_local_replication_factor").is_some();
        assert_eq!(shares, seeds != SELF);
        let waits = !files["options"].contains("skip_wait_for_gossip");
        assert_eq!(waits, seeds != SELF, "{}", files["options"]);
        assert!(files["options"].starts_with("-Dfirst"));
    }
}

#[test]
fn a_node_knows_its_rack() {
    let files = start("x", &[]);
    assert_eq!(files["cassandra-rackdc.properties"], "dc=datacenter1\nrack=rack1\n");
    assert!(files["logback.xml"].contains("ConsoleAppender"));
}

/// What the entrypoint of the official image looks for in cassandra.yaml.
#[test]
fn the_entrypoint_fills_in_addresses_and_leaves_the_seeds_alone() {
    let files = files(&plan(managed(&[("rack1", 1)])), &reached(&[("rack1", 1)]));
    let yaml = &files["cassandra.yaml"];
    for key in ["listen_address:", "broadcast_address:", "rpc_address:", "broadcast_rpc_address:"] {
        assert_eq!(yaml.lines().filter(|line| line.starts_with(key)).count(), 1, "{key}");
    }
    assert!(!yaml.contains("- seeds:"), "{yaml}");
}

#[test]
fn data_of_a_node_that_has_left_is_put_aside_and_nothing_else() {
    let root = tempfile::tempdir().expect("a folder");
    let data = root.path().join("claim");
    let files = files(&plan(managed(&[("rack1", 1)])), &reached(&[("rack1", 1)]));
    let script = files["prepare.sh"]
        .replace("data=/var/lib/cassandra", "")
        .replace("cp -R /etc/cassandra/. /copy/", "");
    let names = || {
        let mut names: Vec<String> = std::fs::read_dir(&data)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    let run = || {
        let status = Command::new("sh").args(["-c", &script]).env("data", &data).status();
        assert!(status.expect("sh is there").success());
    };
    for name in ["data/system", "commitlog", "hints", "lost+found"] {
        std::fs::create_dir_all(data.join(name)).expect("a folder");
    }
    std::fs::write(data.join(JOINED), "").expect("written");
    run();
    assert_eq!(names(), ["commitlog", "data", "hints", "lost+found", JOINED], "not marked");
    std::fs::write(data.join(LEFT), "").expect("written");
    run();
    let after = names();
    assert_eq!(after.len(), 2, "{after:?}");
    assert!(after[0].starts_with("left-") && after[1] == "lost+found", "{after:?}");
    assert!(data.join(&after[0]).join("data/system").is_dir());
    assert!(data.join(&after[0]).join(LEFT).exists());
    run();
    assert_eq!(names(), after, "once");
}
