//! A client in a pod of its own, which posts to ingest's Service by name while something is done
//! to the mesh, and tells afterwards how many requests failed.

use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, LogParams};
use pulsemesh_operator::mesh::names;
use serde::Deserialize;
use xtask::images::CLIENT;

use super::Bed;
use super::mesh::{MESH, SOON};

const POD: &str = "client";

/// What a client tells at its end.
#[derive(Debug, Deserialize)]
pub(crate) struct Posted {
    /// Requests that were answered with a 2xx.
    pub(crate) accepted: u64,
    /// All others.
    pub(crate) failed: u64,
    /// From the first request to the last answer.
    pub(crate) milliseconds: u64,
}

impl Posted {
    /// Refuses any failure, and a client that posted less than it should have.
    fn check(&self, per_second: u32) -> Result<()> {
        ensure!(self.failed == 0, "requests failed: {self:?}");
        let wanted = u64::from(per_second) * self.milliseconds / 1000;
        ensure!(self.accepted * 10 >= wanted * 9, "it posted too little: {self:?}");
        Ok(())
    }
}

/// A client that posts.
pub(crate) struct Posting<'a> {
    bed: &'a Bed,
    per_second: u32,
    /// Reads what it prints until its end: with the pod its log goes, too.
    log: Child,
}

impl Bed {
    /// Starts a client that posts pulses of `service`; returns once it does.
    pub(crate) async fn post(&self, service: &str, per_second: u32) -> Result<Posting<'_>> {
        let to = format!("{}.{}:80", names::ingest(MESH), self.namespace);
        let arguments =
            format!("--to={to}, --service={service}, --per-second={per_second}, --connections=8");
        self.apply(&manifest(&self.namespace, &arguments))?;
        self.wait("the client", SOON, async || {
            let log = self.api::<Pod>().logs(POD, &LogParams::default()).await?;
            Ok(log.contains("posting").then_some(()))
        })
        .await?;
        let mut follow = self.cluster.command("kubectl")?;
        follow.args(["--namespace", &self.namespace, "logs", "--follow", POD]);
        let log = follow.stdout(Stdio::piped()).spawn().context("follow a log")?;
        Ok(Posting { bed: self, per_second, log })
    }
}

impl Posting<'_> {
    /// Tells it to stop; what it has to tell must be that all was accepted.
    pub(crate) async fn stop(self) -> Result<Posted> {
        let pods: Api<Pod> = self.bed.api();
        pods.delete(POD, &DeleteParams::default()).await.context("delete the client")?;
        let output = self.log.wait_with_output().context("read a log")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let last = text.lines().last().context("the client told nothing")?;
        let posted: Posted =
            serde_json::from_str(last).with_context(|| format!("read what it told: {text}"))?;
        self.bed
            .wait("the client's pod to go", SOON, async || {
                Ok(pods.get_opt(POD).await?.is_none().then_some(()))
            })
            .await?;
        posted.check(self.per_second)?;
        Ok(posted)
    }
}

fn manifest(namespace: &str, arguments: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {POD}, namespace: {namespace}}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 60
  securityContext:
    runAsNonRoot: true
    seccompProfile: {{type: RuntimeDefault}}
  containers:
    - name: client
      image: {CLIENT}
      imagePullPolicy: Never
      args: [{arguments}]
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {{drop: [ALL]}}
"
    )
}
