//! A mesh that needs keys, as its tenants see it: who is let in, what each sees, and how soon a
//! key that is new, replaced or taken away is known, without a pod that starts anew.

mod schemas;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use kube::api::LogParams;
use pulsemesh_crds::PulseTenant;
use pulsemesh_operator::mesh::names::{self, Component};
use xtask::client::{Client, Request};
use xtask::events::live_pulse;

use crate::support::Bed;
use crate::support::mesh::{MESH, READY_MAX, SOON};

/// A mesh that is ready within seconds.
const CLOSED: &str = "  ingest: {tenants: {required: true}}\n  store: {embedded: {}}\n";
/// Until a pod has what its Secret says: kubelets look once a minute, and keep what they read.
const KNOWN_MAX: Duration = Duration::from_secs(120);
/// The service of the pulse that a check from within the cluster posts.
const CHECKED: &str = "pulsemesh-check";

impl Bed {
    fn apply_tenant(&self, name: &str, keys: &str) -> Result<()> {
        self.apply_tenant_with(name, keys, "")
    }

    fn apply_tenant_with(&self, name: &str, keys: &str, schemas: &str) -> Result<()> {
        let namespace = &self.namespace;
        self.apply(&format!(
            "{{apiVersion: pulsemesh.io/v1alpha1, kind: PulseTenant, \
             metadata: {{name: {name}, namespace: {namespace}}}, \
             spec: {{mesh: {MESH}, keys: [{keys}], limits: {{requestsPerMinute: 0}}, \
             schemas: [{schemas}]}}}}"
        ))
        .map(drop)
    }

    /// Waits until the operator says that the tenant's keys are known; its one key.
    async fn key_of(&self, tenant: &str) -> Result<String> {
        self.wait(&format!("tenant {tenant} to be ready"), SOON, async || {
            let status = self.api::<PulseTenant>().get(tenant).await?.status.unwrap_or_default();
            let is_ready = |it: &Condition| it.type_ == "Ready" && it.status == "True";
            Ok(status.conditions.iter().any(is_ready).then_some(()))
        })
        .await?;
        self.key_in(&names::tenant_key(tenant, "main")).await
    }

    async fn key_in(&self, secret: &str) -> Result<String> {
        let data = self.api::<Secret>().get(secret).await?.data.context("no data")?;
        let url = String::from_utf8(data.get("url").context("no url")?.0.clone())?;
        ensure!(url.starts_with(&format!("http://{MESH}-ingest.")), "{url}");
        Ok(String::from_utf8(data.get("api-key").context("no api-key")?.0.clone())?)
    }

    /// With which status a pulse is answered.
    async fn post_with(&self, key: Option<&str>, service: &str) -> Result<u16> {
        let request = Request::json("/pulse", live_pulse(service, 1));
        let request = match key {
            Some(key) => request.header("x-api-key", key),
            None => request,
        };
        Ok(Client::new(self.ingest_address().await?).send(&request)?.status)
    }

    async fn wait_status(&self, key: &str, status: u16) -> Result<Duration> {
        let begun = Instant::now();
        self.wait(&format!("a key to be answered {status}"), KNOWN_MAX, async || {
            Ok((self.post_with(Some(key), "waited").await? == status).then_some(()))
        })
        .await?;
        Ok(begun.elapsed())
    }

    /// How many pulses of a service a key sees.
    async fn seen_with(&self, key: &str, service: &str) -> Result<usize> {
        let target = format!("/v1/pulses?service={service}&limit=10");
        let request = Request::get(&target).header("authorization", &format!("Bearer {key}"));
        let answer = Client::new(self.ingest_address().await?).send(&request)?;
        ensure!(answer.status == 200, "answered {}: {}", answer.status, answer.text());
        answer.json()?["pulses"].as_array().map(Vec::len).context("no pulses")
    }

