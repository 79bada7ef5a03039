/// A time span as people say it, in one word: `45s`, `3m12s`, `5h07m`, `12d3h`.
pub(crate) fn ago(seconds: u64) -> String {
    let (m, h, d) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{m}m{:02}s", seconds % 60),
        3600..86_400 => format!("{h}h{:02}m", m % 60),
        _ => format!("{d}d{}h", h % 24),
    }
}

/// A count of bytes in binary units, three digits: `512 B`, `1.20 KiB`, `34.5 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut hundredths, mut unit) = (u128::from(bytes) * 100 / 1024, "KiB");
    for next in UNITS.into_iter().skip(1) {
        if hundredths < 102_400 {
            break;
        }
        (hundredths, unit) = (hundredths / 1024, next);
    }
    match hundredths {
        0..1_000 => format!("{}.{:02} {unit}", hundredths / 100, hundredths % 100),
        1_000..10_000 => format!("{}.{} {unit}", hundredths / 100, hundredths % 100 / 10),
        _ => format!("{} {unit}", hundredths / 100),
    }
}

/// A number with its thousands apart: `1,034`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len().saturating_sub(n)).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `2026-11-20 11:40:07 UTC`, from seconds since 1970 (proleptic Gregorian calendar).
pub(crate) fn date(seconds: u64) -> String {
    // Days are counted from 0000-03-01, so that a leap day is a year's last.
    let days = seconds / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {} UTC", clock(seconds))
}

/// `11:40:07`.
pub(crate) fn clock(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_for_people() {
        let spans = [0, 59, 60, 192, 3599, 3600, 18_420, 86_399, 86_400, 1_047_600].map(ago);
        assert_eq!(
            spans,
            ["0s", "59s", "1m00s", "3m12s", "59m59s", "1h00m", "5h07m", "23h59m", "1d0h", "12d3h"]
        );
        let sizes = [0, 1023, 1024, 1_234, 123_456, 1_048_575, 1_048_576, 36_175_872, u64::MAX].map(size);
        assert_eq!(
            sizes,
            [
                "0 B", "1023 B", "1.00 KiB", "1.20 KiB", "120 KiB", "1023 KiB", "1.00 MiB", "34.5 MiB",
                "15.9 EiB"
            ]
        );
        assert_eq!([0, 999, 1_034, 1_000_000].map(count), ["0", "999", "1,034", "1,000,000"]);
    }

    #[test]
    fn dates_are_the_calendars() {
        assert_eq!(date(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(date(1_709_251_199), "2024-02-29 23:59:59 UTC");
        assert_eq!(date(1_795_174_807), "2026-11-20 11:40:07 UTC");
        assert_eq!(date(4_107_542_400), "2100-03-01 00:00:00 UTC");
    }
}
