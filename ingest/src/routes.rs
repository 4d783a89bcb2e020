//! Which path and method means what. A pure function with a golden table; knows no server.

use crate::pulse::Shape;
use crate::tenant::Permission;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'p> {
    /// Pulses of this shape are submitted.
    Submit(Shape),
    /// Rows of a service, or the one of an idempotency key.
    Pulses,
    /// One row, by the path's last segment as it was sent (still percent-encoded).
    Pulse(&'p str),
    /// Pulses by id, key or service, with their lines of life.
    Search,
    /// Windowed counts.
    Counts,
    /// All metrics.
    Metrics,
    /// Whether the process serves.
    Health,
    /// Something with dead letters or their replays.
    Letters(LetterAction<'p>),
    /// Something with erasures.
    Erasures(ErasureAction<'p>),
}

/// What is asked of erasures; ids are a segment of the path as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErasureAction<'p> {
    /// A tenant's erasures.
    List,
    /// An erasure begins.
    Create,
    /// One erasure.
    Show(&'p str),
    /// An erasure ends.
    Cancel(&'p str),
}

/// What is asked of dead letters; ids are a segment of the path as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetterAction<'p> {
    /// A page of letters.
    List,
    /// Letters by reason.
    Groups,
    /// One letter.
    Show(&'p str),
    /// A letter is given up.
    Discard(&'p str),
    /// One letter is replayed, or an edited pulse in its place.
    ReplayOne(&'p str),
    /// A tenant's replays.
    Replays,
    /// A replay begins.
    CreateReplay,
    /// One replay.
    Replay(&'p str),
    /// A replay waits.
    Pause(&'p str),
    /// A replay goes on.
    Resume(&'p str),
    /// A replay ends.
    Cancel(&'p str),
}

impl LetterAction<'_> {
    /// Whether it only looks.
    pub const fn reads(&self) -> bool {
        matches!(self, Self::List | Self::Groups | Self::Show(_) | Self::Replays | Self::Replay(_))
    }
}

impl Action<'_> {
    /// What a caller must be allowed; `None`: whoever comes is answered.
    pub const fn needs(&self) -> Option<Permission> {
        Some(match self {
            Self::Submit(_) => Permission::Write,
            Self::Pulses | Self::Pulse(_) | Self::Search | Self::Counts => Permission::Read,
            Self::Letters(action) if action.reads() => Permission::Read,
            Self::Erasures(ErasureAction::List | ErasureAction::Show(_)) => Permission::Read,
            Self::Letters(_) | Self::Erasures(_) => Permission::Admin,
            Self::Metrics => Permission::Process,
            Self::Health => return None,
        })
    }
}

/// A row of the route table, as the metrics name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Endpoint {
    /// `POST /pulse`
    Pulse,
    /// `POST /ingest`
    Ingest,
    /// `POST /events`
    Events,
    /// `GET /v1/pulses`
    Pulses,
    /// `GET /v1/pulses/{id}`
    PulseById,
    /// `GET /v1/search`
    Search,
    /// `GET /v1/counts`
    Counts,
    /// `GET /metrics`
    Metrics,
    /// `GET /health`
    Health,
    /// `GET /v1/dead-letters`
    Letters,
    /// `GET /v1/dead-letters/groups`
    LetterGroups,
    /// `GET`, `DELETE /v1/dead-letters/{id}`
    LetterById,
    /// `POST /v1/dead-letters/{id}/replay`
    LetterReplay,
    /// `GET`, `POST /v1/replays`
    Replays,
    /// `GET /v1/replays/{id}`
    ReplayById,
    /// `POST /v1/replays/{id}/pause`, `resume`, `cancel`
    ReplayStep,
    /// `GET`, `POST /v1/erasures`
    Erasures,
    /// `GET /v1/erasures/{id}`
    ErasureById,
    /// `POST /v1/erasures/{id}/cancel`
    ErasureCancel,
    /// Every path that is not in the table.
    Other,
}

impl Endpoint {
    /// Every row, in the order of their numbers.
    pub const ALL: [Self; 20] = [
        Self::Pulse,
        Self::Ingest,
        Self::Events,
        Self::Pulses,
        Self::PulseById,
        Self::Search,
        Self::Counts,
        Self::Metrics,
        Self::Health,
        Self::Letters,
        Self::LetterGroups,
        Self::LetterById,
        Self::LetterReplay,
        Self::Replays,
        Self::ReplayById,
        Self::ReplayStep,
        Self::Erasures,
        Self::ErasureById,
        Self::ErasureCancel,
        Self::Other,
    ];

    /// Its name as a metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pulse => "/pulse",
            Self::Ingest => "/ingest",
            Self::Events => "/events",
            Self::Pulses => "/v1/pulses",
            Self::PulseById => "/v1/pulses/{id}",
            Self::Search => "/v1/search",
            Self::Counts => "/v1/counts",
            Self::Metrics => "/metrics",
            Self::Health => "/health",
            Self::Letters => "/v1/dead-letters",
            Self::LetterGroups => "/v1/dead-letters/groups",
            Self::LetterById => "/v1/dead-letters/{id}",
            Self::LetterReplay => "/v1/dead-letters/{id}/replay",
            Self::Replays => "/v1/replays",
            Self::ReplayById => "/v1/replays/{id}",
            Self::ReplayStep => "/v1/replays/{id}/{step}",
            Self::Erasures => "/v1/erasures",
            Self::ErasureById => "/v1/erasures/{id}",
            Self::ErasureCancel => "/v1/erasures/{id}/cancel",
            Self::Other => "other",
        }
    }
}

/// Why a request has no action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Miss {
    /// No such path.
    NotFound,
    /// The path takes other methods: those of the `Allow` header.
    Method(&'static str),
}

/// What a path and method lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route<'p> {
    /// The row of the table.
    pub endpoint: Endpoint,
    /// What is asked, or why nothing is.
    pub action: Result<Action<'p>, Miss>,
}

/// Finds the route of a request. Paths are compared as they are: no trailing slash, no case.
pub fn find<'p>(method: &str, path: &'p str) -> Route<'p> {
    let Some(resource) = resource(path) else {
        return Route { endpoint: Endpoint::Other, action: Err(Miss::NotFound) };
    };
    let Resource { endpoint, get, post, delete } = resource;
    let action = match method {
        "GET" | "HEAD" => get,
        "POST" => post,
        "DELETE" => delete,
        _ => None,
    };
    let allow = match (get.is_some(), post.is_some(), delete.is_some()) {
        (true, true, _) => "GET, HEAD, POST",
        (true, _, true) => "GET, HEAD, DELETE",
        (true, ..) => "GET, HEAD",
        _ => "POST",
    };
    Route { endpoint, action: action.ok_or(Miss::Method(allow)) }
}

/// A path and what each method means there.
struct Resource<'p> {
    endpoint: Endpoint,
    get: Option<Action<'p>>,
    post: Option<Action<'p>>,
    delete: Option<Action<'p>>,
}

