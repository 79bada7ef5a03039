//! Many runs, as the examples make them.

use core::fmt::Display;
use core::sync::atomic::{AtomicU64, Ordering};

/// What became of many runs.
#[derive(Debug)]
pub struct Runs<T> {
    /// How many there were.
    pub count: u64,
    /// How many of them failed.
    pub failed: u64,
    /// The sum of the others; of none, nothing.
    pub total: T,
}

impl<T: Default + Send> Runs<T> {
    /// Makes the runs that the command line asks for: `[--seeds 1000] [--from 0] [--jobs N] [--trace]`, N as many as
    /// there are processors. `run` gets a seed, and whether to tell everything; what is wrong with a run is printed
    /// at once.
    pub fn of_arguments<E: Display>(
        run: impl Fn(u64, bool) -> Result<T, E> + Sync,
        add: impl Fn(&mut T, T) + Sync,
    ) -> Self {
        let arguments: Vec<String> = std::env::args().collect();
        let number = |flag: &str, default: u64| {
            let at = arguments.iter().position(|a| a == flag);
            at.and_then(|i| arguments.get(i + 1)).and_then(|v| v.parse().ok()).unwrap_or(default)
        };
        let (from, count) = (number("--from", 0), number("--seeds", 1000));
        let jobs =
            number("--jobs", std::thread::available_parallelism().map_or(1, |n| n.get() as u64)).max(1);
        let trace = arguments.iter().any(|a| a == "--trace");
        let (next, until) = (AtomicU64::new(from), from.saturating_add(count));
        let sum = |(failed, total): (u64, Option<T>), (more, one): (u64, Option<T>)| {
            let total = match (total, one) {
                (Some(mut total), Some(one)) => {
                    add(&mut total, one);
                    Some(total)
                }
                (total, one) => total.or(one),
            };
            (failed + more, total)
        };
        let work = || {
            let seeds = core::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
            let each = seeds.take_while(|seed| *seed < until).map(|seed| match run(seed, trace) {
                Ok(one) => (0, Some(one)),
                Err(violation) => {
                    println!("{violation}");
                    (1, None)
                }
            });
            each.fold((0, None), sum)
        };
        let (failed, total) = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
            // A worker that has panicked has seeds of its own that failed.
            workers.into_iter().map(|w| w.join().unwrap_or((1, None))).fold((0, None), sum)
        });
        Self { count, failed, total: total.unwrap_or_default() }
    }

    /// Whether all went well, for the shell.
    #[must_use]
    pub fn exit_code(&self) -> std::process::ExitCode {
        u8::from(self.failed > 0).into()
    }
}
