//! Which optional kinds the cluster knows. Asked for now and then, never watched: a watch of a
//! kind that does not exist fails for ever.

use std::collections::BTreeSet;
use std::time::Duration;

use kube::{Client, Error};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::warn;

use crate::mesh::object::Kind;

/// How old an answer may be: a kind that is installed is used within this time and a resync.
const AGE_MAX: Duration = Duration::from_secs(60);

/// The optional kinds, with the time of the last answer.
#[derive(Debug, Default)]
pub(super) struct OptionalKinds {
    known: Mutex<Option<(Instant, BTreeSet<Kind>)>>,
}

impl OptionalKinds {
    /// Those that the cluster knows; those of the last answer if there is none now.
    pub(super) async fn get(&self, client: &Client) -> BTreeSet<Kind> {
        // Held while asking, so that many meshes ask once.
        let mut known = self.known.lock().await;
        if let Some((at, kinds)) = known.as_ref()
            && at.elapsed() < AGE_MAX
        {
            return kinds.clone();
        }
        let kinds = match ask(client).await {
            Ok(kinds) => kinds,
            Err(error) => {
                warn!(%error, "ask for optional kinds");
                known.take().map(|(_, kinds)| kinds).unwrap_or_default()
            }
        };
        *known = Some((Instant::now(), kinds.clone()));
        kinds
    }
}

async fn ask(client: &Client) -> kube::Result<BTreeSet<Kind>> {
    let optional = || Kind::ALL.into_iter().filter(|kind| kind.is_optional());
    let versions: BTreeSet<String> = optional().map(|kind| kind.resource().api_version).collect();
    let mut known = BTreeSet::new();
    for version in versions {
        let resources = match client.list_api_group_resources(&version).await {
            Ok(list) => list.resources,
            Err(Error::Api(status)) if status.is_not_found() => continue,
            Err(error) => return Err(error),
        };
        known.extend(optional().filter(|kind| {
            let resource = kind.resource();
            resource.api_version == version
                && resources.iter().any(|one| one.name == resource.plural)
        }));
    }
    Ok(known)
}