impl<'p> Resource<'p> {
    fn get(endpoint: Endpoint, action: Action<'p>) -> Self {
        Self { endpoint, get: Some(action), post: None, delete: None }
    }

    fn post(endpoint: Endpoint, action: Action<'p>) -> Self {
        Self { endpoint, get: None, post: Some(action), delete: None }
    }
}

fn resource(path: &str) -> Option<Resource<'_>> {
    Some(match path {
        "/pulse" => Resource::post(Endpoint::Pulse, Action::Submit(Shape::Pulse)),
        "/ingest" => Resource::post(Endpoint::Ingest, Action::Submit(Shape::Ingest)),
        "/events" => Resource::post(Endpoint::Events, Action::Submit(Shape::Events)),
        "/v1/pulses" => Resource::get(Endpoint::Pulses, Action::Pulses),
        "/v1/search" => Resource::get(Endpoint::Search, Action::Search),
        "/v1/counts" => Resource::get(Endpoint::Counts, Action::Counts),
        "/metrics" => Resource::get(Endpoint::Metrics, Action::Metrics),
        "/health" => Resource::get(Endpoint::Health, Action::Health),
        _ => {
            let path = path.strip_prefix("/v1/")?;
            if let Some(id) = path.strip_prefix("pulses/") {
                return Some(Resource::get(Endpoint::PulseById, Action::Pulse(segment(id)?)));
            }
            return letters(path).or_else(|| erasures(path));
        }
    })
}

/// The paths of dead letters, behind `/v1/`.
fn letters(path: &str) -> Option<Resource<'_>> {
    let (collection, rest) = path.split_once('/').map_or((path, None), |(a, b)| (a, Some(b)));
    let get = |endpoint, action| Resource::get(endpoint, Action::Letters(action));
    let post = |endpoint, action| Resource::post(endpoint, Action::Letters(action));
    Some(match (collection, rest) {
        ("dead-letters", None) => get(Endpoint::Letters, LetterAction::List),
        ("dead-letters", Some("groups")) => get(Endpoint::LetterGroups, LetterAction::Groups),
        ("dead-letters", Some(rest)) => match rest.split_once('/') {
            None => Resource {
                delete: Some(Action::Letters(LetterAction::Discard(rest))),
                ..get(Endpoint::LetterById, LetterAction::Show(segment(rest)?))
            },
            Some((id, "replay")) => {
                post(Endpoint::LetterReplay, LetterAction::ReplayOne(segment(id)?))
            }
            Some(_) => return None,
        },
        ("replays", None) => Resource {
            post: Some(Action::Letters(LetterAction::CreateReplay)),
            ..get(Endpoint::Replays, LetterAction::Replays)
        },
        ("replays", Some(rest)) => match rest.split_once('/') {
            None => get(Endpoint::ReplayById, LetterAction::Replay(segment(rest)?)),
            Some((id, step)) => {
                let id = segment(id)?;
                let action = match step {
                    "pause" => LetterAction::Pause(id),
                    "resume" => LetterAction::Resume(id),
                    "cancel" => LetterAction::Cancel(id),
                    _ => return None,
                };
                post(Endpoint::ReplayStep, action)
            }
        },
        _ => return None,
    })
}

