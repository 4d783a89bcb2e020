//! `tenant`: the file of tenants edited in place. What people wrote there stays; a key is shown
//! once, and the file has its hash alone.

mod book;
mod edit;
#[cfg(test)]
mod edit_tests;
mod lines;

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use pulsemesh_ingest::tenant::file::{KEY_KINDS, is_name};
use pulsemesh_ingest::tenant::key::ApiKey;
use serde_json::{Map, Value, json};

use crate::output::{Output, Table, pairs, text};
use crate::{EXIT_OK, NAME};

use book::Book;
use edit::{Limits, NewKey};

const EXAMPLES: &str = "\
Examples:
  pulsemesh tenant create checkout --key gateway:write --key board:read
  pulsemesh tenant create mailer --requests-per-minute 600 --file /etc/pulsemesh/tenants.yaml
  pulsemesh tenant list
  pulsemesh tenant rotate checkout gateway
  pulsemesh tenant remove-key checkout gateway

The file is the one of --tenants of the server, which reads it again within a second. It is
replaced as a whole, comments and all else in it stay, and what would not be read is not written.";

/// What is done with the file.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum TenantCommand {
    /// Add a tenant, and make the file where there is none
    Create(CreateArguments),
    /// Add a key beside an old one, of the same kind
    Rotate(RotateArguments),
    /// List tenants and the names of their keys
    List {
        #[command(flatten)]
        file: FileArguments,
    },
    /// Take a key out: whoever uses it is refused from then on
    RemoveKey {
        /// The tenant
        tenant: String,
        /// The name of the key
        key: String,
        #[command(flatten)]
        file: FileArguments,
    },
}

/// Which file.
#[derive(Debug, Args)]
pub(crate) struct FileArguments {
    /// The file of tenants
    #[arg(long, value_name = "FILE", env = "PULSEMESH_TENANTS", hide_env_values = true)]
    #[arg(default_value = "tenants.yaml")]
    file: PathBuf,
}

/// A new tenant.
#[derive(Debug, Args)]
pub(crate) struct CreateArguments {
    /// The tenant
    #[arg(value_parser = name)]
    tenant: String,
    /// A key with its name and kind: write, read, both or admin; may be repeated
    #[arg(long = "key", value_name = "NAME:KIND", value_parser = key, default_value = "main:write")]
    keys: Vec<(String, String)>,
    /// Requests that it may send in a minute, 0 for any number; 300 unless given
    #[arg(long, value_name = "NUMBER")]
    requests_per_minute: Option<u64>,
    /// Pulses that it may send in a minute; any number unless given
    #[arg(long, value_name = "NUMBER")]
    pulses_per_minute: Option<u64>,
    /// Requests at once after a pause
    #[arg(long, value_name = "NUMBER")]
    burst: Option<u64>,
    #[command(flatten)]
    file: FileArguments,
}

/// A key that is replaced.
#[derive(Debug, Args)]
pub(crate) struct RotateArguments {
    /// The tenant
    tenant: String,
    /// The name of the old key; may be left out where there is one alone
    key: Option<String>,
    /// The name of the new key; the old one's with a number unless given
    #[arg(long, value_name = "NAME", value_parser = name)]
    new_name: Option<String>,
    #[command(flatten)]
    file: FileArguments,
}

fn name(text: &str) -> Result<String, String> {
    let rule = "write letters, digits, -, _ and ., a letter or digit first";
    if is_name(text) { Ok(text.to_owned()) } else { Err(rule.to_owned()) }
}

fn key(text: &str) -> Result<(String, String), String> {
    let (key, kind) = text.split_once(':').unwrap_or((text, "write"));
    if !KEY_KINDS.contains(&kind) {
        return Err(format!("`{kind}` is no kind; write one of {}", KEY_KINDS.join(", ")));
    }
    Ok((name(key)?, kind.to_owned()))
}

/// Does it.
///
/// # Errors
/// When the file can't be read, edited or written.
pub(crate) fn run(command: &TenantCommand, out: &mut Output) -> anyhow::Result<u8> {
    match command {
        TenantCommand::Create(arguments) => create(arguments, out)?,
        TenantCommand::Rotate(arguments) => rotate(arguments, out)?,
        TenantCommand::List { file } => list(&Book::open(&file.file)?, out)?,
        TenantCommand::RemoveKey { tenant, key, file } => {
            let book = Book::open(&file.file)?;
            book.save(&edit::remove_key(book.text(), tenant, key)?)?;
            if out.json {
                out.json(&json!({ "tenant": tenant, "removed": key }))?;
            } else {
                out.line(&format!("{tenant}: key {key} is removed"))?;
            }
        }
    }
    Ok(EXIT_OK)
}

/// A key that was made, with what is kept of it.
struct Made {
    new: NewKey,
    key: ApiKey,
}