    /// Ingest's pods by uid, with how often their containers have started anew.
    async fn starts(&self) -> Result<BTreeMap<String, i32>> {
        let pods = self.pods(Component::Ingest).await?.into_values();
        let starts = pods.map(|pod| {
            let status = pod.status.clone().unwrap_or_default();
            let containers = status.container_statuses.unwrap_or_default();
            (pod.uid().unwrap_or_default(), containers.iter().map(|it| it.restart_count).sum())
        });
        Ok(starts.collect())
    }
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn keys_open_a_mesh_for_their_tenants_alone_and_change_without_a_restart() -> Result<()> {
    let bed = Bed::with_operator("tenants").await?;
    bed.apply_mesh(CLOSED)?;
    bed.wait("the mesh to say that nobody may send", READY_MAX, async || {
        let told = bed.mesh().await?.status.unwrap_or_default().conditions;
        Ok(told.into_iter().find(|it| it.reason == "NoTenants"))
    })
    .await?;
    // The node learns of the pod's address a moment after the operator does.
    bed.wait("nobody to be let in", SOON, async || {
        Ok((bed.post_with(None, "nobody").await? == 401).then_some(()))
    })
    .await?;
    let pods = bed.starts().await?;

    bed.apply_tenant("shop", "{name: main, kind: both}")?;
    bed.apply_tenant("mail", "{name: main, kind: both}, {name: board, kind: read}")?;
    let (shop, mail) = (bed.key_of("shop").await?, bed.key_of("mail").await?);
    let took = bed.wait_status(&shop, 202).await?;
    println!("\n| a tenant's key known to pods | {:.1} s | 120 s |", took.as_secs_f64());
    bed.wait_status(&mail, 202).await?;
    bed.wait_ready(SOON).await?;
    each_sees_its_own(&bed, &shop, &mail).await?;
    checked_from_a_pod(&bed).await?;

    bed.kubectl(&["annotate", "secret", "shop-main", &format!("{}=1h", names::ROTATE)])?;
    let replaced = changed(&bed, &shop).await?;
    bed.wait_status(&replaced, 202).await?;
    ensure!(bed.post_with(Some(&shop), "former").await? == 202, "the former key has an hour");
    bed.kubectl(&["delete", "secret", "shop-main"])?;
    let newest = changed(&bed, &replaced).await?;
    bed.kubectl(&["delete", "pulsetenant", "mail"])?;
    bed.wait_status(&newest, 202).await?;
    for gone in [&shop, &replaced, &mail] {
        bed.wait_status(gone, 401).await?;
    }
    bed.wait("the Secrets of a tenant that is gone to go", SOON, async || {
        let left = bed.api::<Secret>().get_opt("mail-board").await?;
        Ok(left.is_none().then_some(()))
    })
    .await?;
    ensure!(bed.starts().await? == pods, "pods started anew: {:?}", bed.starts().await?);
    Ok(())
}

async fn each_sees_its_own(bed: &Bed, shop: &str, mail: &str) -> Result<()> {
    ensure!(bed.post_with(None, "orders").await? == 401, "no key");
    ensure!(bed.post_with(Some("pmk_none"), "orders").await? == 401, "no key of anybody");
    ensure!(bed.post_with(Some(shop), "orders").await? == 202, "a key");
    let board = bed.key_in("mail-board").await?;
    ensure!(bed.post_with(Some(&board), "orders").await? == 403, "a key that may read alone");
    bed.wait("the pulse to be told to its tenant", SOON, async || {
        Ok((bed.seen_with(shop, "orders").await? == 1).then_some(()))
    })
    .await?;
    ensure!(bed.seen_with(mail, "orders").await? == 0, "another's row is seen");
    ensure!(bed.seen_with(&board, "orders").await? == 0, "another's row is seen");
    Ok(())
}

/// Waits until the Secret has another key than this one.
async fn changed(bed: &Bed, former: &str) -> Result<String> {
    bed.wait("another key", SOON, async || {
        let key = bed.key_in("shop-main").await?;
        Ok((key != former).then_some(key))
    })
    .await
}

/// As a program in the cluster does it: by the Service's name, with the key of its Secret.
async fn checked_from_a_pod(bed: &Bed) -> Result<()> {
    let versions = bed.mesh().await?.status.and_then(|status| status.versions);
    let image = versions.and_then(|versions| versions.ingest).context("no image")?;
    let namespace = &bed.namespace;
    bed.apply(&format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: check, namespace: {namespace}}}
spec:
  restartPolicy: Never
  securityContext: {{runAsNonRoot: true, seccompProfile: {{type: RuntimeDefault}}}}
  volumes: [{{name: key, secret: {{secretName: shop-main}}}}]
  containers:
    - name: check
      image: {image}
      imagePullPolicy: IfNotPresent
      args:
        - check
        - http://{MESH}-ingest.{namespace}
        - --api-key-file=/key/api-key
        - --admin=http://{MESH}-ingest-admin.{namespace}:8081
      volumeMounts: [{{name: key, mountPath: /key, readOnly: true}}]
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {{drop: [ALL]}}
"
    ))?;
    bed.wait("the check from a pod", SOON, async || {
        let log = bed.api::<Pod>().logs("check", &LogParams::default()).await?;
        Ok(log.contains("read back").then_some(()))
    })
    .await?;
    let key = bed.key_in("shop-main").await?;
    ensure!(bed.seen_with(&key, CHECKED).await? == 1, "the pulse of the check");
    Ok(())
}
