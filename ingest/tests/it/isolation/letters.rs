//! Dead letters of tenants beside each other: lists, letters, replays and edits, asked for with
//! whosever key and about whosever letters. Only its own tenant's admin key changes a letter.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use xtask::client::{Request, Response};
use xtask::flags;
use xtask::ledger::drained;
use xtask::server::Server;

use super::{KINDS, SERVICES, TENANTS, Tenant, check, requests, tenants};
use crate::letters::{refuse_file, refusing};
use crate::support::{SOON, say, setting};

/// Letters of each tenant.
const LETTERS: usize = 40;

/// What is known of each tenant, in the order of tenants.
#[derive(Default)]
struct Known {
    letters: Vec<String>,
    pulses: Vec<String>,
    cursors: Vec<String>,
    replays: Vec<String>,
}

/// One request, and whose letter or replay it would change.
struct Asked {
    request: Request,
    caller: usize,
    kind: &'static str,
    changes: Option<usize>,
}

fn launch(directory: &Path) -> Result<Server> {
    fs::create_dir(directory.join("data"))?;
    fs::write(refuse_file(directory), "")?;
    let tenants = directory.join("tenants.yaml").display().to_string();
    let server = refusing(directory)?.flag(flags::TENANTS, &tenants).start()?;
    server.wait_ready(SOON)?;
    Ok(server)
}

/// A pulse that the store refuses; every text but its service and kind is its tenant's own.
fn refused(random: &mut StdRng, mark: &str) -> Value {
    json!({
        "service": SERVICES.choose(random),
        "kind": "refused",
        "user": format!("user-{mark}"),
        "metadata": {"from": mark},
        "payload": {"secret": mark},
    })
}

fn fill(server: &Server, tenant: &Tenant, random: &mut StdRng) -> Result<()> {
    let lines = (0..LETTERS).map(|_| refused(random, &tenant.mark).to_string());
    let body = lines.collect::<Vec<_>>().join("\n");
    let request = Request::lines("/pulse", body).header("x-api-key", tenant.key("write"));
    let response = server.client().send(&request)?;
    ensure!(response.status == 202, "{}", response.text());
    Ok(())
}

fn ask(server: &Server, tenant: &Tenant, target: &str) -> Result<Value> {
    let request = Request::get(target).header("x-api-key", tenant.key("read"));
    server.client().send(&request)?.json()
}

fn texts(values: &Value, name: &str) -> Vec<String> {
    let values = values.as_array().into_iter().flatten();
    values.filter_map(|value| value[name].as_str().map(str::to_owned)).collect()
}

fn known(server: &Server, tenant: &Tenant) -> Result<Known> {
    let page = ask(server, tenant, "/v1/dead-letters?limit=1000")?;
    let letters = texts(&page["dead_letters"], "id");
    ensure!(letters.len() == LETTERS, "{} letters of {}", letters.len(), tenant.name);
    let few = ask(server, tenant, "/v1/dead-letters?limit=3")?;
    let cursors = vec![few["next"].as_str().context("a second page")?.to_owned()];
    let pulses = texts(&page["dead_letters"], "pulse_id");
    Ok(Known { letters, pulses, cursors, replays: Vec::new() })
}

/// A request with whatever is known of whomever.
fn made_up(random: &mut StdRng, tenants: &[Tenant], all: &[Known]) -> Asked {
    let caller = random.random_range(0..tenants.len());
    let owner = random.random_range(0..tenants.len());
    let any = |random: &mut StdRng, list: &[String]| {
        list.choose(random).cloned().unwrap_or_else(|| "019c1425-7c00-7d5e-9f0a-3b1f".to_owned())
    };
    let letter = any(random, &all[owner].letters);
    let replay = any(random, &all[owner].replays);
    let one = format!("/v1/dead-letters/{letter}");
    let (request, changes) = match random.random_range(0..100) {
        0..20 => {
            let cursor = any(random, &all[owner].cursors);
            (list(random, &cursor), None)
        }
        20..30 => (Request::get("/v1/dead-letters/groups"), None),
        30..50 => (Request::get(&one), None),
        50..55 => {
            let target = format!("/v1/pulses/{}", any(random, &all[owner].pulses));
            (Request::get(&target), None)
        }
        55..65 => (Request::new("POST", &format!("{one}/replay")), Some(owner)),
        65..68 => {
            let body = refused(random, &tenants[caller].mark).to_string();
            (Request::new("POST", &format!("{one}/replay")).body(body), Some(owner))
        }
        68..70 => (Request::new("DELETE", &one), Some(owner)),
        70..76 => {
            let body = json!({"text": tenants[owner].mark, "dry_run": random.random_bool(0.8)});
            (Request::new("POST", "/v1/replays").body(body.to_string()), None)
        }
        76..84 => (Request::get("/v1/replays"), None),
        84..94 => (Request::get(&format!("/v1/replays/{replay}")), None),
        _ => {
            let step = ["pause", "resume", "cancel"].choose(random).copied().unwrap_or_default();
            (Request::new("POST", &format!("/v1/replays/{replay}/{step}")), Some(owner))
        }
    };
    let kind = KINDS.choose(random).copied().unwrap_or_default();
    let request = request.header("x-api-key", tenants[caller].key(kind));
    Asked { request, caller, kind, changes }
}

