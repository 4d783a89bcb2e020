//! API keys: how one is made and what it looks like. A key is shown once, to whoever had it made;
//! everywhere else there is only its hash.
//!
//! ```text
//! pmk_  43 random characters of 0-9 A-Z a-z, 256 bits   6 characters: CRC-32C of all before
//! ```
//! A secret scanner finds one by `pmk_[0-9A-Za-z]{49}` and is sure of it by the checksum.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use thiserror::Error;

/// Begins every key.
pub const PREFIX: &str = "pmk_";
/// 62 to the power of 43 is more than 2 to the power of 256.
const RANDOM_CHARS: usize = 43;
/// 62 to the power of 6 is more than 2 to the power of 32.
const CHECK_CHARS: usize = 6;
const KEY_CHARS: usize = PREFIX.len() + RANDOM_CHARS + CHECK_CHARS;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The system gives no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("get random bytes from the system failed")]
pub struct NoRandomness;

/// A new key. Not printed by accident.
pub struct ApiKey(String);

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey")
    }
}

impl ApiKey {
    /// Makes a key of 256 random bits.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut key = PREFIX.to_owned();
        while key.len() < PREFIX.len() + RANDOM_CHARS {
            let mut bytes = [0; 64];
            rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
            // 62 and 63 are thrown away, so that every character is as likely as any other.
            let chars = bytes.iter().filter_map(|byte| ALPHABET.get(usize::from(byte & 63)));
            let missing = PREFIX.len() + RANDOM_CHARS - key.len();
            key.extend(chars.take(missing).map(|char| char::from(*char)));
        }
        let check = checksum(&key);
        key.push_str(&check);
        Ok(Self(key))
    }

    /// The key itself, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it: its SHA-256 as 64 hexadecimal digits.
    pub fn sha256(&self) -> String {
        let hash = digest(&SHA256, self.0.as_bytes());
        hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Whether `text` is a whole key, its checksum included.
pub fn is_key(text: &str) -> bool {
    text.len() == KEY_CHARS
        && text.starts_with(PREFIX)
        && text.bytes().skip(PREFIX.len()).all(|byte| byte.is_ascii_alphanumeric())
        && text.ends_with(&checksum(&text[..PREFIX.len() + RANDOM_CHARS]))
}

fn checksum(text: &str) -> String {
    let mut rest = crc32c::crc32c(text.as_bytes());
    let mut chars = [0; CHECK_CHARS];
    for char in chars.iter_mut().rev() {
        *char = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    chars.iter().map(|char| char::from(*char)).collect()
}

/// `text` with all that looks like a key cut short: it may quote a file in which somebody has put
/// one by mistake.
pub fn redact(text: &str) -> String {
    let mut parts = text.split(PREFIX);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(PREFIX);
        out.push('…');
        out.push_str(part.trim_start_matches(|char: char| char.is_ascii_alphanumeric()));
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_key_is_random_recognisable_and_checks_itself() {
        let keys: HashSet<String> = (0..200)
            .map(|_| ApiKey::generate().expect("random bytes").reveal().to_owned())
            .collect();
        assert_eq!(keys.len(), 200);
        let mut seen = HashSet::new();
        for key in &keys {
            assert!(is_key(key), "{key}");
            assert_eq!(key.len(), 53);
            seen.extend(key[PREFIX.len()..PREFIX.len() + RANDOM_CHARS].bytes());
            for at in 0..key.len() {
                let mut other = key.clone().into_bytes();
                other[at] = if other[at] == b'x' { b'y' } else { b'x' };
                assert!(!is_key(std::str::from_utf8(&other).expect("text")), "changed at {at}");
            }
            assert!(!is_key(&key[..52]) && !is_key(&format!("{key}0")));
        }
        assert_eq!(seen.len(), 62, "every character occurs");
    }

    #[test]
    fn the_format_is_the_one_that_is_documented() {
        // A key that was made once: who changes the format breaks scanners and operators.
        let body = "pmk_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg";
        let key = format!("{body}{}", checksum(body));
        assert!(is_key(&key));
        assert_eq!(key.len(), KEY_CHARS);
        let mut value = 0u64;
        for char in key[body.len()..].bytes() {
            let digit = ALPHABET.iter().position(|known| *known == char).expect("base 62");
            value = value * 62 + digit as u64;
        }
        assert_eq!(value, u64::from(crc32c::crc32c(body.as_bytes())));
    }

    #[test]
    fn what_is_told_shows_no_key() {
        let key = ApiKey::generate().expect("random bytes");
        let text = format!("at `{}`: pmk_ and pmk_abc\"", key.reveal());
        assert_eq!(redact(&text), "at `pmk_…`: pmk_… and pmk_…\"");
        assert_eq!(redact("nothing"), "nothing");
        assert_eq!(format!("{key:?}"), "ApiKey");
    }
}
