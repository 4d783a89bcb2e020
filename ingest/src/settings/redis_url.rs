//! Where Redis is, as people write it. Pure. What is wrong is told without what was written: it
//! may hold a password.

use super::nodes;

/// The port that Redis listens on unless told otherwise.
const USUAL_PORT: u16 = 6379;

/// The parts of an address of Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RedisUrl {
    pub(super) tls: bool,
    pub(super) username: Option<String>,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) database: u16,
}

/// `redis://user@host:port/database`, where user, port and database may be left out.
///
/// # Errors
/// What is wrong with it and what would be right.
pub(super) fn parse(text: &str) -> Result<RedisUrl, &'static str> {
    let (tls, rest) = match (text.strip_prefix("redis://"), text.strip_prefix("rediss://")) {
        (Some(rest), _) => (false, rest),
        (None, Some(rest)) => (true, rest),
        (None, None) => return Err("begins with neither redis:// nor rediss:// (TLS)"),
    };
    let (login, rest) = match rest.rsplit_once('@') {
        Some((login, rest)) => (Some(login), rest),
        None => (None, rest),
    };
    let (address, database) = rest.split_once('/').unwrap_or((rest, ""));
    let database = match database {
        "" => 0,
        number => number.parse().map_err(|_| "has no number of a database behind its last /")?,
    };
    let (host, port) = host_and_port(address)?;
    Ok(RedisUrl { tls, username: username(login)?, host, port, database })
}

fn username(login: Option<&str>) -> Result<Option<String>, &'static str> {
    let Some(login) = login else { return Ok(None) };
    if login.contains(':') {
        return Err("holds a password; put it into a file that --redis-password-file names");
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if login.is_empty() || !login.bytes().all(plain) {
        return Err("has a user whose name is not of letters, digits, -, . and _");
    }
    Ok(Some(login.to_owned()))
}

fn host_and_port(address: &str) -> Result<(String, u16), &'static str> {
    let whole = || "has no host and port behind it; write redis://host:6379";
    let node = match nodes::node(address) {
        Ok(node) => node,
        // Perhaps it only lacks the port.
        Err(_) => nodes::node(&format!("{address}:{USUAL_PORT}")).map_err(|_| whole())?,
    };
    let (host, port) = node.rsplit_once(':').ok_or_else(whole)?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok((host, port.parse().map_err(|_| whole())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_but_the_host_may_be_left_out() {
        let url = |tls, username: Option<&str>, host: &str, port, database| RedisUrl {
            tls,
            username: username.map(str::to_owned),
            host: host.to_owned(),
            port,
            database,
        };
        let cases = [
            ("redis://cache", url(false, None, "cache", 6379, 0)),
            ("redis://cache:6380/", url(false, None, "cache", 6380, 0)),
            ("rediss://mesh@redis.db.svc:1/15", url(true, Some("mesh"), "redis.db.svc", 1, 15)),
            ("redis://[::1]:6379", url(false, None, "::1", 6379, 0)),
            ("redis://[::1]/2", url(false, None, "::1", 6379, 2)),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_the_text() {
        let cases = [
            ("cache:6379", "redis://"),
            ("http://cache", "redis://"),
            ("redis://", "host"),
            ("redis://:6379", "host"),
            ("redis://cache:0", "host"),
            ("redis://cache:port", "host"),
            ("redis://cache/db", "database"),
            ("redis://cache/70000", "database"),
            ("redis://:s3cret@cache", "--redis-password-file"),
            ("rediss://mesh:s3cret@cache:1/2", "--redis-password-file"),
            ("redis://mesh:s3c/r@t@cache", "--redis-password-file"),
            ("redis://@cache", "user"),
        ];
        for (text, part) in cases {
            let problem = parse(text).expect_err(text);
            assert!(problem.contains(part) && !problem.contains("s3c"), "{text}: {problem}");
        }
    }
}
