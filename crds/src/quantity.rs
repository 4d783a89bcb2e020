//! Amounts of memory and storage as Kubernetes writes them.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An amount of bytes, such as `512Mi` or `10Gi`.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Size(
    #[schemars(regex(pattern = r"^[1-9][0-9]*(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$"))] pub String,
);

impl Size {
    /// In bytes; `None` where it is no size, or more than 2^64 − 1.
    pub fn bytes(&self) -> Option<u64> {
        let digits = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let (number, suffix) = self.0.split_at(digits);
        let unit = match suffix {
            "" => 1,
            "k" => 1_000,
            "M" => 1_000_000,
            "G" => 1_000_000_000,
            "T" => 1_000_000_000_000,
            "P" => 1_000_000_000_000_000,
            "Ki" => 1 << 10,
            "Mi" => 1 << 20,
            "Gi" => 1 << 30,
            "Ti" => 1 << 40,
            "Pi" => 1u64 << 50,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(unit)
    }
}

impl From<&str> for Size {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Size;

    #[test]
    fn a_size_is_read_in_bytes() {
        for (text, bytes) in [
            ("1", Some(1)),
            ("2k", Some(2_000)),
            ("512Mi", Some(512 << 20)),
            ("1Gi", Some(1 << 30)),
            ("99999999Pi", None),
            ("Gi", None),
            ("1gi", None),
            ("1.5Gi", None),
        ] {
            assert_eq!(Size::from(text).bytes(), bytes, "{text}");
        }
    }
}
