//! Tenants beside each other: requests made up with any key, id, cursor and filter, whosever they
//! are, and not a byte of another tenant in any answer. `PULSEMESH_SEED` replays a run,
//! `PULSEMESH_ISOLATION_REQUESTS` says how many requests each store is asked.

mod letters;

use std::collections::HashSet;
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use xtask::client::{Client, Request, Response};
use xtask::flags;
use xtask::ledger::drained;
use xtask::server::Server;

use crate::support::{Fixture, SOON, printed, say, setting, tool};

/// Requests without a wish.
const REQUESTS: u64 = 2_000;
const TENANTS: [&str; 3] = ["amber", "birch", "cedar"];
const KINDS: [&str; 4] = ["write", "read", "both", "admin"];
const PULSES: usize = 60;
/// Names that all tenants use.
const SERVICES: [&str; 3] = ["checkout", "mailer", "default"];
const UUID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// One tenant: its keys by kind, and all that leads to its pulses.
struct Tenant {
    name: &'static str,
    /// In every text of its pulses that may be told, and in no request but its own.
    mark: String,
    keys: Vec<(&'static str, String)>,
    ids: Vec<String>,
    cursors: Vec<String>,
    accepted: u64,
}

impl Tenant {
    fn key(&self, kind: &str) -> &str {
        self.keys.iter().find(|(known, _)| *known == kind).map_or("", |(_, key)| key)
    }
}

/// Has a key made by the binary; gives it and its line for the file.
pub(crate) fn new_key(name: &str, kind: &str) -> Result<(String, String)> {
    let output = tool(&["tenant", "key", "--name", name, "--kind", kind])?;
    ensure!(output.status.success(), "{}", printed(&output));
    let text = String::from_utf8(output.stdout)?;
    let key = text.split_whitespace().find(|word| word.starts_with("pmk_"));
    let line = text.lines().find(|line| line.trim_start().starts_with("- {"));
    Ok((key.context("no key")?.to_owned(), line.context("no line")?.trim().to_owned()))
}

fn tenants(file: &Path) -> Result<Vec<Tenant>> {
    let mut text = "tenants:\n".to_owned();
    let mut tenants = Vec::new();
    for name in TENANTS {
        writeln!(text, "- name: {name}\n  limits: {{requests_per_minute: 0}}\n  keys:")?;
        let mut keys = Vec::new();
        for kind in KINDS {
            let (key, line) = new_key(kind, kind)?;
            writeln!(text, "  {line}")?;
            keys.push((kind, key));
        }
        let mark = format!("{name}-{:016x}", rand::random::<u64>());
        tenants.push(Tenant {
            name,
            mark,
            keys,
            ids: Vec::new(),
            cursors: Vec::new(),
            accepted: 0,
        });
    }
    std::fs::write(file, text)?;
    Ok(tenants)
}

/// A pulse whose every text but its service is its tenant's own.
fn pulse(random: &mut StdRng, mark: &str) -> Value {
    let mut pulse = json!({
        "service": SERVICES.choose(random),
        "kind": format!("kind-{mark}"),
        "status": format!("status-{mark}"),
        "user": format!("user-{mark}"),
        "metadata": {"from": mark},
        "payload": {"secret": mark},
    });
    match random.random_range(0..5) {
        0 => pulse["event_id"] = json!(format!("order-{}", random.random_range(0..40))),
        1 => pulse["event_id"] = json!(UUID),
        2 => pulse["idempotency_key"] = json!(format!("key-{}", random.random_range(0..40))),
        _ => {}
    }
    pulse
}

fn fill(server: &Server, tenant: &mut Tenant, random: &mut StdRng) -> Result<()> {
    let mut client = server.client();
    let mut sent = HashSet::new();
    for _ in 0..PULSES {
        let body = pulse(random, &tenant.mark).to_string();
        let first = sent.insert(body.clone());
        let request = Request::json("/pulse", body).header("x-api-key", tenant.key("write"));
        let response = client.send(&request)?;
        // Its own ids come again with other bodies.
        ensure!(matches!(response.status, 202 | 422), "{}", response.text());
        if response.status == 202 {
            let answer = response.json()?;
            let repeat = answer["duplicate"] == true;
            ensure!(!(repeat && first), "another tenant's pulse is no repeat: {answer}");
            tenant.ids.push(answer["id"].as_str().context("an id")?.to_owned());
            tenant.accepted += 1;
        }
    }
    Ok(())
}

fn collect_cursors(server: &Server, tenant: &mut Tenant) -> Result<()> {
    let mut client = server.client();
    for service in SERVICES {
        let target = format!("/v1/pulses?service={service}&limit=3");
        let request = Request::get(&target).header("x-api-key", tenant.key("read"));
        let page = client.send(&request)?.json()?;
        tenant.cursors.extend(page["next"].as_str().map(str::to_owned));
    }
    ensure!(!tenant.cursors.is_empty(), "{} has no second page", tenant.name);
    Ok(())
}

/// A search for what is known of somebody.
fn search(random: &mut StdRng, owner: &Tenant) -> String {
    let service = SERVICES.choose(random).copied().unwrap_or_default();
    let cursor = owner.cursors.choose(random).cloned().unwrap_or_default();
    let wanted = match random.random_range(0..6) {
        0 => format!("id={}", owner.ids.choose(random).cloned().unwrap_or_default()),
        1 => format!("id=order-{}", random.random_range(0..40)),
        2 => format!("idempotency_key=key-{}", random.random_range(0..40)),
        3 => format!("service={service}&user=user-{}", owner.mark),
        4 => format!("service={service}&cursor={cursor}"),
        _ => format!("service={service}&kind=kind-{}", owner.mark),
    };
    format!("/v1/search?{wanted}")
}

/// A request with whatever is known of whomever; gives the tenant of its key.
fn made_up<'t>(random: &mut StdRng, tenants: &'t [Tenant]) -> (Request, Option<&'t Tenant>) {
    let any = |random: &mut StdRng| tenants.choose(random).map_or(&tenants[0], |tenant| tenant);
    let caller = any(random);
    let target = match random.random_range(0..14) {
        0..4 => {
            let service = SERVICES.choose(random).copied().unwrap_or_default();
            let mut target = format!("/v1/pulses?service={service}");
            if random.random_bool(0.5) {
                let cursor = any(random).cursors.choose(random).cloned().unwrap_or_default();
                let _ = write!(target, "&cursor={cursor}");
            }
            if random.random_bool(0.3) {
                let _ = write!(target, "&from={}", random.random_range(0..2_000_000_000_000_u64));
            }
            target + &format!("&limit={}", random.random_range(0..80))
        }
        4..7 => match random.random_range(0..4) {
            0 => format!("/v1/pulses/order-{}", random.random_range(0..40)),
            1 => format!("/v1/pulses/{UUID}"),
            2 => format!("/v1/pulses/{}%2F..%2F{}", any(random).name, any(random).name),
            _ => format!(
                "/v1/pulses/{}",
                any(random).ids.choose(random).cloned().unwrap_or_default()
            ),
        },
        7 | 8 => format!("/v1/pulses?idempotency_key=key-{}", random.random_range(0..40)),
        9 => format!("/v1/counts?window={}h&by=kind", random.random_range(1..48)),
        10 => format!("/v1/counts?window=1h&step={}m", random.random_range(1..9)),
        11 | 12 => {
            let owner = any(random);
            search(random, owner)
        }
        _ => ["/metrics", "/health", "/v1/pulses", "/", "/v1/counts?tenant=birch"]
            .choose(random)
            .map_or_else(String::new, |target| (*target).to_owned()),
    };
    let mut request = if random.random_bool(0.1) {
        Request::json("/pulse", pulse(random, &caller.mark).to_string())
    } else {
        Request::get(&target)
    };
    // Headers that a careless server might believe.
    if random.random_bool(0.2) {
        request = request.header("x-tenant", any(random).name);
    }
    let kind = KINDS.choose(random).copied().unwrap_or_default();
    let key = caller.key(kind).to_owned();
    match random.random_range(0..20) {
        0 => (request, None),
        1 => (request.header("x-api-key", &key[..key.len() - 1]), None),
        2 => (request.header("x-api-key", &key.to_uppercase()), None),
        3 => {
            let other = any(random).key("both");
            let request = request.header("authorization", &format!("Bearer {other}"));
            (request.header("x-api-key", &key), (other == key).then_some(caller))
        }
        4..12 => (request.header("authorization", &format!("Bearer {key}")), Some(caller)),
        _ => (request.header("x-api-key", &key), Some(caller)),
    }
}

