//! What lies below HTTP: the address of the host, a connection, encryption.

use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};

use http::Uri;

use crate::client::{CallError, Client};

use super::Finding;

/// Whether the server can only be reached from this machine.
pub(super) fn is_local(client: &Client) -> bool {
    let Some((host, _)) = host_and_port(client) else { return false };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn host_and_port(client: &Client) -> Option<(String, u16)> {
    let uri: Uri = client.url().parse().ok()?;
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    Some((host, uri.port_u16().unwrap_or(default)))
}

/// Finds the addresses of the host.
pub(super) fn address(client: &Client, addresses: &mut Vec<SocketAddr>) -> Finding {
    let Some((host, port)) = host_and_port(client) else {
        return Finding::fail("--url names no host", "Write http://host:8080.");
    };
    match (host.as_str(), port).to_socket_addrs() {
        Ok(found) => addresses.extend(found),
        Err(error) => {
            let advice = CallError::Resolve { place: String::new() }.advice();
            return Finding::fail(format!("{host} has no address: {error}"), advice);
        }
    }
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    Finding::ok(format!("{host} is {}", texts.join(", ")))
}

/// Connects to one of them.
pub(super) fn connect(client: &Client, addresses: &[SocketAddr]) -> Finding {
    let mut failed = Vec::new();
    for address in addresses {
        match TcpStream::connect_timeout(address, client.timeout()) {
            Ok(_) if failed.is_empty() => {
                return Finding::ok(format!("{address} takes connections"));
            }
            Ok(_) => {
                let detail = format!("{address} takes connections, {} does not", failed.join(", "));
                let fix = "Clients that try only the first address of a host find nobody: take \
                           the others out of its name, or have the server listen there.";
                // One of the two families of localhost is the usual case, and harmless.
                let harmless = addresses.iter().all(|address| address.ip().is_loopback());
                return if harmless { Finding::ok(detail) } else { Finding::warn(detail, fix) };
            }
            Err(error) => failed.push(format!("{address} ({error})")),
        }
    }
    let source = std::io::ErrorKind::ConnectionRefused.into();
    let advice = CallError::Connect { place: String::new(), source }.advice();
    Finding::fail(format!("nobody takes a connection: {}", failed.join(", ")), advice)
}

/// What the first request has shown of encryption.
pub(super) fn encrypted(client: &Client, error: Option<&CallError>) -> Finding {
    match error {
        Some(error @ CallError::Tls { .. }) => Finding::fail(error.what(), error.advice()),
        _ if client.url().starts_with("https://") => {
            Finding::ok("the server's certificate is believed")
        }
        _ if is_local(client) => Finding::ok("not encrypted, and within this machine"),
        _ => Finding::warn(
            "the key is sent in the clear: whoever reads a request on its way has it",
            "Use https://: --tls-cert and --tls-key of the server, or a proxy in front of it.",
        ),
    }
}
