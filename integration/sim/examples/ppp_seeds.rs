//! `cargo run -p adit-sim --example ppp_seeds -- [COUNT] [FROM]`: many runs of the PPP core.

use std::process::ExitCode;

fn main() -> ExitCode {
    let number =
        |at: usize, default| std::env::args().nth(at).and_then(|a| a.parse().ok()).unwrap_or(default);
    let (count, from): (u64, u64) = (number(1, 10_000), number(2, 0));
    let (mut up, mut frames, mut faults, mut failed) = (0_u64, 0, 0, 0_u64);
    for seed in from..from.saturating_add(count) {
        match adit_sim::ppp::run(seed) {
            Ok(summary) => {
                up += u64::from(summary.up);
                frames += summary.frames;
                faults += summary.faults;
            }
            Err(violation) => {
                failed += 1;
                println!("{violation}");
            }
        }
    }
    println!("{count} seeds, {failed} failed; {up} came up; {frames} frames, {faults} faults");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
