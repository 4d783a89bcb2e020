//! A node's `cassandra.yaml` from the template and the cluster's settings. Pure; reads no file.

use std::fmt::Write;
use std::path::Path;

use super::settings::ClusterSettings;

const TEMPLATE: &str = include_str!("../../../testbed/cassandra/cassandra.yaml");

/// The configuration of the node `index`, from 0; `yaml` comes last and wins.
pub(super) fn render(
    settings: &ClusterSettings,
    index: usize,
    yaml: &[(String, String)],
) -> String {
    let addresses = settings.addresses();
    let seeds: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let mut text = TEMPLATE
        .replace("@TOKEN@", &token(index, settings.nodes).to_string())
        .replace("@SEEDS@", &seeds.join(","))
        .replace("@ADDRESS@", &addresses[index].to_string())
        .replace("@PORT@", &settings.port.to_string());
    if settings.authentication {
        text = set(&text, "authenticator", "PasswordAuthenticator");
        text = set(&text, "authorizer", "CassandraAuthorizer");
        text = set(&text, "role_manager", "CassandraRoleManager");
    }
    if let Some(files) = settings.tls_files() {
        let value = encryption(&files.server_keystore, &files.ca, settings.client_certificates);
        text = set(&text, "client_encryption_options", &value);
    }
    settings.yaml.iter().chain(yaml).fold(text, |text, (key, value)| set(&text, key, value))
}

/// An equal part of the ring for each node.
fn token(index: usize, nodes: usize) -> i64 {
    let part = (1i128 << 64) / nodes as i128;
    // The smallest number is no token but a mark.
    (i128::from(i64::MIN) + 1 + part * index as i128) as i64
}

fn encryption(keystore: &Path, ca: &Path, client_certificates: bool) -> String {
    format!(
        "{{enabled: true, optional: true, require_client_auth: {client_certificates}, \
         ssl_context_factory: {{class_name: \
         org.apache.cassandra.security.PEMBasedSslContextFactory}}, \
         keystore: '{}', truststore: '{}'}}",
        keystore.display(),
        ca.display()
    )
}

/// The text with the key's value replaced, or added where there was none; without the key where
/// the value is empty. Cassandra takes no key twice.
fn set(text: &str, key: &str, value: &str) -> String {
    let mut out = String::with_capacity(text.len() + key.len() + value.len());
    let mut inside = false;
    for line in text.lines() {
        let goes_on = line.starts_with([' ', '-']) || line.is_empty();
        if !goes_on {
            inside = line.split_once(':').is_some_and(|(name, _)| name == key);
        }
        if !inside {
            out.push_str(line);
            out.push('\n');
        }
    }
    if !value.is_empty() {
        // A String takes every write.
        let _ = writeln!(out, "{key}: {value}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_replaced_with_its_whole_value_or_added() {
        for (text, expected) in [
            ("a: 1\nb: 2\n", "a: 1\nb: 3\n"),
            ("b:\n  - x: 1\n    y: 2\nc: 4\n", "c: 4\nb: 3\n"),
            ("b:\n- x\nc: 4\n", "c: 4\nb: 3\n"),
            ("bb: 1\n", "bb: 1\nb: 3\n"),
            ("# b: 1\n", "# b: 1\nb: 3\n"),
        ] {
            assert_eq!(set(text, "b", "3"), expected, "{text}");
        }
        assert_eq!(set("a: 1\nb: 2\n", "b", ""), "a: 1\n");
    }

    #[test]
    fn tokens_part_the_ring_equally() {
        assert_eq!(token(0, 1), i64::MIN + 1);
        let tokens: Vec<i64> = (0..3).map(|index| token(index, 3)).collect();
        assert_eq!(tokens[1] - tokens[0], tokens[2] - tokens[1]);
        assert!(tokens[2] > i64::MAX / 3 - 10, "{tokens:?}");
    }

    #[test]
    fn every_name_of_the_template_is_filled_in() {
        let mut settings = ClusterSettings::new("/d");
        settings.nodes = 2;
        settings.authentication = true;
        settings.tls = true;
        settings.yaml = vec![("concurrent_writes".into(), "4".into())];
        let text = render(&settings, 1, &[("concurrent_writes".into(), "2".into())]);
        assert!(!text.contains('@'), "{text}");
        assert!(text.contains("listen_address: 127.0.0.2\n"), "{text}");
        assert!(text.contains("seeds: '127.0.0.1,127.0.0.2'"), "{text}");
        assert!(text.contains("authenticator: PasswordAuthenticator\n"), "{text}");
        assert!(text.contains("keystore: '/d/tls/server-keystore.pem'"), "{text}");
        assert!(text.ends_with("concurrent_writes: 2\n"), "{text}");
        assert_eq!(text.matches("concurrent_writes").count(), 1, "{text}");
    }
}
