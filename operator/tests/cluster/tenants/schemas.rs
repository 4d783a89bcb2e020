//! A schema that pods would refuse costs its tenant alone: pods go on to learn of all others.

use anyhow::{Result, ensure};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use pulsemesh_crds::PulseTenant;
use xtask::client::{Client, Request};

use super::{Bed, CLOSED};
use crate::support::mesh::{READY_MAX, SOON};

const KEY: &str = "{name: main, kind: both}";
const GOOD: &str = "{kind: order, required: [user]}";
const BAD: &str = "{kind: order, schema: {properties: {user: {type: numbr}}}}";

impl Bed {
    /// Waits until the operator says that it does not take a tenant's schemas; its message.
    async fn refused(&self, tenant: &str) -> Result<String> {
        self.wait(&format!("the schemas of tenant {tenant} to be refused"), SOON, async || {
            let status = self.api::<PulseTenant>().get(tenant).await?.status.unwrap_or_default();
            let is_refused = |it: &Condition| it.status == "False" && it.reason == "SchemasInvalid";
            Ok(status.conditions.into_iter().find(is_refused).map(|it| it.message))
        })
        .await
    }

    /// With which status an order without a user is answered.
    async fn post_order(&self, key: &str) -> Result<u16> {
        let order = "{\"service\":\"orders\",\"kind\":\"order\"}";
        let request = Request::json("/pulse", order).header("x-api-key", key);
        Ok(Client::new(self.ingest_address().await?).send(&request)?.status)
    }
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_schema_that_pods_would_refuse_costs_its_tenant_alone() -> Result<()> {
    let bed = Bed::with_operator("schemas").await?;
    bed.apply_mesh(CLOSED)?;
    bed.apply_tenant_with("shop", KEY, GOOD)?;
    bed.wait_ready(READY_MAX).await?;
    let shop = bed.key_of("shop").await?;
    bed.wait_status(&shop, 202).await?;
    ensure!(bed.post_order(&shop).await? == 422, "its schema holds");
    let pods = bed.starts().await?;

    bed.apply_tenant_with("mail", KEY, BAD)?;
    let told = bed.refused("mail").await?;
    ensure!(told.contains("`order` at /properties/user/type"), "{told}");
    bed.apply_tenant("late", KEY)?;
    let late = bed.key_of("late").await?;
    bed.wait_status(&late, 202).await?;
    let mail = bed.key_in("mail-main").await?;
    ensure!(bed.post_with(Some(&mail), "orders").await? == 401, "nothing of it was taken yet");

    bed.apply_tenant_with("shop", KEY, BAD)?;
    let told = bed.refused("shop").await?;
    ensure!(told.contains("that the tenant had before"), "{told}");
    bed.kubectl(&["delete", "secret", "shop-main"])?;
    let other = super::changed(&bed, &shop).await?;
    bed.wait_status(&other, 202).await?;
    bed.wait_status(&shop, 401).await?;
    ensure!(bed.post_order(&other).await? == 422, "the former schema holds");

    bed.apply_tenant_with("mail", KEY, GOOD)?;
    bed.wait_status(&mail, 202).await?;
    ensure!(bed.key_of("mail").await? == mail, "the same key");
    ensure!(bed.starts().await? == pods, "pods started anew: {:?}", bed.starts().await?);
    Ok(())
}
