//! JSON numbers: their grammar, and their value as a double or an exact decimal.

use rust_decimal::Decimal;

/// A number in the text at `start..end`. Its value is `mantissa × 10^exponent` where `digits`
/// says that the mantissa did not overflow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number {
    pub(super) start: usize,
    pub(super) end: usize,
    mantissa: u64,
    digits: u32,
    exponent: i32,
    negative: bool,
    /// Has neither fraction nor exponent.
    is_integer: bool,
}

/// Most digits that always fit a `u64`.
const MANTISSA_DIGITS_MAX: u32 = 19;
/// Largest integer up to which every integer is a double.
const EXACT_INTEGER_MAX: u64 = 1 << 53;
/// Powers of ten that are doubles.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// Reads the number at `at`; the error is where a digit is missing or one too many stands.
pub(super) fn scan(bytes: &[u8], at: usize) -> Result<Number, usize> {
    let negative = bytes.get(at) == Some(&b'-');
    let mut number = Number {
        start: at,
        end: at + usize::from(negative),
        mantissa: 0,
        digits: 0,
        exponent: 0,
        negative,
        is_integer: true,
    };
    let first = number.end;
    number.digits(bytes)?;
    if bytes.get(first) == Some(&b'0') && number.end > first + 1 {
        return Err(first + 1);
    }
    if bytes.get(number.end) == Some(&b'.') {
        number.end += 1;
        let first = number.end;
        number.digits(bytes)?;
        number.exponent = -i32::try_from(number.end - first).unwrap_or(i32::MAX);
        number.is_integer = false;
    }
    if matches!(bytes.get(number.end), Some(b'e' | b'E')) {
        number.exponent(bytes)?;
    }
    Ok(number)
}

impl Number {
    /// Takes at least one digit onto the mantissa.
    #[inline]
    fn digits(&mut self, bytes: &[u8]) -> Result<(), usize> {
        let first = self.end;
        while let Some(digit) = bytes.get(self.end).map(|byte| byte.wrapping_sub(b'0'))
            && digit < 10
        {
            self.mantissa = self.mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
            self.digits = self.digits.saturating_add(u32::from(self.mantissa != 0));
            self.end += 1;
        }
        if self.end == first { Err(first) } else { Ok(()) }
    }

    #[cold]
    fn exponent(&mut self, bytes: &[u8]) -> Result<(), usize> {
        self.is_integer = false;
        self.end += 1;
        let negative = bytes.get(self.end) == Some(&b'-');
        if negative || bytes.get(self.end) == Some(&b'+') {
            self.end += 1;
        }
        let first = self.end;
        let mut exponent = 0_i32;
        while let Some(digit) = bytes.get(self.end).filter(|byte| byte.is_ascii_digit()) {
            exponent = exponent.saturating_mul(10).saturating_add(i32::from(digit - b'0'));
            self.end += 1;
        }
        let signed = if negative { -exponent } else { exponent };
        self.exponent = self.exponent.saturating_add(signed);
        if self.end == first { Err(first) } else { Ok(()) }
    }

    /// The nearest double; `None` beyond the range of a double. `text` is the number's own.
    #[inline]
    pub(super) fn to_f64(self, text: &str) -> Option<f64> {
        let power = POWERS.get(self.exponent.unsigned_abs() as usize);
        // Both operands are exact, so the one rounding of IEEE 754 gives the nearest double
        // (Clinger, "How to Read Floating Point Numbers Accurately", 1990).
        match power {
            Some(power)
                if self.digits <= MANTISSA_DIGITS_MAX && self.mantissa <= EXACT_INTEGER_MAX =>
            {
                let mantissa = self.mantissa as f64;
                let size = if self.exponent < 0 { mantissa / power } else { mantissa * power };
                Some(if self.negative { -size } else { size })
            }
            _ => text.parse().ok().filter(|value: &f64| value.is_finite()),
        }
    }

    /// The integer that it is, written as one or with a fraction of zero. `None` for another
    /// number and beyond ±2^53, where a double no longer tells integers apart.
    #[inline]
    pub(super) fn to_integer(self, text: &str) -> Option<i64> {
        if self.is_integer && self.digits < MANTISSA_DIGITS_MAX {
            let size = i64::try_from(self.mantissa).ok()?;
            return Some(if self.negative { -size } else { size });
        }
        let value = self.to_f64(text)?;
        let is_exact = value.fract() == 0.0 && value.abs() <= EXACT_INTEGER_MAX as f64;
        is_exact.then_some(value as i64)
    }
}

