//! `cargo run -p adit-sim --example ppp_seeds -- --seeds 10000 [--from 0] [--jobs 2]`: many runs of the PPP core.

use std::process::ExitCode;

use adit_sim::ppp::run;
use adit_sim::seeds::Runs;

fn main() -> ExitCode {
    let one = |seed, _trace| run(seed).map(|run| (u64::from(run.up), run.frames, run.faults));
    let runs = Runs::of_arguments(one, |all, one| {
        *all = (all.0 + one.0, all.1 + one.1, all.2 + one.2);
    });
    let (up, frames, faults) = runs.total;
    println!("{} seeds, {} failed; {up} came up; {frames} frames, {faults} faults", runs.count, runs.failed);
    runs.exit_code()
}
