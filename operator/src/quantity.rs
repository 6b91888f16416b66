//! Quantities as Kubernetes writes them, in whole billionths, so that `1` and `1000m` are the
//! same.

use serde_json::Value;

const SUFFIXES: [(&str, u32, i32); 14] = [
    // Suffix, power of two, power of ten. The longer ones first.
    ("Ki", 10, 0),
    ("Mi", 20, 0),
    ("Gi", 30, 0),
    ("Ti", 40, 0),
    ("Pi", 50, 0),
    ("Ei", 60, 0),
    ("n", 0, -9),
    ("u", 0, -6),
    ("m", 0, -3),
    ("k", 0, 3),
    ("M", 0, 6),
    ("G", 0, 9),
    ("T", 0, 12),
    ("P", 0, 15),
];

/// The billionths of a quantity; 0 for what is none. What is finer is rounded up.
pub(crate) fn nanos(quantity: &Value) -> i128 {
    match quantity {
        Value::String(text) => read(text.trim()).unwrap_or_default(),
        Value::Number(number) => read(&number.to_string()).unwrap_or_default(),
        _ => 0,
    }
}

/// The thousandths of a quantity, as LimitRanges are reckoned.
pub(crate) fn thousandths(quantity: &Value) -> i128 {
    const IN_ONE: i128 = 1_000_000;
    (nanos(quantity) + IN_ONE - 1).div_euclid(IN_ONE)
}

fn read(text: &str) -> Option<i128> {
    let suffix = SUFFIXES.iter().find(|(suffix, ..)| text.ends_with(suffix));
    let (number, two, ten) = match suffix {
        Some(&(suffix, two, ten)) => (text.strip_suffix(suffix)?, two, ten),
        None => match text.split_once(['e', 'E']) {
            Some((number, "")) => (number, 0, 18),
            Some((number, exponent)) => (number, 0, exponent.parse().ok()?),
            None => (text, 0, 0),
        },
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scaled = digits.checked_mul(1 << two)?;
    let ten = ten.checked_add(9)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let power = 10_i128.checked_pow(ten.unsigned_abs());
    if ten >= 0 {
        scaled.checked_mul(power?)
    } else {
        // Far too fine to be anything but the next billionth.
        Some(power.map_or(scaled.signum(), |power| (scaled + power - 1).div_euclid(power)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_amount_is_the_same_however_it_is_written() {
        for (one, other) in [
            ("1", "1000m"),
            ("0.5", "500m"),
            ("1.5Gi", "1536Mi"),
            ("1e3", "1k"),
            ("1E3", "1000"),
            ("128M", "128e6"),
            ("1E", "1000P"),
            ("100u", "100000n"),
        ] {
            assert_eq!(read(one), read(other), "{one} {other}");
            assert!(read(one).is_some_and(|amount| amount > 0), "{one}");
        }
        assert_eq!(read("0.0000000001"), Some(1));
        assert_eq!(nanos(&Value::from(2)), read("2000m").unwrap());
        for none in ["", "x", "1x", "1ee", "--1", "1.2.3"] {
            assert_eq!(read(none), None, "{none}");
        }
    }
}
