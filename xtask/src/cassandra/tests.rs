//! Tests of a cluster as a whole; those that start Cassandra run when they are asked for.

use std::net::Ipv4Addr;

use super::*;

#[test]
fn a_folder_without_an_owner_is_not_attached_to() {
    let dir = tempfile::tempdir().expect("a folder");
    assert!(Cluster::attach(dir.path()).is_err(), "nothing is there");
    let settings =
        ClusterSettings { first: Ipv4Addr::new(127, 0, 96, 1), ..ClusterSettings::new(dir.path()) };
    let owned = Cluster::own(settings.clone(), "jars".into()).expect("the folder is taken");
    let attached = Cluster::attach(dir.path()).expect("it has an owner");
    assert_eq!(attached.settings(), owned.settings());
    assert!(Cluster::own(settings.clone(), "jars".into()).is_err(), "it is owned");
    drop(attached);
    assert!(Cluster::attach(dir.path()).is_ok(), "who attaches owns nothing");
    drop(owned);
    assert!(Cluster::attach(dir.path()).is_err(), "the owner is gone");
    Cluster::own(settings, "jars".into()).expect("it may be owned again");
}

#[test]
fn an_address_that_is_taken_is_refused_at_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let first = Ipv4Addr::new(127, 0, 97, 1);
    let taken = TcpListener::bind((first, 0)).expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    let settings = ClusterSettings { first, port, ..ClusterSettings::new(dir.path()) };
    let error = Cluster::own(settings, "jars".into()).expect_err("it is taken");
    assert!(format!("{error:#}").contains(&port.to_string()), "{error:#}");
}