/// The paths of erasures, behind `/v1/`.
fn erasures(path: &str) -> Option<Resource<'_>> {
    let get = |endpoint, action| Resource::get(endpoint, Action::Erasures(action));
    let Some(rest) = path.strip_prefix("erasures/") else {
        return (path == "erasures").then(|| Resource {
            post: Some(Action::Erasures(ErasureAction::Create)),
            ..get(Endpoint::Erasures, ErasureAction::List)
        });
    };
    match rest.split_once('/') {
        None => Some(get(Endpoint::ErasureById, ErasureAction::Show(segment(rest)?))),
        Some((id, "cancel")) => {
            let action = Action::Erasures(ErasureAction::Cancel(segment(id)?));
            Some(Resource::post(Endpoint::ErasureCancel, action))
        }
        Some(_) => None,
    }
}

/// One segment of a path, which is not empty.
fn segment(rest: &str) -> Option<&str> {
    (!rest.is_empty() && !rest.contains('/')).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn of(action: LetterAction<'_>) -> Result<Action<'_>, Miss> {
        Ok(Action::Letters(action))
    }

    const fn erasing(action: ErasureAction<'_>) -> Result<Action<'_>, Miss> {
        Ok(Action::Erasures(action))
    }

    /// The golden table: method, path, row, outcome.
    const TABLE: &[(&str, &str, Endpoint, Result<Action<'_>, Miss>)] = &[
        ("POST", "/pulse", Endpoint::Pulse, Ok(Action::Submit(Shape::Pulse))),
        ("POST", "/ingest", Endpoint::Ingest, Ok(Action::Submit(Shape::Ingest))),
        ("POST", "/events", Endpoint::Events, Ok(Action::Submit(Shape::Events))),
        ("GET", "/v1/pulses", Endpoint::Pulses, Ok(Action::Pulses)),
        ("HEAD", "/v1/pulses", Endpoint::Pulses, Ok(Action::Pulses)),
        ("GET", "/v1/pulses/a%2Fb", Endpoint::PulseById, Ok(Action::Pulse("a%2Fb"))),
        ("HEAD", "/v1/pulses/x", Endpoint::PulseById, Ok(Action::Pulse("x"))),
        ("GET", "/v1/search", Endpoint::Search, Ok(Action::Search)),
        ("POST", "/v1/search", Endpoint::Search, Err(Miss::Method("GET, HEAD"))),
        ("GET", "/v1/search/x", Endpoint::Other, Err(Miss::NotFound)),
        ("GET", "/v1/counts", Endpoint::Counts, Ok(Action::Counts)),
        ("GET", "/metrics", Endpoint::Metrics, Ok(Action::Metrics)),
        ("GET", "/health", Endpoint::Health, Ok(Action::Health)),
        ("HEAD", "/health", Endpoint::Health, Ok(Action::Health)),
        ("GET", "/v1/dead-letters", Endpoint::Letters, of(LetterAction::List)),
        ("GET", "/v1/dead-letters/groups", Endpoint::LetterGroups, of(LetterAction::Groups)),
        ("GET", "/v1/dead-letters/x", Endpoint::LetterById, of(LetterAction::Show("x"))),
        ("DELETE", "/v1/dead-letters/x", Endpoint::LetterById, of(LetterAction::Discard("x"))),
        (
            "POST",
            "/v1/dead-letters/x/replay",
            Endpoint::LetterReplay,
            of(LetterAction::ReplayOne("x")),
        ),
        ("GET", "/v1/replays", Endpoint::Replays, of(LetterAction::Replays)),
        ("POST", "/v1/replays", Endpoint::Replays, of(LetterAction::CreateReplay)),
        ("HEAD", "/v1/replays/x", Endpoint::ReplayById, of(LetterAction::Replay("x"))),
        ("POST", "/v1/replays/x/pause", Endpoint::ReplayStep, of(LetterAction::Pause("x"))),
        ("POST", "/v1/replays/x/resume", Endpoint::ReplayStep, of(LetterAction::Resume("x"))),
        ("POST", "/v1/replays/x/cancel", Endpoint::ReplayStep, of(LetterAction::Cancel("x"))),
        ("POST", "/v1/dead-letters", Endpoint::Letters, Err(Miss::Method("GET, HEAD"))),
        (
            "POST",
            "/v1/dead-letters/x",
            Endpoint::LetterById,
            Err(Miss::Method("GET, HEAD, DELETE")),
        ),
        ("DELETE", "/v1/replays", Endpoint::Replays, Err(Miss::Method("GET, HEAD, POST"))),
        ("GET", "/v1/replays/x/pause", Endpoint::ReplayStep, Err(Miss::Method("POST"))),
        ("GET", "/v1/dead-letters/", Endpoint::Other, Err(Miss::NotFound)),
        ("POST", "/v1/dead-letters/x/y", Endpoint::Other, Err(Miss::NotFound)),
        ("POST", "/v1/replays//cancel", Endpoint::Other, Err(Miss::NotFound)),
        ("POST", "/v1/replays/x/stop", Endpoint::Other, Err(Miss::NotFound)),
        ("GET", "/v1/erasures", Endpoint::Erasures, erasing(ErasureAction::List)),
        ("POST", "/v1/erasures", Endpoint::Erasures, erasing(ErasureAction::Create)),
        ("GET", "/v1/erasures/x", Endpoint::ErasureById, erasing(ErasureAction::Show("x"))),
        (
            "POST",
            "/v1/erasures/x/cancel",
            Endpoint::ErasureCancel,
            erasing(ErasureAction::Cancel("x")),
        ),
        ("DELETE", "/v1/erasures/x", Endpoint::ErasureById, Err(Miss::Method("GET, HEAD"))),
        ("POST", "/v1/erasures/x/pause", Endpoint::Other, Err(Miss::NotFound)),
        ("POST", "/v1/erasures//cancel", Endpoint::Other, Err(Miss::NotFound)),
        ("GET", "/v1/erasures/", Endpoint::Other, Err(Miss::NotFound)),
        ("GET", "/v1/erasuresx", Endpoint::Other, Err(Miss::NotFound)),
        ("GET", "/pulse", Endpoint::Pulse, Err(Miss::Method("POST"))),
        ("OPTIONS", "/events", Endpoint::Events, Err(Miss::Method("POST"))),
        ("post", "/pulse", Endpoint::Pulse, Err(Miss::Method("POST"))),
        ("POST", "/health", Endpoint::Health, Err(Miss::Method("GET, HEAD"))),
        ("DELETE", "/v1/pulses/x", Endpoint::PulseById, Err(Miss::Method("GET, HEAD"))),
        ("POST", "/pulse/", Endpoint::Other, Err(Miss::NotFound)),
        ("POST", "/Pulse", Endpoint::Other, Err(Miss::NotFound)),
        ("GET", "/v1/pulses/", Endpoint::Other, Err(Miss::NotFound)),
        ("GET", "/v1/pulses/a/b", Endpoint::Other, Err(Miss::NotFound)),
        ("GET", "/", Endpoint::Other, Err(Miss::NotFound)),
        ("OPTIONS", "*", Endpoint::Other, Err(Miss::NotFound)),
        ("CONNECT", "", Endpoint::Other, Err(Miss::NotFound)),
    ];

    #[test]
    fn each_path_and_method_leads_where_the_table_says() {
        for (method, path, endpoint, action) in TABLE {
            let expected = Route { endpoint: *endpoint, action: *action };
            assert_eq!(find(method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn whoever_may_read_sees_dead_letters_and_an_admin_alone_moves_them() {
        for (method, path, _, action) in TABLE {
            let Ok(Action::Letters(letters)) = action else { continue };
            let needs = find(method, path).action.ok().and_then(|action| action.needs());
            let looks = matches!(*method, "GET" | "HEAD");
            let wanted = if looks { Permission::Read } else { Permission::Admin };
            assert_eq!((needs, letters.reads()), (Some(wanted), looks), "{method} {path}");
        }
    }

    #[test]
    fn whoever_may_read_sees_erasures_and_an_admin_alone_begins_and_ends_them() {
        for (method, path, _, action) in TABLE {
            let Ok(action @ Action::Erasures(_)) = action else { continue };
            let looks = matches!(*method, "GET" | "HEAD");
            let wanted = if looks { Permission::Read } else { Permission::Admin };
            assert_eq!(action.needs(), Some(wanted), "{method} {path}");
        }
    }

    #[test]
    fn an_endpoints_number_is_its_place() {
        for (place, endpoint) in Endpoint::ALL.into_iter().enumerate() {
            assert_eq!(endpoint as usize, place);
        }
    }
}
