//! Tells of a mesh whose spec can't be read. Neither the spec nor the type of the mesh is needed
//! for that: what else its status says stays.

use jiff::Timestamp;
use kube::Error;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::ObjectMeta;
use pulsemesh_crds::PulseMesh;
use pulsemesh_crds::status::MeshStatus;

use super::worker::{ReconcileError, Worker};
use crate::mesh::status::unreadable;
use crate::nodes::Nodes;

impl<N: Nodes> Worker<N> {
    /// Writes its conditions, if they say something else.
    pub(super) async fn tell_unreadable(
        &self,
        metadata: &ObjectMeta,
        problem: &str,
    ) -> Result<(), ReconcileError> {
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let name = metadata.name.as_deref().unwrap_or_default();
        let resource = ApiResource::erase::<PulseMesh>(&());
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &resource);
        let Some(mesh) = api.get_opt(name).await.map_err(ReconcileError::Read)? else {
            return Ok(());
        };
        let status = mesh.data.get("status").cloned().unwrap_or_default();
        // One that can't be read either is told anew.
        let before: MeshStatus = serde_json::from_value(status).unwrap_or_default();
        let told = unreadable(before.clone(), metadata.generation, problem, Timestamp::now());
        self.metrics.count_mesh(namespace, name, &told.conditions);
        if told == before {
            return Ok(());
        }
        match self.write_status(metadata, &told).await {
            // An API server may refuse any write to a mesh that breaks its definition.
            Err(ReconcileError::Mesh(_, Error::Api(status))) if status.is_invalid() => Ok(()),
            written => written,
        }
    }
}
