//! `cargo run -p adit-sim --example seeds -- --seeds 10000 [--from 0] [--trace]`: many runs of the IKEv2 core.

use std::process::ExitCode;

use adit_sim::world::run;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |flag: &str, default: u64| {
        let at = arguments.iter().position(|a| a == flag);
        at.and_then(|i| arguments.get(i + 1)).and_then(|v| v.parse().ok()).unwrap_or(default)
    };
    let (from, count) = (number("--from", 0), number("--seeds", 1000));
    let trace = arguments.iter().any(|a| a == "--trace");
    let (mut failed, mut steps, mut installed, mut standing, mut failures) = (0_u64, 0, 0, 0, 0);
    for seed in from..from.saturating_add(count) {
        match run(seed, trace) {
            Ok(summary) => {
                steps += summary.steps;
                installed += summary.installed;
                standing += summary.standing;
                failures += summary.failures;
            }
            Err(violation) => {
                failed += 1;
                println!("{violation}");
            }
        }
    }
    println!(
        "{count} seeds, {failed} failed; {steps} inputs, {installed} pairs installed, {standing} standing at the \
         end, {failures} failures reported"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
