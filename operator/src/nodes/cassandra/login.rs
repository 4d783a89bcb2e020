//! Logging in to a node: with the credentials of the mesh, and only until these work with the
//! login of the image, which everybody knows.

use super::session::{Connected, Refusal, quoted};
use crate::nodes::reach::{Login, Reach};
use crate::nodes::{NodeRef, NodesError};

/// The name and the password of the image's own login.
const DEFAULT: &str = "cassandra";

/// Logs in, with the image's own login if the node does not know the credentials yet.
pub(super) async fn connect<R: Reach>(reach: &R, node: &NodeRef) -> Result<Connected, NodesError> {
    let silent = |why| NodesError::Unreachable { pod: node.pod.clone(), why };
    let own = reach.login(node).await.map_err(silent)?;
    if let Some(own) = &own {
        match Connected::new(node, Some(own)).await {
            Ok(connected) => return Ok(connected),
            Err(Refusal::Other(why)) => return Err(silent(why)),
            Err(Refusal::Login) => {}
        }
    }
    connect_by_default(reach, node).await
}

/// Only where the address is our node's still: another mesh's node might take the login too.
async fn connect_by_default<R: Reach>(reach: &R, node: &NodeRef) -> Result<Connected, NodesError> {
    let silent = |why| NodesError::Unreachable { pod: node.pod.clone(), why };
    if !reach.is_at_its_address(node).await.map_err(silent)? {
        return Err(silent("its pod has another address by now".to_owned()));
    }
    let login = Login { username: DEFAULT.to_owned(), password: DEFAULT.to_owned() };
    match Connected::new(node, Some(&login)).await {
        Ok(mut connected) => {
            connected.is_default_login = true;
            Ok(connected)
        }
        Err(Refusal::Login) => {
            let (pod, secret) = (node.pod.clone(), node.credentials.clone());
            Err(NodesError::Login { pod, secret })
        }
        Err(Refusal::Other(why)) => Err(silent(why)),
    }
}

/// Whether the image's own login is open.
pub(super) async fn default_works(connected: &Connected) -> Result<bool, NodesError> {
    let role = connected.role(DEFAULT).await?;
    Ok(role.is_some_and(|(can_login, is_superuser)| can_login || is_superuser))
}

/// Makes the credentials' role a superuser, then takes the image's own login away as that role,
/// so that nobody is ever locked out.
pub(super) async fn secure<R: Reach>(reach: &R, node: &NodeRef) -> Result<(), NodesError> {
    let silent = |why| NodesError::Unreachable { pod: node.pod.clone(), why };
    let refused = |why: &str| NodesError::Refused {
        pod: node.pod.clone(),
        order: SECURE,
        why: why.to_owned(),
    };
    let own = reach.login(node).await.map_err(silent)?;
    let own = own.ok_or_else(|| refused("its Secret has no username or no password"))?;
    if own.username == DEFAULT {
        return Err(refused("the Secret names the image's own login; choose another username"));
    }
    let mut connected = connect(reach, node).await?;
    if connected.is_default_login {
        make_role(&connected, &own).await?;
        connected = match Connected::new(node, Some(&own)).await {
            Ok(connected) => connected,
            Err(Refusal::Login) => return Err(silent("its new role is not known yet".to_owned())),
            Err(Refusal::Other(why)) => return Err(silent(why)),
        };
    }
    if default_works(&connected).await? {
        let text = format!("ALTER ROLE {DEFAULT} WITH LOGIN = false AND SUPERUSER = false");
        connected.order(SECURE, &text).await?;
    }
    Ok(())
}

const SECURE: &str = "to replace the image's login";

/// Safe to repeat: a role that is there already gets the password of the Secret.
async fn make_role(connected: &Connected, login: &Login) -> Result<(), NodesError> {
    let role = format!("\"{}\"", login.username.replace('"', "\"\""));
    let what = format!(
        "{role} WITH PASSWORD = {} AND LOGIN = true AND SUPERUSER = true",
        quoted(&login.password)
    );
    connected.order(SECURE, &format!("CREATE ROLE IF NOT EXISTS {what}")).await?;
    connected.order(SECURE, &format!("ALTER ROLE {what}")).await
}
