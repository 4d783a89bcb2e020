//! The login to the store: made once before there is any data, never made anew over data, and put
//! in the place of the image's own as soon as a node answers.

use super::{Action, Facts, StoreStep, Turn, Waiting};
use crate::mesh::names;

/// Orders the credentials before the first claim exists; ends the turn until they are there.
pub(super) fn make(facts: &Facts<'_>, step: &mut StoreStep) -> Turn {
    let secret = names::credentials(&facts.plan.mesh.name);
    let has_data = facts.ring.nodes().next().is_some() || has_claims(facts);
    match facts.observed.secrets.get(&secret) {
        Some(Some(keys)) if ["username", "password"].iter().all(|key| keys.contains(*key)) => {
            return Turn::Next;
        }
        Some(Some(_)) => step.stalled = Some(incomplete(&secret)),
        Some(None) if has_data => step.stalled = Some(lost(&secret)),
        Some(None) => {
            step.actions.push(Action::MakeCredentials);
            step.waiting = Some(Waiting::new("Credentials", format!("Secret {secret} is made")));
        }
        None => {
            let message = format!("Secret {secret} could not be read");
            step.waiting = Some(Waiting::new("Credentials", message));
        }
    }
    Turn::End
}

/// Orders the image's own login away from the first node that lets it in; nobody joins before.
pub(super) fn secure(facts: &Facts<'_>, step: &mut StoreStep) -> Turn {
    let mut open =
        facts.ring.nodes().filter(|node| node.answer().is_some_and(|view| view.default_login));
    let Some(node) = open.next() else { return Turn::Next };
    step.actions.push(Action::Secure(node.pod_name.clone()));
    step.waiting = Some(Waiting::new("Login", "the image's own login is replaced"));
    Turn::End
}

/// Claims of the store whose data may be of the ring, whatever their rack.
fn has_claims(facts: &Facts<'_>) -> bool {
    let prefix = format!("{}-{}-", names::STORE_CLAIM, names::store(&facts.plan.mesh.name));
    let mut claims = facts.observed.claims.iter().filter_map(|claim| claim.metadata.name.as_ref());
    claims.any(|name| name.starts_with(&prefix))
}

fn lost(secret: &str) -> Waiting {
    Waiting::new(
        "CredentialsLost",
        format!(
            "Secret {secret} is gone, and the store's claims hold data that only its login opens: \
             make it again with the same `username` and `password`; if they are lost, set another \
             password in the database and make the Secret with it"
        ),
    )
}

fn incomplete(secret: &str) -> Waiting {
    let message = format!("Secret {secret} needs the keys `username` and `password`");
    Waiting::new("CredentialsIncomplete", message)
}