/// That an answer holds nothing of anyone but `caller`.
fn check(response: &Response, caller: Option<&Tenant>, tenants: &[Tenant]) -> Result<()> {
    let head: String =
        response.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    let text = head + &response.text();
    for other in tenants.iter().filter(|other| caller.is_none_or(|own| own.name != other.name)) {
        ensure!(!text.contains(&other.mark), "{} is told of:\n{text}", other.name);
        ensure!(!text.contains(&format!("\"{}\"", other.name)), "{} is named:\n{text}", other.name);
    }
    for tenant in tenants {
        let shown = tenant.keys.iter().any(|(_, key)| text.contains(&key[4..40]));
        ensure!(!shown, "a key of {} is shown:\n{text}", tenant.name);
    }
    ensure!(response.status < 500, "{text}");
    let served = caller.is_some() || text.contains("\"status\":\"ok\"");
    ensure!(served || response.status >= 400, "nobody was answered:\n{text}");
    Ok(())
}

/// That each tenant reads all of its own: a store that gives nobody anything is no proof.
fn check_own(server: &Server, tenant: &Tenant) -> Result<()> {
    let mut client = server.client();
    let mut ids = HashSet::new();
    for service in SERVICES {
        let target = format!("/v1/pulses?service={service}&limit=1000");
        let request = Request::get(&target).header("x-api-key", tenant.key("admin"));
        let page = client.send(&request)?.json()?;
        for row in page["pulses"].as_array().context("rows")? {
            ensure!(row["tenant"] == tenant.name && row["user"] == format!("user-{}", tenant.mark));
            ids.insert(row["id"].as_str().unwrap_or_default().to_owned());
        }
    }
    let missing = tenant.ids.iter().filter(|id| !ids.contains(*id)).count();
    ensure!(missing == 0, "{missing} of {}'s {} are missing", tenant.name, tenant.accepted);
    Ok(())
}