fn make(name: &str, kind: &str) -> anyhow::Result<Made> {
    let key = ApiKey::generate()?;
    let sha256 = key.hash().to_hex();
    Ok(Made { new: NewKey { name: name.to_owned(), kind: kind.to_owned(), sha256 }, key })
}

fn create(arguments: &CreateArguments, out: &mut Output) -> anyhow::Result<()> {
    let CreateArguments { requests_per_minute, pulses_per_minute, burst, .. } = arguments;
    let book = Book::open_or_new(&arguments.file.file)?;
    let made = arguments.keys.iter().map(|(name, kind)| make(name, kind));
    let made = made.collect::<anyhow::Result<Vec<Made>>>()?;
    let limits: Limits = [
        ("requests_per_minute", *requests_per_minute),
        ("pulses_per_minute", *pulses_per_minute),
        ("burst", *burst),
    ];
    let keys: Vec<&NewKey> = made.iter().map(|made| &made.new).collect();
    book.save(&edit::create(book.text(), &arguments.tenant, &keys, limits)?)?;
    show(&arguments.tenant, &made, None, out)
}

fn rotate(arguments: &RotateArguments, out: &mut Output) -> anyhow::Result<()> {
    let book = Book::open(&arguments.file.file)?;
    let keys = book.keys(&arguments.tenant)?;
    let old = match &arguments.key {
        Some(name) => keys.iter().find(|(key, _)| key == name),
        None => keys.first().filter(|_| keys.len() == 1),
    };
    let names: Vec<&str> = keys.iter().map(|(name, _)| name.as_str()).collect();
    let (old, kind) = old.with_context(|| {
        let names = names.join(", ");
        format!("say which key of `{}` is replaced; it has: {names}", arguments.tenant)
    })?;
    let new_name = arguments.new_name.clone().unwrap_or_else(|| next_name(old, &names));
    let made = make(&new_name, kind)?;
    book.save(&edit::add_key(book.text(), &arguments.tenant, &made.new)?)?;
    show(&arguments.tenant, &[made], Some(old), out)?;
    if !out.json {
        let file = arguments.file.file.display();
        writeln!(
            io::stderr(),
            "Key {old} still works. When nobody uses it any more:\n  {NAME} tenant remove-key \
             {} {old} --file {file}",
            arguments.tenant,
        )?;
    }
    Ok(())
}

/// `gateway`, `gateway-2`, `gateway-3`: the first that is free.
fn next_name(old: &str, names: &[&str]) -> String {
    let numbered = old.rsplit_once('-').filter(|(_, number)| number.parse::<u32>().is_ok());
    let base = numbered.map_or(old, |(base, _)| base);
    let mut name = old.to_owned();
    // One more than there are names: one of them is free.
    for number in 2..=names.len() + 2 {
        name = format!("{base}-{number}");
        if !names.contains(&name.as_str()) {
            break;
        }
    }
    name
}

/// Shows keys, which nobody can show again.
fn show(
    tenant: &str,
    made: &[Made],
    replaces: Option<&str>,
    out: &mut Output,
) -> anyhow::Result<()> {
    if out.json {
        let key = |made: &Made| {
            let NewKey { name, kind, .. } = &made.new;
            json!({"name": name, "kind": kind, "key": made.key.reveal()})
        };
        let keys: Vec<Value> = made.iter().map(key).collect();
        let mut shown = Map::from_iter([("tenant".to_owned(), tenant.into())]);
        shown.insert("keys".to_owned(), keys.into());
        shown.extend(replaces.map(|old| ("replaces".to_owned(), old.into())));
        out.json(&shown)?;
        return Ok(());
    }
    let mut table = Table::new(&["TENANT", "NAME", "KIND", "KEY"]);
    for Made { new, key } in made {
        table.row([tenant, &new.name, &new.kind, key.reveal()].map(str::to_owned));
    }
    table.print(out)?;
    out.flush()?;
    writeln!(io::stderr(), "A key is shown this once; the file has its hash alone.")?;
    Ok(())
}

fn list(book: &Book, out: &mut Output) -> anyhow::Result<()> {
    let mut table = Table::new(&["TENANT", "KEYS", "LIMITS"]);
    for mut tenant in book.tenants() {
        // A hash is no key, and of no use to who reads a list.
        for key in tenant["keys"].as_array_mut().into_iter().flatten() {
            if let Some(key) = key.as_object_mut() {
                key.remove("sha256");
            }
        }
        if out.json {
            out.json(&tenant)?;
            continue;
        }
        let key = |key: &Value| format!("{}:{}", text(&key["name"]), text(&key["kind"]));
        let keys = tenant["keys"].as_array().into_iter().flatten().map(key);
        let keys: Vec<String> = keys.collect();
        table.row([text(&tenant["name"]), keys.join(" "), pairs(&tenant["limits"])]);
    }
    table.print(out)?;
    Ok(())
}
