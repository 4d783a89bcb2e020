//! How ingest is reached: by clients, and by whoever scrapes it. Pure.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use pulsemesh_crds::ingest::ServiceType;

use crate::mesh::build::meta::{self, some};
use crate::mesh::names::{self, ADMIN_PORT, Component};
use crate::mesh::plan::Plan;

/// The Service that clients use.
pub(super) fn clients(plan: &Plan) -> Service {
    let spec = &plan.ingest.service;
    let kind = match spec.kind {
        ServiceType::ClusterIP => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
    };
    let mut metadata = meta::of(plan, names::ingest(&plan.mesh.name), Component::Ingest);
    metadata.annotations = some(spec.annotations.clone());
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(kind.to_owned()),
            ports: Some(vec![port(plan.ingest.access.scheme(), spec.port)]),
            selector: Some(names::selector(&plan.mesh.name, Component::Ingest)),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// The headless Service for metrics, which no load balancer opens to the world. Pods that are not
/// ready are in it too: just then somebody wants to know.
pub(super) fn admin(plan: &Plan) -> Service {
    Service {
        metadata: meta::of(plan, names::ingest_admin(&plan.mesh.name), Component::Ingest),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            ports: Some(vec![port("admin", ADMIN_PORT)]),
            publish_not_ready_addresses: Some(true),
            selector: Some(names::selector(&plan.mesh.name, Component::Ingest)),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn port(name: &str, number: i32) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number,
        // Part of the key by which a port is merged.
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String(name.to_owned())),
        ..ServicePort::default()
    }
}
