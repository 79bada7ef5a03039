//! `cargo run -p adit-sim --example roam_seeds -- --seeds 10000 [--from 0] [--trace]`: many runs of clients that move.

use std::process::ExitCode;

use adit_sim::world::{Roamed, run_roaming};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |flag: &str, default: u64| {
        let at = arguments.iter().position(|a| a == flag);
        at.and_then(|i| arguments.get(i + 1)).and_then(|v| v.parse().ok()).unwrap_or(default)
    };
    let (from, count) = (number("--from", 0), number("--seeds", 1000));
    let trace = arguments.iter().any(|a| a == "--trace");
    let (mut all, mut failed) = (Roamed::default(), 0);
    for seed in from..from.saturating_add(count) {
        match run_roaming(seed, trace) {
            Ok(one) => {
                all.moves += one.moves;
                all.followed += one.followed;
                all.redialled += one.redialled;
                all.connected += one.connected;
                all.unreachable += one.unreachable;
                all.lost += one.lost;
            }
            Err(violation) => {
                failed += 1;
                println!("{violation}");
            }
        }
    }
    println!("{count} seeds, {failed} failed; {all:?}");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
