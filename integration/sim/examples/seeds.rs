//! `cargo run -p adit-sim --example seeds -- --seeds 10000 [--from 0] [--jobs 2] [--trace]`: many runs of the IKEv2
//! core.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use adit_sim::world::{Summary, run};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |flag: &str, default: u64| {
        let at = arguments.iter().position(|a| a == flag);
        at.and_then(|i| arguments.get(i + 1)).and_then(|v| v.parse().ok()).unwrap_or(default)
    };
    let (from, count) = (number("--from", 0), number("--seeds", 1000));
    let jobs = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let trace = arguments.iter().any(|a| a == "--trace");
    let (next, failed) = (AtomicU64::new(from), AtomicU64::new(0));
    let total = Mutex::new(Summary { faults: u64::MAX, ..Summary::default() });
    std::thread::scope(|scope| {
        for _ in 0..number("--jobs", jobs).max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from.saturating_add(count) {
                        return;
                    }
                    match run(seed, trace) {
                        Ok(summary) => add(&mut total.lock().unwrap(), summary),
                        Err(violation) => {
                            failed.fetch_add(1, Ordering::Relaxed);
                            println!("{violation}");
                        }
                    }
                }
            });
        }
    });
    let (failed, t) = (failed.into_inner(), total.into_inner().unwrap());
    println!(
        "{count} seeds, {failed} failed; {} inputs, {} pairs installed, {} standing at the end, {} failures reported; \
         {} CHILD_SA and {} IKE_SA rekeys, {} collisions, {} further CHILD_SAs; fewest faults in a run: {}",
        t.steps,
        t.installed,
        t.standing,
        t.failures,
        t.child_rekeys,
        t.ike_rekeys,
        t.collisions,
        t.more_children,
        t.faults
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn add(total: &mut Summary, one: Summary) {
    total.steps += one.steps;
    total.installed += one.installed;
    total.standing += one.standing;
    total.failures += one.failures;
    total.child_rekeys += one.child_rekeys;
    total.ike_rekeys += one.ike_rekeys;
    total.collisions += one.collisions;
    total.more_children += one.more_children;
    total.faults = total.faults.min(one.faults);
}
