use adit_dbus_api::{DoctorCheck, DoctorStatus};

use super::{Palette, clean, wrap};

/// A check a line with its mark, what to type below, and a last line with the sum.
pub(crate) fn checks(checks: &[DoctorCheck], palette: Palette, width: usize) -> String {
    let mut out = String::new();
    let mut counts = [0_usize; 3];
    for check in checks {
        let (n, mark) = match DoctorStatus::from_word(&check.status) {
            Some(DoctorStatus::Ok) => (0, palette.green("ok  ")),
            Some(DoctorStatus::Warn) => (1, palette.yellow("warn")),
            Some(DoctorStatus::Fail) | None => (2, palette.red("FAIL")),
        };
        if let Some(count) = counts.get_mut(n) {
            *count = count.saturating_add(1);
        }
        out.push_str(&format!("{mark}  {}\n", wrap(&clean(&check.text), 6, 6, width)));
        if !check.hint.is_empty() {
            out.push_str(&format!(
                "      {}{}\n",
                palette.dim("try: "),
                wrap(&clean(&check.hint), 11, 11, width)
            ));
        }
    }
    let [ok, warn, fail] = counts;
    out.push_str(&format!("\n{ok} ok, {warn} to look at, {fail} failed\n"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_have_marks_and_hints() {
        let check = |status: &str, text: &str, hint: &str| DoctorCheck {
            id: "x".into(),
            status: status.into(),
            text: text.into(),
            hint: hint.into(),
        };
        let all = [
            check("ok", "the kernel has xfrm interfaces", ""),
            check(
                "fail",
                "the kernel has no ESP for IPv6: a tunnel to an IPv6 server will fail before its first packet",
                "modprobe esp6",
            ),
            check("warn", "no systemd-resolved", "apt install systemd-resolved"),
        ];
        assert_eq!(
            checks(&all, Palette { colour: false }, 80),
            "\
ok    the kernel has xfrm interfaces
FAIL  the kernel has no ESP for IPv6: a tunnel to an IPv6 server will fail
      before its first packet
      try: modprobe esp6
warn  no systemd-resolved
      try: apt install systemd-resolved

1 ok, 1 to look at, 1 failed
"
        );
        assert!(checks(&all, Palette { colour: true }, 80).contains("\x1b[31mFAIL\x1b[0m"));
    }
}
