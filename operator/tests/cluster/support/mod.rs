//! What the tests share: the cluster, a namespace of each test that admits only restricted pods,
//! kubectl and Helm as a user runs them, and typed reads.

pub(crate) mod client;
pub(crate) mod mesh;
pub(crate) mod operators;
pub(crate) mod rows;
mod wait;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use k8s_openapi::NamespaceResourceScope;
use kube::api::DynamicObject;
use kube::{Api, Client, Resource};
use pulsemesh_operator::mesh::object::Kind;
use serde::de::DeserializeOwned;
use xtask::kube::Cluster;

/// Where the operator runs.
pub(crate) const SYSTEM: &str = "pulsemesh-system";
/// The operator's release, and so the name of all that its chart makes.
pub(crate) const OPERATOR: &str = "pulsemesh-operator";

/// A namespace that goes can't be used again at once.
static BEDS: AtomicU32 = AtomicU32::new(0);

/// The cluster and a namespace in it.
pub(crate) struct Bed {
    pub(crate) cluster: Cluster,
    pub(crate) client: Client,
    pub(crate) namespace: String,
    /// Deleted with the test.
    own: bool,
}

impl Bed {
    /// A namespace that no other test has, without an operator.
    pub(crate) async fn new(name: &str) -> Result<Self> {
        let number = BEDS.fetch_add(1, Ordering::Relaxed);
        let mut bed = Self::attach(&format!("{name}-{}-{number}", std::process::id())).await?;
        bed.own = true;
        Ok(bed)
    }

    /// The same with an operator that looks after it.
    pub(crate) async fn with_operator(name: &str) -> Result<Self> {
        let bed = Self::new(name).await?;
        bed.install(&[])?;
        Ok(bed)
    }

    /// A namespace that stays for the next test, made if it is not there.
    async fn attach(namespace: &str) -> Result<Self> {
        let cluster = Cluster::from_environment()?;
        let client = Client::try_default().await.context("reach the API server")?;
        let bed = Self { cluster, client, namespace: namespace.to_owned(), own: false };
        bed.apply(&restricted(namespace))?;
        Ok(bed)
    }

    /// Installs the operator by its chart with these values alone, or changes it to them; waits
    /// until it is ready.
    pub(crate) fn install(&self, values: &[&str]) -> Result<()> {
        self.apply(&restricted(SYSTEM))?;
        let chart = root().join("charts/pulsemesh-operator").display().to_string();
        let fixed = ["upgrade", "--install", OPERATOR, &chart, "--namespace", SYSTEM];
        // Without values of its own an upgrade would keep those of the release before.
        let wait = ["--reset-values", "--take-ownership", "--wait", "--timeout", "2m"];
        let sets = values.iter().flat_map(|value| ["--set", *value]);
        let arguments: Vec<&str> = fixed.into_iter().chain(wait).chain(sets).collect();
        self.run("helm", &arguments, None).with_context(|| self.dump())?;
        Ok(())
    }

    /// Takes the operator away, if another test has left one; the definitions stay.
    pub(crate) fn uninstall(&self) -> Result<()> {
        let arguments = ["uninstall", OPERATOR, "--namespace", SYSTEM];
        let wait = ["--ignore-not-found", "--wait", "--timeout", "2m"];
        self.run("helm", &[&arguments[..], &wait].concat(), None).map(drop)
    }

    /// All objects of a kind in the namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Applies a manifest as `kubectl apply` does.
    pub(crate) fn apply(&self, manifest: &str) -> Result<String> {
        self.run("kubectl", &["apply", "-f", "-"], Some(manifest))
    }

    /// Runs `kubectl` in the namespace; returns what it prints.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let namespace = ["--namespace", &self.namespace];
        self.run("kubectl", &[&namespace, arguments].concat(), None)
    }

    /// Runs `helm` in the namespace; returns what it prints.
    pub(crate) fn helm(&self, arguments: &[&str]) -> Result<String> {
        let namespace = ["--namespace", &self.namespace];
        self.run("helm", &[&namespace, arguments].concat(), None).with_context(|| self.dump())
    }

    /// An object of a kind that the operator makes, if it is there.
    pub(crate) async fn object(&self, kind: Kind, name: &str) -> Result<Option<DynamicObject>> {
        self.dynamic(kind).get_opt(name).await.with_context(|| format!("get {kind:?} {name}"))
    }

    /// All objects of a kind that the operator makes in the namespace.
    pub(crate) fn dynamic(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind.resource())
    }

    /// Runs `kubectl` in the operator's namespace.
    pub(crate) fn kubectl_system(&self, arguments: &[&str]) -> Result<String> {
        self.run("kubectl", &[&["--namespace", SYSTEM], arguments].concat(), None)
    }

    fn run(&self, program: &str, arguments: &[&str], input: Option<&str>) -> Result<String> {
        let mut command = self.cluster.command(program)?;
        command.args(arguments);
        let (passed, out, told) = run(command, input)?;
        ensure!(passed, "{program} {}: {told}{out}", arguments.join(" "));
        Ok(out)
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if self.own {
            // The cluster goes soon; until then it should not run what nobody looks at.
            let _ = self.run(
                "kubectl",
                &["delete", "namespace", &self.namespace, "--wait=false"],
                None,
            );
        }
    }
}

/// A namespace that admits no pod that could become root.
fn restricted(name: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: \
         {{pod-security.kubernetes.io/enforce: restricted}}}}}}"
    )
}

/// Whether it succeeded, what it printed and what it told.
fn run(mut command: Command, input: Option<&str>) -> Result<(bool, String, String)> {
    let mut child = command
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("run a command")?;
    if let (Some(mut stdin), Some(text)) = (child.stdin.take(), input) {
        stdin.write_all(text.as_bytes()).context("write to a command")?;
    }
    let output = child.wait_with_output().context("wait for a command")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.success(), text(&output.stdout), text(&output.stderr)))
}

/// Whether the tests are told to take their time.
#[allow(clippy::disallowed_methods, reason = "a test has no flags")]
pub(crate) fn is_long() -> bool {
    std::env::var_os("PULSEMESH_LONG").is_some()
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
