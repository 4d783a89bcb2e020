//! Who is identified, and as whom.

use super::*;

const READ: Permissions = Permissions::of(&[Permission::Read]);
const WRITE: Permissions = Permissions::of(&[Permission::Write]);

fn tenant(name: &str) -> Arc<Tenant> {
    Arc::new(Tenant::unlimited(name))
}

fn table(tenants: &[(&str, &[(&str, Permissions)])]) -> Table {
    let mut table = Table::default();
    for (name, keys) in tenants {
        let tenant = tenant(name);
        table.add(&tenant).expect("a new tenant");
        for (key, permissions) in *keys {
            table.add_key(KeyHash::of(key), &tenant, "first", *permissions).expect("a new key");
        }
    }
    table
}

fn two() -> Table {
    table(&[("a", &[("a-read", READ), ("a-write", WRITE)]), ("b", &[("b-write", WRITE)])])
}

#[test]
fn a_key_leads_to_its_tenant_and_to_what_it_may_do() {
    let tenants = Tenants::of(two());
    let cases = [
        (Some("a-read"), Ok(("a", READ))),
        (Some("a-write"), Ok(("a", WRITE))),
        (Some("b-write"), Ok(("b", WRITE))),
        (Some("b-read"), Err(Code::UnknownApiKey)),
        (Some(""), Err(Code::UnknownApiKey)),
        (None, Err(Code::NoApiKey)),
    ];
    for (key, expected) in cases {
        let found = tenants.identify(key);
        let found = match &found {
            Ok(caller) => Ok((&*caller.tenant.name, caller.permissions)),
            Err(refusal) => Err(refusal.reject.code),
        };
        assert_eq!(found, expected, "{key:?}");
    }
    let caller = tenants.identify(Some("a-read")).expect("known");
    assert_eq!(caller.asked_by().as_deref(), Some("a/first"));
    let long = "x".repeat(1 << 20);
    assert!(tenants.identify(Some(&long)).is_err());
}

#[test]
fn who_is_open_needs_no_key_and_looks_at_none() {
    let tenants = Tenants::open();
    for key in [None, Some("anything")] {
        let caller = tenants.identify(key).expect("open");
        assert_eq!(&*caller.tenant.name, DEFAULT_TENANT);
        assert_eq!(caller.tenant.limits, Limits::NONE);
        assert_eq!((caller.permissions, caller.asked_by()), (Permissions::ALL, None));
    }
    assert!(tenants.find(DEFAULT_TENANT).is_some() && tenants.find("a").is_none());
}

#[test]
fn another_table_is_seen_at_once_and_an_empty_one_lets_nobody_in() {
    let tenants = Tenants::of(two());
    tenants.replace(table(&[("b", &[("a-read", WRITE)])]));
    let caller = tenants.identify(Some("a-read")).expect("known");
    assert_eq!((&*caller.tenant.name, caller.permissions), ("b", WRITE));
    assert!(tenants.identify(Some("b-write")).is_err());
    assert!(tenants.find("a").is_none() && tenants.find("b").is_some());
    tenants.replace(Table::default());
    assert!(!tenants.is_open() && tenants.identify(Some("a-read")).is_err());
    assert!(tenants.identify(None).is_err());
}

#[test]
fn a_name_or_a_key_is_taken_once() {
    let mut table = two();
    assert_eq!(table.add(&tenant("a")), Err(TableError::NameTwice));
    let stolen = table.add_key(KeyHash::of("a-read"), &tenant("c"), "first", READ);
    assert_eq!(stolen, Err(TableError::KeyTwice));
}

#[test]
fn what_a_key_lacks_is_refused_and_named() {
    let caller = Caller { tenant: tenant("a"), permissions: READ, key: None };
    assert_eq!(caller.require(Permission::Read), Ok(()));
    for lacks in [Permission::Write, Permission::Admin, Permission::Process] {
        let refusal = caller.require(lacks).expect_err("not allowed");
        assert_eq!(refusal.reject.code, Code::NotPermitted);
        assert_eq!(refusal.reject.message, lacks.missing());
    }
}

#[test]
fn nothing_that_is_printed_shows_a_key_or_its_hash() {
    let tenants = Tenants::of(two());
    let caller = tenants.identify(Some("a-read")).expect("known");
    let text = format!("{tenants:?} {caller:?} {:?}", tenants.table());
    assert!(!text.contains("a-read"), "{text}");
    assert!(text.contains("KeyHash"), "{text}");
}
