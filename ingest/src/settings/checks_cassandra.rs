//! Rules between the settings of the Cassandra store. Each names both sides. Pure.

use scylla::statement::Consistency;

use super::error::Problem;
use super::table::{CassandraValues, Values};
use super::value::Value;
use super::{Cassandra, Settings, StoreChoice};

/// What would send a secret in the clear, log in as nobody, or trust nobody.
pub(super) fn problems(settings: &Settings, values: &Values) -> Vec<Problem> {
    let StoreChoice::Cassandra(cassandra) = &settings.storage.store else { return Vec::new() };
    let values = &values.cassandra;
    let pairs = [
        (&values.cassandra_username_file, &values.cassandra_password_file),
        (&values.cassandra_tls_cert_file, &values.cassandra_tls_key_file),
    ];
    let halves = pairs.into_iter().flat_map(|(one, other)| [(one, other), (other, one)]);
    let mut problems: Vec<_> =
        halves.filter_map(|(given, missing)| half_a_pair(given, missing)).collect();
    problems.extend(encryption(cassandra, values));
    problems
}

pub(super) fn half_a_pair(given: &Value, missing: &Value) -> Option<Problem> {
    (given.is_set() && !missing.is_set())
        .then(|| given.problem(format!("needs --{} beside it", missing.definition.name)))
}

/// Who names a CA or a certificate believes that the connection is encrypted: it is refused
/// rather than opened in the clear.
fn encryption(cassandra: &Cassandra, values: &CassandraValues) -> Vec<Problem> {
    if cassandra.tls.is_some() {
        let ca = &values.cassandra_tls_ca_file;
        let missing = || {
            values.cassandra_tls.problem(
                "needs --cassandra-tls-ca-file: the CA of the nodes, or the system's list of \
                 them, such as /etc/ssl/certs/ca-certificates.crt",
            )
        };
        return if ca.is_set() { Vec::new() } else { vec![missing()] };
    }
    let of_tls = [
        &values.cassandra_tls_ca_file,
        &values.cassandra_tls_cert_file,
        &values.cassandra_tls_key_file,
        &values.cassandra_tls_verify_name,
    ];
    let set = of_tls.into_iter().filter(|value| value.is_set());
    set.map(|value| value.problem("needs --cassandra-tls, or nothing is encrypted")).collect()
}

/// What is sound and may surprise.
pub(super) fn warnings(settings: &Settings, values: &Values) -> Vec<String> {
    let StoreChoice::Cassandra(cassandra) = &settings.storage.store else {
        let all = values.all().into_iter();
        let ours = all.filter(|value| value.definition.name.starts_with("cassandra-"));
        let set = ours.filter(|value| value.is_set());
        return set
            .map(|value| format!("{value}: has no effect without --store cassandra"))
            .collect();
    };
    let mut warnings = Vec::new();
    let of_one = matches!(cassandra.consistency, Consistency::One | Consistency::LocalOne);
    if of_one && cassandra.replication_factor != Some(1) {
        warnings.push(format!(
            "{}: a pulse counts as stored when one copy is, is lost with that node, and a query \
             may miss it",
            values.cassandra.cassandra_consistency
        ));
    }
    if cassandra.tls.as_ref().is_some_and(|tls| !tls.verify_name) {
        warnings.push(format!(
            "{}: whoever has any certificate of the CA can pass for a node",
            values.cassandra.cassandra_tls_verify_name
        ));
    }
    if cassandra.tls.is_none() && cassandra.credentials.is_some() {
        warnings.push(format!(
            "{}: the password is sent in the clear without --cassandra-tls",
            values.cassandra.cassandra_password_file
        ));
    }
    warnings
}
