//! What a person should know of one look at a mesh, as Events: what was made and scaled, and what
//! a condition says from now on. Nothing that was told before. Pure.

use pulsemesh_crds::status::MeshStatus;

use crate::apply::{Done, What};
use crate::events::News;
use crate::mesh::object::Object;

/// The news between two statuses, with what was written between; `seen` is what there was
/// before.
pub(super) fn news(
    before: &MeshStatus,
    now: &MeshStatus,
    done: &[Done],
    seen: &[Object],
) -> Vec<News> {
    let mut news = Vec::new();
    let count = |wanted: What| done.iter().filter(|done| done.what == wanted).count();
    let (created, deleted) = (count(What::Created), count(What::Deleted));
    if created > 0 {
        let verb = if seen.is_empty() { "created" } else { "created, which were not there," };
        news.push(News::normal("Created", format!("{verb} {}", names(done, What::Created))));
    }
    if deleted > 0 {
        let note =
            format!("deleted, which are not wanted any more, {}", names(done, What::Deleted));
        news.push(News::normal("Deleted", note));
    }
    for done in done {
        if let What::Scaled { from, to } = done.what {
            let note = format!("scaled {:?} {} from {from} to {to}", done.kind, done.name);
            news.push(News::normal("Scaled", note));
        }
    }
    news.extend(turned(before, now, "Stalled", true));
    news.extend(turned(before, now, "Ready", false));
    news
}

fn names(done: &[Done], what: What) -> String {
    let names = done.iter().filter(|done| done.what == what);
    let names: Vec<String> = names.map(|done| format!("{:?} {}", done.kind, done.name)).collect();
    names.join(", ")
}

/// Whether a condition became true, or not for another reason than before.
fn turned(before: &MeshStatus, now: &MeshStatus, type_: &str, is_bad: bool) -> Option<News> {
    let find = |status: &MeshStatus| {
        let condition = status.conditions.iter().find(|condition| condition.type_ == type_)?;
        Some((condition.status == "True", condition.reason.clone(), condition.message.clone()))
    };
    let (is_true, reason, message) = find(now)?;
    let same = find(before).is_some_and(|(was_true, was, _)| was_true == is_true && was == reason);
    if same {
        return None;
    }
    let reason = if reason.is_empty() { type_.to_owned() } else { reason };
    match (is_bad, is_true) {
        (true, true) => Some(News::warning(&reason, message)),
        (false, true) => Some(News::normal(&reason, message)),
        // Not ready from the start is no news; it is one for who was.
        (false, false) => {
            find(before).filter(|(was, ..)| *was).map(|_| News::warning(&reason, message))
        }
        (true, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mesh::object::Kind;

    fn status(type_: &str, status: &str, reason: &str) -> MeshStatus {
        serde_json::from_value(json!({"conditions": [{
            "type": type_, "status": status, "reason": reason, "message": "words",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]}))
        .expect("a status")
    }

    fn reasons(before: &MeshStatus, now: &MeshStatus, done: &[Done]) -> Vec<(String, bool)> {
        let news = news(before, now, done, &[]);
        news.into_iter().map(|news| (news.reason, news.is_warning)).collect()
    }

    #[test]
    fn a_condition_is_news_when_it_turns_and_not_again() {
        let (none, ready) = (MeshStatus::default(), status("Ready", "True", "Up"));
        let down = status("Ready", "False", "StoreDown");
        let stalled = |reason| status("Stalled", "True", reason);
        assert_eq!(reasons(&none, &ready, &[]), [("Up".to_owned(), false)]);
        assert_eq!(reasons(&ready, &ready, &[]), []);
        assert_eq!(reasons(&ready, &down, &[]), [("StoreDown".to_owned(), true)]);
        assert_eq!(reasons(&none, &down, &[]), []);
        assert_eq!(reasons(&none, &stalled("A"), &[]), [("A".to_owned(), true)]);
        assert_eq!(reasons(&stalled("A"), &stalled("B"), &[]), [("B".to_owned(), true)]);
        assert_eq!(reasons(&stalled("A"), &status("Stalled", "False", ""), &[]), []);
    }

    #[test]
    fn what_was_written_is_told_by_what_it_was() {
        let done = |what| Done { kind: Kind::Deployment, name: "a".to_owned(), what };
        let (none, all) = (
            MeshStatus::default(),
            [
                done(What::Created),
                done(What::Created),
                done(What::Updated),
                done(What::Scaled { from: 1, to: 2 }),
                done(What::Deleted),
            ],
        );
        let told = reasons(&none, &none, &all).into_iter().map(|(reason, _)| reason);
        assert_eq!(told.collect::<Vec<_>>(), ["Created", "Deleted", "Scaled"]);
        assert_eq!(reasons(&none, &none, &[done(What::Updated)]), []);
    }
}