fn list(random: &mut StdRng, cursor: &str) -> Request {
    let more = match random.random_range(0..5) {
        0 => format!("&cursor={cursor}"),
        1 => "&reason=refused".to_owned(),
        2 => format!("&service={}", SERVICES.choose(random).copied().unwrap_or_default()),
        3 => format!("&text={}", TENANTS.choose(random).copied().unwrap_or_default()),
        _ => String::new(),
    };
    Request::get(&format!("/v1/dead-letters?limit={}{more}", random.random_range(1..50)))
}

/// A caller's own filter is repeated to it in what is told of its replays, whatever is in it.
fn without_filters(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.remove("filter");
            members.values_mut().for_each(without_filters);
        }
        Value::Array(values) => values.iter_mut().for_each(without_filters),
        _ => {}
    }
}

/// That nothing of another tenant is told, and nothing of it is changed.
fn judge(asked: &Asked, response: &Response, tenants: &[Tenant]) -> Result<()> {
    let mut answer = response.json()?;
    without_filters(&mut answer);
    let told = Response { body: answer.to_string().into_bytes(), ..response.clone() };
    check(&told, Some(&tenants[asked.caller]), tenants)?;
    let (text, status) = (response.text(), response.status);
    if let Some(owner) = asked.changes {
        let allowed = owner == asked.caller && asked.kind == "admin";
        ensure!(allowed || matches!(status, 403 | 404), "{status} for another's letter: {text}");
    }
    ensure!(status < 500, "{status}: {text}");
    Ok(())
}

/// Keeps ids that an answer to their owner has told, so that others can try them.
fn learn(response: &Response, known: &mut Known) -> Result<()> {
    if response.status >= 300 {
        return Ok(());
    }
    let answer = response.json()?;
    if answer["counts"].is_object() {
        known.replays.extend(answer["id"].as_str().map(str::to_owned));
    }
    known.cursors.extend(answer["next"].as_str().map(str::to_owned));
    Ok(())
}

#[test]
fn no_letter_is_told_to_or_changed_by_another_tenant() -> Result<()> {
    let seed = setting("PULSEMESH_SEED").unwrap_or_else(rand::random);
    let requests = requests();
    say(&format!("isolation, letters: PULSEMESH_SEED={seed} {requests} requests"));
    let mut random = StdRng::seed_from_u64(seed);
    let directory = tempfile::tempdir()?;
    let tenants = tenants(&directory.path().join("tenants.yaml"))?;
    let server = launch(directory.path())?;
    for tenant in &tenants {
        fill(&server, tenant, &mut random)?;
    }
    drained(&server, SOON)?;
    let mut all =
        tenants.iter().map(|tenant| known(&server, tenant)).collect::<Result<Vec<_>>>()?;
    let mut client = server.client();
    let mut statuses = BTreeMap::<u16, u64>::new();
    for number in 0..requests {
        let asked = made_up(&mut random, &tenants, &all);
        let response = client.send(&asked.request)?;
        *statuses.entry(response.status).or_default() += 1;
        judge(&asked, &response, &tenants)
            .with_context(|| format!("request {number} of seed {seed}"))?;
        learn(&response, &mut all[asked.caller])?;
    }
    for status in [200, 403, 404] {
        ensure!(statuses.contains_key(&status), "no answer was {status}: {statuses:?}");
    }
    Ok(())
}
