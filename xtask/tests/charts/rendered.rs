//! What the charts make of each file of values, kept as snapshots, and what must hold in all.

use serde_json::{Value, json};
use xtask::helm::{Helm, chart};

use super::{CHARTS, RELEASE, manifests, parse, render, values};

#[test]
#[ignore = "needs helm"]
fn each_file_of_values_makes_the_manifests_that_it_did() {
    let helm = Helm::new().expect("helm");
    for name in CHARTS {
        for file in values(name) {
            let text = render(&helm, name, &file);
            // The definitions are thousands of lines, and compared elsewhere.
            let kept = |manifest: &&str| !manifest.contains("\nkind: CustomResourceDefinition\n");
            let parts: Vec<_> =
                manifests(&text).into_iter().filter(kept).map(str::trim_end).collect();
            let stem = file.file_stem().expect("a name").to_string_lossy().into_owned();
            insta::assert_snapshot!(format!("{name}-{stem}"), parts.join("\n---\n"));
        }
    }
}

#[test]
#[ignore = "needs helm"]
fn helm_finds_nothing_to_complain_of() {
    let helm = Helm::new().expect("helm");
    for name in CHARTS {
        for file in values(name) {
            let flag = format!("--values={}", file.display());
            let chart = chart(name).display().to_string();
            let text = helm.text(&["lint", "--strict", &flag, &chart]).expect("clean");
            assert!(text.contains("0 chart(s) failed"), "{text}");
        }
    }
}

/// As the profile `restricted` asks of every pod, and a root that can't be written.
#[test]
#[ignore = "needs helm"]
fn every_pod_is_restricted() {
    let helm = Helm::new().expect("helm");
    let mut pods = 0;
    for name in CHARTS {
        for file in values(name) {
            let text = render(&helm, name, &file);
            for manifest in manifests(&text).into_iter().map(parse) {
                let spec = match manifest["kind"].as_str() {
                    Some("Pod") => &manifest["spec"],
                    Some("Deployment") => &manifest["spec"]["template"]["spec"],
                    _ => continue,
                };
                assert_restricted(spec);
                pods += 1;
            }
        }
    }
    assert!(pods >= 10, "{pods} pods");
}

fn assert_restricted(spec: &Value) {
    let context = &spec["securityContext"];
    assert_eq!(context["runAsNonRoot"], true, "{spec:#}");
    assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
    assert!(context["runAsUser"].as_u64().is_some_and(|user| user > 0), "{spec:#}");
    for container in spec["containers"].as_array().expect("containers") {
        let context = &container["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["readOnlyRootFilesystem"], true);
        assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
        assert!(container["resources"]["limits"]["memory"].is_string(), "{container:#}");
    }
}

#[test]
#[ignore = "needs helm"]
fn with_a_list_of_namespaces_nothing_is_of_the_whole_cluster() {
    let helm = Helm::new().expect("helm");
    let text = render(
        &helm,
        "pulsemesh-operator",
        &chart("pulsemesh-operator").join("ci/namespaced.yaml"),
    );
    let of_kind = |kind: &str| text.matches(&format!("\nkind: {kind}\n")).count();
    for kind in ["ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"] {
        assert_eq!(of_kind(kind), 0, "{kind}");
    }
    // One for each namespace, one for the Lease.
    assert_eq!((of_kind("Role"), of_kind("RoleBinding")), (3, 3));
}

#[test]
#[ignore = "needs helm"]
fn the_notes_say_what_to_do_next() {
    let helm = Helm::new().expect("helm");
    for name in CHARTS {
        let chart = chart(name).display().to_string();
        let arguments = [&["install"], &RELEASE[..], &["--dry-run=client", &chart]].concat();
        let text = helm.text(&arguments).expect("rendered");
        let (_, notes) = text.split_once("\nNOTES:\n").expect("notes");
        insta::assert_snapshot!(format!("{name}-notes"), notes.trim_end());
    }
}
