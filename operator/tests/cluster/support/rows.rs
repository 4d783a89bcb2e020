//! Rows as the database and as the API tell them.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use pulsemesh_operator::mesh::names::{self, Component};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use xtask::client::{Client, Request};
use xtask::events::live_pulse;

use super::Bed;
use super::mesh::{MESH, READY_MAX, SOON};

/// A page of what the API tells.
const PAGE: usize = 1000;

impl Bed {
    /// A session with the store, with the login that the operator made.
    pub(crate) async fn session(&self) -> Result<Session> {
        let secret = self.api::<Secret>().get(&names::credentials(MESH)).await?;
        let data = secret.data.context("a Secret without data")?;
        let text = |key: &str| {
            let bytes = data.get(key).with_context(|| format!("the Secret has no {key}"))?;
            String::from_utf8(bytes.0.clone()).context("read a Secret")
        };
        let pods = self.pods(Component::Store).await?;
        let addresses = pods.values().filter_map(|pod| {
            let address: IpAddr = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
            Some(SocketAddr::new(address, u16::try_from(names::CQL_PORT).ok()?))
        });
        SessionBuilder::new()
            .known_nodes_addr(addresses)
            .user(text("username")?, text("password")?)
            .build()
            .await
            .context("connect to the store")
    }

    /// How many rows the database has of a service.
    pub(crate) async fn rows(&self, session: &Session, service: &str) -> Result<u64> {
        let query = "SELECT COUNT(*) FROM pulsemesh.pulse_events_by_service \
                     WHERE service_name = ? ALLOW FILTERING";
        let rows = session.query_unpaged(query, (service,)).await.context("count rows")?;
        let (count,) = rows.into_rows_result()?.single_row::<(i64,)>().context("read a count")?;
        u64::try_from(count).context("a negative count")
    }

    /// Waits until the database has as many rows of a service as were accepted, and no more.
    pub(crate) async fn wait_rows(&self, service: &str, accepted: u64) -> Result<()> {
        // The store may come later than what it is to hold.
        let session = self
            .wait("a session with the store", READY_MAX, async || self.session().await.map(Some))
            .await?;
        let found = self
            .wait(&format!("{accepted} rows of {service}"), SOON, async || {
                let rows = self.rows(&session, service).await?;
                Ok((rows >= accepted).then_some(rows))
            })
            .await?;
        ensure!(found == accepted, "{found} rows of {accepted} pulses of {service}");
        Ok(())
    }

    /// Posts one pulse; an error unless it is accepted.
    pub(crate) async fn post_one(&self, service: &str) -> Result<()> {
        let mut client = Client::new(self.ingest_address().await?);
        let response = client.send(&Request::json("/pulse", live_pulse(service, 1)))?;
        ensure!(response.status < 300, "answered {}: {}", response.status, response.text());
        Ok(())
    }

    /// The ids of a service's newest pulses, as the API tells them.
    pub(crate) async fn read(&self, service: &str) -> Result<HashSet<String>> {
        let mut client = Client::new(self.ingest_address().await?);
        let answer = client.get_json(&format!("/v1/pulses?service={service}&limit={PAGE}"))?;
        let pulses = answer["pulses"].as_array().context("an answer without pulses")?;
        Ok(pulses.iter().filter_map(|pulse| pulse["id"].as_str().map(str::to_owned)).collect())
    }
}
