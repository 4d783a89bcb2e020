//! Why the database is not reached, in words for the person who looks at `/readyz`. Tells paths
//! and what nodes answered, never a secret.

use std::io;

use rustls::{CertificateError, Error as TlsError};
use scylla::errors::{
    ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError, MetadataError,
    NewSessionError,
};

use super::settings::CassandraSettings;

/// Most letters of what a node said.
const TEXT_CHARACTERS_MAX: usize = 200;
/// What rustls writes before the word that a node gave for closing.
const ALERT: &str = "received fatal alert: ";

/// Why no session was made. `name` is who logs in, where that is known.
pub(super) fn of_session(
    error: &NewSessionError,
    settings: &CassandraSettings,
    name: Option<&str>,
) -> String {
    let nodes = settings.nodes.join(", ");
    match error {
        NewSessionError::FailedToResolveAnyHostname(_) => {
            format!("no host of {nodes} is known by that name")
        }
        NewSessionError::MetadataError(MetadataError::ConnectionPoolError(
            ConnectionPoolError::Broken { last_connection_error },
        )) => of_connection(last_connection_error, settings, name),
        other => format!("no node of {nodes} answers: {}", cut(&other.to_string())),
    }
}

fn of_connection(
    error: &ConnectionError,
    settings: &CassandraSettings,
    name: Option<&str>,
) -> String {
    use ConnectionSetupRequestErrorKind as Setup;
    let nodes = settings.nodes.join(", ");
    let ConnectionError::ConnectionSetupRequestError(setup) = error else {
        return match error {
            ConnectionError::IoError(error) => match tls_error(error) {
                Some(error) => of_tls(error, settings),
                None => format!("no node of {nodes} answers: {}", of_io(error)),
            },
            ConnectionError::ConnectTimeout => format!("no node of {nodes} answers in time"),
            other => format!("no node of {nodes} answers: {}", cut(&other.to_string())),
        };
    };
    match setup.get_error() {
        Setup::DbError(DbError::AuthenticationError, said) => {
            let file = settings.credentials.as_ref().map(|files| files.password.display());
            let file = file.map(|path| format!(" (password file {path})")).unwrap_or_default();
            format!("login refused{file}{}", without_name(said, name))
        }
        Setup::MissingAuthentication => "the database asks for a login: set \
             --cassandra-username-file and --cassandra-password-file"
            .to_owned(),
        Setup::StartAuthSessionError(ours) => ours.clone(),
        Setup::DbError(_, said) => format!("a node of {nodes} refuses: {}", cut(said)),
        Setup::BrokenConnection(_) if settings.tls.is_none() => {
            format!("a node of {nodes} closed the connection; it may want --cassandra-tls")
        }
        other => {
            let said = other.to_string();
            // A node judges our certificate after it has let us begin: its verdict comes in
            // place of its first answer, and the driver keeps it as text alone.
            match said.split_once(ALERT) {
                Some((_, alert)) => of_alert(alert),
                None => format!("no node of {nodes} answers: {}", cut(&said)),
            }
        }
    }
}

/// What a node said of a login, behind a colon, without the name that it has; nothing where that
/// is not known.
fn without_name(said: &str, name: Option<&str>) -> String {
    name.map(|name| format!(": {}", cut(&said.replace(name, "…")))).unwrap_or_default()
}

fn of_alert(alert: &str) -> String {
    format!(
        "a node refused our side of the encryption ({}): it may want another certificate in \
         --cassandra-tls-cert-file",
        cut(alert)
    )
}

/// The error of the encryption within an I/O error, if it is one.
fn tls_error(error: &io::Error) -> Option<&TlsError> {
    error.get_ref()?.downcast_ref()
}

fn of_tls(error: &TlsError, settings: &CassandraSettings) -> String {
    let ca = settings.tls.as_ref().map(|tls| tls.ca.display().to_string()).unwrap_or_default();
    match error {
        TlsError::InvalidCertificate(
            // The second: by another authority of the same name.
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => {
            format!("a node's certificate is not signed by the CA in {ca}")
        }
        TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "a node's certificate names neither its address nor a host of --cassandra-nodes; a \
             certificate without names needs --cassandra-tls-verify-name=false"
            .to_owned(),
        TlsError::AlertReceived(alert) => of_alert(&format!("{alert:?}")),
        TlsError::InvalidMessage(_) => {
            "a node does not encrypt; it may want no --cassandra-tls, or has another port for it"
                .to_owned()
        }
        other => format!("encryption failed: {}", cut(&other.to_string())),
    }
}

fn of_io(error: &io::Error) -> String {
    match error.raw_os_error() {
        // Without its number, which is the system's own.
        Some(_) => error.kind().to_string(),
        None => cut(&error.to_string()),
    }
}

/// The start of a text that others made, on one line.
pub(super) fn cut(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(TEXT_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_of_a_login_is_told_without_the_name() {
        let check = |said: &str, name, expected: &str| {
            assert_eq!(without_name(said, name), expected, "{said}");
        };
        let said = "Provided username mesh-writer and/or password are incorrect";
        let told = ": Provided username … and/or password are incorrect";
        check(said, Some("mesh-writer"), told);
        check(
            "mesh-writer is not permitted to log in",
            Some("mesh-writer"),
            ": … is not permitted to log in",
        );
        check(
            "Unable to perform authentication:\n timeout",
            Some("m"),
            ": Unable to perfor… authentication: ti…eout",
        );
        check(
            "Unable to perform authentication",
            Some("mesh"),
            ": Unable to perform authentication",
        );
        check(said, None, "");
    }
}
