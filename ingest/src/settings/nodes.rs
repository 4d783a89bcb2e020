//! Hosts with ports as people write them. Pure; no name is looked up here.

/// The port that Cassandra and Scylla listen on unless told otherwise.
const USUAL_PORT: u16 = 9042;

/// One `host:port`, trimmed; an IPv6 address stands in brackets.
///
/// # Errors
/// What is wrong with it and what would be right.
pub(super) fn node(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("a node is empty; write host:9042,host:9042".to_owned());
    }
    let (host, port) = split(text)?;
    let port: u16 = match port.parse() {
        Ok(port) if port != 0 => port,
        _ => return Err(format!("`{port}` of `{text}` is no port; write 1 to 65535")),
    };
    Ok(format!("{host}:{port}"))
}

fn split(text: &str) -> Result<(&str, &str), String> {
    let without_port = || format!("`{text}` has no port; write {text}:{USUAL_PORT}");
    if let Some(rest) = text.strip_prefix('[') {
        let (address, behind) = rest.split_once(']').unwrap_or((rest, ""));
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(format!("`{text}` has no IPv6 address in its brackets"));
        }
        let port = behind.strip_prefix(':').ok_or_else(without_port)?;
        return Ok((&text[..address.len() + 2], port));
    }
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Err(format!("`{text}` is an IPv6 address; write [{text}]:{USUAL_PORT}"));
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(without_port)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if host.is_empty() || !host.bytes().all(plain) {
        return Err(format!("`{text}` names no host; write host:{USUAL_PORT}"));
    }
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::node;

    #[test]
    fn a_node_is_a_host_with_its_port() {
        let cases = [
            ("127.0.0.1:9042", Ok("127.0.0.1:9042")),
            (" db-0.db.svc.cluster.local:19042 ", Ok("db-0.db.svc.cluster.local:19042")),
            ("[::1]:9042", Ok("[::1]:9042")),
            ("db", Err("`db` has no port; write db:9042")),
            ("[::1]", Err("`[::1]` has no port; write [::1]:9042")),
            ("::1", Err("`::1` is an IPv6 address; write [::1]:9042")),
            ("[db]:9042", Err("`[db]:9042` has no IPv6 address in its brackets")),
            ("db:", Err("`` of `db:` is no port; write 1 to 65535")),
            ("db:0", Err("`0` of `db:0` is no port; write 1 to 65535")),
            ("db:99999", Err("`99999` of `db:99999` is no port; write 1 to 65535")),
            (":9042", Err("`:9042` names no host; write host:9042")),
            ("http://db:9042", Err("`http://db:9042` names no host; write host:9042")),
            ("", Err("a node is empty; write host:9042,host:9042")),
        ];
        for (text, expected) in cases {
            assert_eq!(node(text).as_deref().map_err(String::as_str), expected, "{text}");
        }
    }
}
