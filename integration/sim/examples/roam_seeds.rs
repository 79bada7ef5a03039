//! `cargo run -p adit-sim --example roam_seeds -- --seeds 10000 [--from 0] [--jobs 2] [--trace]`: many runs of clients
//! that move.

use std::process::ExitCode;

use adit_sim::seeds::Runs;
use adit_sim::world::{Roamed, run_roaming};

fn main() -> ExitCode {
    let runs = Runs::of_arguments(run_roaming, |all: &mut Roamed, one| *all += one);
    println!("{} seeds, {} failed; {:?}", runs.count, runs.failed, runs.total);
    runs.exit_code()
}
