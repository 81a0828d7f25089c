//! Numbers in JSON's spelling with an exponent, which serializers of doubles write.

/// The greatest number of digits; no number that is read here has more.
const DIGITS_MAX: i32 = 30;

/// Returns the number without its exponent: `1.5E3` is `1500`, `12345e-2` is `123.45`. Nothing
/// where the text is not a number with an exponent, or has too many digits.
#[must_use]
pub fn without_exponent(text: &str) -> Option<String> {
    let (mantissa, exponent) = text.split_once(['e', 'E'])?;
    let exponent: i32 = exponent.parse().ok()?;
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(mantissa) => ("-", mantissa),
        None => ("", mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let digits = [whole, fraction].concat();
    let point = i32::try_from(whole.len()).ok()?.checked_add(exponent)?;
    if digits.len() > usize::try_from(DIGITS_MAX).ok()? || point.checked_abs()? > DIGITS_MAX {
        return None;
    }
    let before = usize::try_from(point.max(0)).ok()?;
    let leading = "0".repeat(usize::try_from(point.min(0).checked_neg()?).ok()?);
    let all = format!("{leading}{digits:0<before$}");
    let (whole, fraction) = all.split_at_checked(before)?;
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    Some(match fraction.trim_end_matches('0') {
        "" => format!("{sign}{whole}"),
        fraction => format!("{sign}{whole}.{fraction}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exponent_moves_the_point() {
        for (text, expected) in [
            ("1.77236043E12", Some("1772360430000")),
            ("1.7723604305e9", Some("1772360430.5")),
            ("1.5E3", Some("1500")),
            ("-2e+2", Some("-200")),
            ("5e0", Some("5")),
            ("12345e-2", Some("123.45")),
            ("500E-2", Some("5")),
            ("5e-3", Some("0.005")),
            ("0.0E0", Some("0")),
            ("1500", None),
            ("1e", None),
            ("e3", None),
            ("1e400", None),
            ("1e-2147483648", None),
            ("1.e3", None),
            ("Pie3", None),
            ("1e3.5", None),
        ] {
            assert_eq!(without_exponent(text).as_deref(), expected, "{text}");
        }
    }
}
