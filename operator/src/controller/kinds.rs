//! Which optional kinds the cluster knows. Asked for now and then, never watched: a watch of a
//! kind that does not exist fails for ever.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kube::{Client, Error};
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::mesh::object::Kind;

/// How old an answer may be: a kind that is installed is used within this time and a resync.
const AGE_MAX: Duration = Duration::from_secs(60);

/// For the answer, which looks wait for; it is some milliseconds away.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The optional kinds that the cluster knows.
#[derive(Debug, Default)]
pub(super) struct OptionalKinds {
    known: Mutex<Known>,
    /// Held while asking, so that many meshes ask once.
    asks: tokio::sync::Mutex<()>,
}

/// The last answer, and when it was asked for; an older one stays where there was none.
#[derive(Debug, Clone, Default)]
struct Known {
    at: Option<Instant>,
    kinds: BTreeSet<Kind>,
}

impl OptionalKinds {
    /// Those that the cluster knows; those of the last answer if there is none now. Only before
    /// the first answer one mesh waits while another asks.
    pub(super) async fn get(&self, client: &Client) -> BTreeSet<Kind> {
        let known = self.known();
        if known.is_fresh() {
            return known.kinds;
        }
        let _asks = match self.asks.try_lock() {
            Ok(asks) => asks,
            Err(_) if known.at.is_some() => return known.kinds,
            Err(_) => self.asks.lock().await,
        };
        let known = self.known();
        if known.is_fresh() {
            return known.kinds;
        }
        let kinds = match timeout(TIMEOUT, ask(client)).await {
            Ok(Ok(kinds)) => kinds,
            Ok(Err(error)) => {
                warn!(%error, "ask for optional kinds");
                known.kinds
            }
            Err(_) => {
                warn!("ask for optional kinds: no answer within {} s", TIMEOUT.as_secs());
                known.kinds
            }
        };
        let known = Known { at: Some(Instant::now()), kinds: kinds.clone() };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
        kinds
    }

    fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Known {
    fn is_fresh(&self) -> bool {
        self.at.is_some_and(|at| at.elapsed() < AGE_MAX)
    }
}

async fn ask(client: &Client) -> kube::Result<BTreeSet<Kind>> {
    let optional = || Kind::ALL.into_iter().filter(|kind| kind.is_optional());
    let versions: BTreeSet<String> = optional().map(|kind| kind.resource().api_version).collect();
    let mut known = BTreeSet::new();
    for version in versions {
        let resources = match client.list_api_group_resources(&version).await {
            Ok(list) => list.resources,
            // By its code: a group that is not known is answered in plain text.
            Err(Error::Api(status)) if status.code == 404 => continue,
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::pending;

    use futures_util::FutureExt;
    use http::{Request, Response};
    use kube::client::Body;

    use super::*;

    #[tokio::test]
    async fn an_api_server_that_does_not_answer_holds_up_one_look_for_a_moment() {
        let service =
            tower::service_fn(|_: Request<Body>| pending::<Result<Response<Body>, Infallible>>());
        let (client, kinds) = (Client::new(service, "default"), OptionalKinds::default());
        let monitors: BTreeSet<Kind> = [Kind::ServiceMonitor].into();
        let at = Instant::now().checked_sub(AGE_MAX);
        *kinds.known.lock().expect("alone") = Known { at, kinds: monitors.clone() };
        let mut first = Box::pin(kinds.get(&client));
        assert_eq!((&mut first).now_or_never(), None, "it asks");
        assert_eq!(kinds.get(&client).now_or_never(), Some(monitors.clone()), "no other waits");
        let first = timeout(TIMEOUT * 5, first).await;
        assert_eq!(first.expect("it does not wait for long"), monitors);
        assert_eq!(kinds.get(&client).now_or_never(), Some(monitors), "it is not asked again");
    }
}
