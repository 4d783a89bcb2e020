//! What an answer of a mesh promises, in words. Pure.

use pulsemesh_crds::ingest::{Ack, Overflow};

use crate::mesh::plan::StorePlan;

/// What a pulse survives once it is answered.
pub(super) fn promise(ack: Ack, overflow: Overflow, has_claim: bool, store: &StorePlan) -> String {
    let database = match store {
        StorePlan::Embedded => "the embedded store",
        StorePlan::Managed(_) | StorePlan::External => "the database",
    };
    match (ack, has_claim) {
        (Ack::Stored, _) => format!(
            "200 means that {database} has the pulse; while it is away, clients get 503. 202 (for \
             ?ack=durable) means that the pulse is in the log on disk."
        ),
        (Ack::Durable, true) => format!(
            "202 means that the pulse is in the log on the pod's claim, synced: it survives the \
             container, the pod and the node, and reaches {database} whenever that is up."
        ),
        (Ack::Durable, false) => format!(
            "202 means that the pulse is in the log on the node's disk, synced: it survives a \
             crash or restart of the container, and a pod that is stopped writes it to {database} \
             within its grace period; it does not survive the loss of the node, or a pod deleted \
             without grace. With ingest.log.storage, or ack: Stored, it does."
        ),
        (Ack::Memory, _) => format!(
            "202 means that the pulse is in memory{}: a crash of the container loses what is not \
             in {database} yet, about a batch's wait when that is up.",
            match overflow {
                Overflow::Refuse => "",
                Overflow::Drop => ", or was dropped and counted because the buffer was full",
            }
        ),
    }
}
