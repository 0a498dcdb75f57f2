//! Numbers as people read them.

use std::time::Duration;

/// Bytes with a decimal unit: `98.4 MB`.
pub fn bytes(count: u64) -> String {
    scaled(count as f64, &["B", "kB", "MB", "GB", "TB"])
}

/// A count with a decimal suffix: `134.5M`.
pub fn count(number: u64) -> String {
    scaled(number as f64, &["", "K", "M", "B", "T"]).replace(' ', "")
}

/// A span of time: `41.2 ms`, `0.34 s`, `12.3 s`, `4 min 5 s`, `2 h 3 min`.
pub fn seconds(span: f64) -> String {
    let whole = span.round() as u64;
    match whole {
        _ if span < 50e-9 => "0 s".to_owned(),
        // Of `0.04 s` one digit is known, of `0.00 s` none.
        _ if span < 0.0995 => duration(Duration::from_secs_f64(span)),
        _ if span < 10.0 => format!("{span:.2} s"),
        _ if span < 60.0 => format!("{span:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A short span of time in three digits: `7 ns`, `12.3 µs`, `231 ms`; from a second on as
/// [`seconds`].
pub fn duration(span: Duration) -> String {
    let nanos = span.as_nanos() as f64;
    let (value, unit) = match nanos {
        _ if nanos < 999.5 => (nanos, "ns"),
        _ if nanos < 999.5e3 => (nanos / 1e3, "µs"),
        _ if nanos < 999.5e6 => (nanos / 1e6, "ms"),
        _ => return seconds(span.as_secs_f64()),
    };
    let digits = match value {
        // Nothing is known below a nanosecond.
        _ if unit == "ns" || value >= 99.95 => 0,
        _ if value >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.digits$} {unit}")
}

/// `1 token`, `2 tokens`.
pub fn plural(count: usize, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

fn scaled(mut value: f64, units: &[&str]) -> String {
    let mut units = units.iter();
    let mut unit = units.next().unwrap_or(&"");
    let mut whole = true;
    for next in units {
        // 999.95 would print as "1000.0".
        if value < 999.95 {
            break;
        }
        value /= 1000.0;
        unit = next;
        whole = false;
    }
    if whole {
        format!("{value} {unit}")
    } else {
        format!("{value:.1} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_change_where_the_digits_would_overflow() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(999_960), "1.0 MB");
        assert_eq!(bytes(98_362_432), "98.4 MB");
        assert_eq!(count(134_515_008), "134.5M");
        assert_eq!(count(12), "12");
    }

    #[test]
    fn times_read_as_people_say_them() {
        assert_eq!(seconds(0.337), "0.34 s");
        // It was "0.00 s".
        assert_eq!(seconds(0.0018), "1.80 ms");
        assert_eq!(seconds(0.0412), "41.2 ms");
        assert_eq!(seconds(0.0996), "0.10 s");
        assert_eq!(seconds(0.0), "0 s");
        assert_eq!(seconds(-1.0), "0 s");
        assert_eq!(seconds(59.0), "59.0 s");
        assert_eq!(seconds(245.2), "4 min 5 s");
        assert_eq!(seconds(7380.0), "2 h 3 min");
    }

    #[test]
    fn short_times_have_three_digits() {
        for (nanos, text) in [
            (7, "7 ns"),
            (1_234, "1.23 µs"),
            (99_960, "100 µs"),
            (999_600, "1.00 ms"),
            (231_400_000, "231 ms"),
            (1_240_000_000, "1.24 s"),
        ] {
            assert_eq!(duration(Duration::from_nanos(nanos)), text);
        }
    }
}
