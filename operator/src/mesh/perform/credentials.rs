//! The credentials of a store: made once, from randomness of the operating system, never
//! overwritten, and owned by nobody, so that they live as long as the claims.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Error};
use rand::TryRng;
use rand::rngs::SysRng;

use super::{Giver, PerformError, answered};
use crate::mesh::names::{self, Component};
use crate::nodes::Nodes;

/// Not the image's own name, so that it can be taken away.
const USERNAME: &str = "pulsemesh";
/// Letters of the password: 5.9 bits each, 190 bits in all.
const PASSWORD_LETTERS: usize = 32;
const LETTERS: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz0123456789";

pub(super) async fn make<N: Nodes>(giver: &Giver<'_, N>) -> Result<(bool, String), PerformError> {
    const WHAT: &str = "the making of the credentials";
    let name = names::credentials(&giver.plan.mesh.name);
    let failed = |why: String| PerformError::Kubernetes { what: WHAT.to_owned(), why };
    let secret = secret(giver, &name, password().map_err(failed)?);
    let secrets: Api<Secret> = giver.api();
    let parameters =
        PostParams { field_manager: Some(names::MANAGER.to_owned()), ..PostParams::default() };
    let made = async {
        match secrets.create(&parameters, &secret).await {
            Ok(_) => Ok(true),
            // Somebody was faster; theirs are as good.
            Err(Error::Api(status)) if status.is_already_exists() => Ok(false),
            Err(error) => Err(error),
        }
    };
    let is_new = answered(WHAT, made).await?;
    let told = if is_new { format!("made Secret {name}") } else { String::new() };
    Ok((is_new, told))
}

fn secret<N: Nodes>(giver: &Giver<'_, N>, name: &str, password: String) -> Secret {
    let mesh = &giver.plan.mesh;
    let values = [("username", USERNAME.to_owned()), ("password", password)];
    let values = values.map(|(key, value)| (key.to_owned(), value));
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(mesh.namespace.clone()),
            labels: Some(names::labels(&mesh.name, Component::Store)),
            ..ObjectMeta::default()
        },
        string_data: Some(BTreeMap::from(values)),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

/// Evenly from the letters: bytes beyond the last whole multiple are thrown away.
fn password() -> Result<String, String> {
    let limit = 256 / LETTERS.len() * LETTERS.len();
    let mut password = String::with_capacity(PASSWORD_LETTERS);
    let mut bytes = [0_u8; 2 * PASSWORD_LETTERS];
    while password.len() < PASSWORD_LETTERS {
        SysRng.try_fill_bytes(&mut bytes).map_err(|error| error.to_string())?;
        let chosen = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < limit);
        let missing = PASSWORD_LETTERS - password.len();
        password.extend(chosen.take(missing).map(|byte| char::from(LETTERS[byte % LETTERS.len()])));
    }
    Ok(password)
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn passwords_are_long_of_plain_letters_and_never_the_same() {
        let first = password().expect("randomness");
        assert_eq!(first.len(), PASSWORD_LETTERS);
        assert!(first.bytes().all(|letter| LETTERS.contains(&letter)), "{first}");
        assert_ne!(first, password().expect("randomness"));
    }
}
