//! Amounts as Kubernetes writes them, as numbers: `1000m` and `1` are the same. Pure.

/// Thousandths of a millionth: the smallest amount that Kubernetes keeps.
const NANOS: i128 = 1_000_000_000;
/// Digits after the point, or of an exponent, beyond which it is no amount that Kubernetes keeps.
const DIGITS_MAX: usize = 24;

/// The amount in billionths; `None` where the text is none, or where it can't be held.
pub(super) fn nanos(text: &str) -> Option<i128> {
    let end = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-'));
    let (number, suffix) = text.split_at(end.unwrap_or(text.len()));
    let (digits, decimals) = decimal(number)?;
    let (factor, divisor) = factor(suffix)?;
    let divisor = divisor.checked_mul(10i128.checked_pow(decimals)?)?;
    let amount = digits.checked_mul(NANOS)?.checked_mul(factor)?;
    // Smaller than a billionth: Kubernetes rounds, and then the texts must be the same.
    (amount % divisor == 0).then(|| amount / divisor)
}

/// `-12.50` as (-1250, 2).
fn decimal(text: &str) -> Option<(i128, u32)> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_number = part.bytes().all(|byte| byte.is_ascii_digit()) && part.len() <= DIGITS_MAX;
    let digits: i128 = is_number.then(|| format!("{whole}{part}"))?.parse().ok()?;
    Some((digits, u32::try_from(part.len()).ok()?))
}

/// What the suffix multiplies with, and divides by.
fn factor(suffix: &str) -> Option<(i128, i128)> {
    let exponent = |text: &str| {
        let exponent: i32 = text.parse().ok()?;
        let power = 10i128.checked_pow(exponent.unsigned_abs())?;
        Some(if exponent < 0 { (1, power) } else { (power, 1) })
    };
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, NANOS),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (NANOS, 1),
        "T" => (1_000 * NANOS, 1),
        "P" => (1_000_000 * NANOS, 1),
        "E" => (NANOS * NANOS, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => exponent(suffix.strip_prefix(['e', 'E'])?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_amounts_are_equal_however_they_are_written() {
        for (one, other) in [
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1Gi", "1073741824"),
            ("1.5Gi", "1536Mi"),
            ("1e3", "1k"),
            ("1E-3", "1m"),
            ("-1", "-1000m"),
            ("2Ei", "2305843009213693952"),
            ("0", "0m"),
        ] {
            assert!(nanos(one).is_some(), "{one}");
            assert_eq!(nanos(one), nanos(other), "{one} {other}");
        }
    }

    #[test]
    fn amounts_that_differ_differ() {
        for (one, other) in [("1", "1m"), ("1G", "1Gi"), ("1M", "1m"), ("1", "-1"), ("1.1", "1")] {
            assert_ne!(nanos(one), nanos(other), "{one} {other}");
        }
    }

    #[test]
    fn what_is_no_amount_is_none() {
        for text in ["", "m", "1.2.3", "1g", "1 Gi", "Gi1", "1e", "1e99", "0.1n", "1i", "--1"] {
            assert_eq!(nanos(text), None, "{text}");
        }
    }
}