fn requests() -> u64 {
    setting("PULSEMESH_ISOLATION_REQUESTS").unwrap_or(REQUESTS)
}

fn isolated(store: &str) -> Result<()> {
    let seed = setting("PULSEMESH_SEED").unwrap_or_else(rand::random);
    let requests = requests();
    say(&format!(
        "isolation, {store}: PULSEMESH_SEED={seed} PULSEMESH_ISOLATION_REQUESTS={requests}"
    ));
    let mut random = StdRng::seed_from_u64(seed);
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("tenants.yaml");
    let mut tenants = tenants(&file)?;
    let fixture = Fixture::with(|launch| {
        launch.flag("--tenants", &file.display().to_string()).flag(flags::STORE, store)
    })?;
    for tenant in &mut tenants {
        fill(&fixture.server, tenant, &mut random)?;
    }
    drained(&fixture.server, SOON)?;
    for tenant in &mut tenants {
        collect_cursors(&fixture.server, tenant)?;
    }
    let mut client: Client = fixture.server.client();
    let mut statuses = std::collections::BTreeMap::<u16, u64>::new();
    for number in 0..requests {
        let (request, caller) = made_up(&mut random, &tenants);
        let response = client.send(&request)?;
        *statuses.entry(response.status).or_default() += 1;
        check(&response, caller, &tenants)
            .with_context(|| format!("request {number} of seed {seed}"))?;
    }
    // Each way of being answered was met.
    for status in [200, 202, 400, 401, 403, 404] {
        ensure!(statuses.contains_key(&status), "no answer was {status}: {statuses:?}");
    }
    drained(&fixture.server, SOON)?;
    for tenant in &tenants {
        check_own(&fixture.server, tenant)?;
    }
    Ok(())
}

#[test]
fn no_answer_has_a_byte_of_another_tenant_from_the_embedded_store() -> Result<()> {
    isolated("embedded")
}

#[test]
fn no_answer_has_a_byte_of_another_tenant_from_the_memory_store() -> Result<()> {
    isolated("memory")
}