/// The decimal that `text`, a number in JSON's grammar, means exactly; `None` for other text and
/// for a number of more than 28 digits. Trailing zeros are kept where they fit.
pub(super) fn exact_decimal(text: &str) -> Option<Decimal> {
    let number = scan(text.as_bytes(), 0).ok().filter(|number| number.end == text.len())?;
    let written = text.trim_start_matches('-');
    let mantissa = written.split(['e', 'E']).next().unwrap_or_default();
    let mut exponent = i64::from(number.exponent);
    let digits = mantissa.bytes().filter(u8::is_ascii_digit);
    let zeros = removable_zeros(mantissa, exponent);
    let kept = mantissa.bytes().filter(u8::is_ascii_digit).count() - zeros;
    exponent += zeros as i64;
    let mut value = 0_i128;
    for digit in digits.take(kept) {
        value = value.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
    }
    if value == 0 {
        let scale = u32::try_from(-exponent.clamp(-28, 0)).ok()?;
        return Decimal::try_from_i128_with_scale(0, scale).ok();
    }
    while exponent > 0 {
        value = value.checked_mul(10)?;
        exponent -= 1;
    }
    let scale = u32::try_from(-exponent).ok().filter(|scale| *scale <= Decimal::MAX_SCALE)?;
    let value = if number.negative { -value } else { value };
    let has_digits = value.unsigned_abs() < 10_u128.pow(DECIMAL_DIGITS_MAX);
    has_digits.then(|| Decimal::try_from_i128_with_scale(value, scale).ok())?
}

/// Most significant digits of an amount: what a `Decimal` holds of any number.
const DECIMAL_DIGITS_MAX: u32 = 28;

/// How many trailing zeros of a mantissa must go so that the rest fits a decimal.
fn removable_zeros(mantissa: &str, exponent: i64) -> usize {
    let significant = mantissa.bytes().filter(u8::is_ascii_digit).skip_while(|&b| b == b'0');
    let digits = significant.count();
    let zeros = mantissa.bytes().rev().filter(u8::is_ascii_digit).take_while(|&b| b == b'0');
    let over_scale = usize::try_from(-exponent - i64::from(Decimal::MAX_SCALE)).unwrap_or(0);
    let over_digits = digits.saturating_sub(DECIMAL_DIGITS_MAX as usize);
    over_scale.max(over_digits).min(zeros.count())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(text: &str) -> Option<f64> {
        let number = scan(text.as_bytes(), 0).ok().filter(|number| number.end == text.len())?;
        number.to_f64(text)
    }

    #[test]
    fn only_the_grammar_of_json_is_a_number() {
        for text in ["0", "-0", "10", "0.5", "1e5", "1E+5", "1.25e-7", "123456789012345678901"] {
            assert_eq!(value(text), text.parse().ok(), "{text}");
        }
        for text in ["", "-", "+1", "01", "-01", "1.", ".5", "1e", "1e+", "0x1", "1 ", "1.e5"] {
            assert_eq!(value(text), None, "{text}");
        }
        assert_eq!(value("1e999"), None);
        assert_eq!(value("-0").map(f64::is_sign_negative), Some(true));
    }

    #[test]
    fn a_decimal_is_exact_or_refused() {
        let check = |text: &str, expected: Option<&str>| {
            let decimal = exact_decimal(text).map(|decimal| decimal.to_string());
            assert_eq!(decimal.as_deref(), expected, "{text}");
        };
        check("1.50", Some("1.50"));
        check("-0.1", Some("-0.1"));
        check("0", Some("0"));
        check("0.000", Some("0.000"));
        check("12e3", Some("12000"));
        check("12.5e-3", Some("0.0125"));
        check("0e-999999999999", Some("0.0000000000000000000000000000"));
        check("9999999999999999999999999999", Some("9999999999999999999999999999"));
        check("10000000000000000000000000000", None);
        check("0.0000000000000000000000000001", Some("0.0000000000000000000000000001"));
        check("0.00000000000000000000000000001", None);
        check("1.0000000000000000000000000000000", Some("1.000000000000000000000000000"));
        check("1e999", None);
        check("1e-999", None);
        for text in ["", "1.", ".5", "01", "1,5", " 1", "1 ", "+1", "NaN", "1_000"] {
            check(text, None);
        }
    }

    proptest! {
        #[test]
        fn the_value_is_what_std_parses(
            text in "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?(e-?[0-9]{1,3})?"
        ) {
            let expected = text.parse::<f64>().ok().filter(|value| value.is_finite());
            prop_assert_eq!(value(&text).map(f64::to_bits), expected.map(f64::to_bits));
        }

        #[test]
        fn a_decimal_is_what_rust_decimal_parses(
            text in "-?(0|[1-9][0-9]{0,14})(\\.[0-9]{1,13})?"
        ) {
            let expected = Decimal::from_str_exact(&text).ok();
            prop_assert_eq!(exact_decimal(&text), expected);
            prop_assert_eq!(exact_decimal(&text).map(|d| d.scale()), expected.map(|d| d.scale()));
        }
    }
}
