//! Runs the scenarios of a stage, two at a time, and prints a line for each.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::Write,
    path::PathBuf,
    process::Command,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use adit_lab::{
    needs,
    scenario::{Sabotage, Scenario},
};

use crate::run::{self, Failure};

/// Scenarios that run at once.
const SIDE_BY_SIDE: usize = 2;

/// How and where to run.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// Folder with `bin`, `scenarios`, `packaging`; gets `results`.
    pub(crate) stage: PathBuf,
    /// Folder in memory for what runs; made where absent.
    pub(crate) work: PathBuf,
    /// How the results' folder is called outside.
    pub(crate) shown: String,
    /// Keep the logs of what passed too.
    pub(crate) keep: bool,
    /// Print each step and what it says.
    pub(crate) narrate: bool,
    /// Which sabotages to run instead of the scenarios: those of these names, all where none is named.
    sabotage: Option<Vec<String>>,
    no_skips: bool,
    names: Vec<String>,
}

/// One thing to run: a scenario, whole or broken.
struct Job {
    scenario: Scenario,
    sabotage: Option<Sabotage>,
}

impl Job {
    /// What of the kernel it shares with all others, whatever the network namespace, so that of such scenarios only one may run at a
    /// time: PPTP's calls are told apart by addresses and call IDs alone, and there is one device in memory to swap to.
    fn only_one_has(&self) -> Option<&'static str> {
        ["pptp", "zram"].into_iter().find(|wanted| self.scenario.needs.modules.iter().any(|m| m == wanted))
    }
}

/// What is still to run.
struct Queue {
    jobs: VecDeque<Job>,
    taken: Vec<&'static str>,
}

impl Queue {
    /// The next one that may run now. `None`: there is none, or who runs the one in the way will run it too.
    fn next(&mut self) -> Option<Job> {
        let is_free = |job: &Job| job.only_one_has().is_none_or(|what| !self.taken.contains(&what));
        let at = self.jobs.iter().position(is_free)?;
        let job = self.jobs.remove(at)?;
        self.taken.extend(job.only_one_has());
        Some(job)
    }

    fn done(&mut self, job: &Job) {
        self.taken.retain(|what| job.only_one_has() != Some(what));
    }
}

enum Verdict {
    Passed(String),
    Failed(String),
    Skipped(String),
}

/// Runs what the arguments name. Whether all passed.
///
/// # Errors
/// That nothing could be run at all.
pub(crate) fn run(arguments: &[String]) -> Result<bool, String> {
    let settings = Settings::parse(arguments)?;
    let work = Work::make(&settings)?;
    let mut jobs = VecDeque::new();
    for name in &settings.names {
        let scenario = Scenario::read(&settings.stage.join("scenarios").join(name))?;
        if let Some(names) = &settings.sabotage {
            let mut sabotages = scenario.sabotage.clone();
            sabotages.retain(|sabotage| names.is_empty() || names.contains(&sabotage.name));
            let broken = |sabotage| Job { scenario: scenario.clone(), sabotage: Some(sabotage) };
            jobs.extend(sabotages.into_iter().map(broken));
        } else {
            jobs.push_back(Job { scenario, sabotage: None });
        }
    }
    let counts = run_all(&settings, jobs);
    drop(work);
    let [passed, failed, skipped] = counts;
    settings.say(&format!("{passed} passed, {failed} failed, {skipped} skipped"));
    Ok(failed == 0 && (skipped == 0 || !settings.no_skips))
}

fn run_all(settings: &Settings, jobs: VecDeque<Job>) -> [usize; 3] {
    // All hosts sleep with the machine, those of another scenario too.
    let alone = settings.narrate || jobs.iter().any(|job| job.scenario.needs.sleep);
    let queue = Mutex::new(Queue { jobs, taken: Vec::new() });
    let queue = || queue.lock().unwrap_or_else(PoisonError::into_inner);
    let counts = [AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0)];
    let numbers = AtomicUsize::new(0);
    let workers = if alone { 1 } else { SIDE_BY_SIDE };
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let Some(job) = queue().next() else { break };
                    let number = numbers.fetch_add(1, Ordering::Relaxed);
                    let [passed, failed, skipped] = &counts;
                    let (count, line) = match verdict(settings, &job, number) {
                        Verdict::Passed(line) => (passed, line),
                        Verdict::Failed(line) => (failed, line),
                        Verdict::Skipped(line) => (skipped, line),
                    };
                    queue().done(&job);
                    count.fetch_add(1, Ordering::Relaxed);
                    settings.say(&line);
                }
            });
        }
    });
    counts.map(AtomicUsize::into_inner)
}

fn verdict(settings: &Settings, job: &Job, number: usize) -> Verdict {
    let name = &job.scenario.name;
    let lacking = needs::told(&needs::lacking(&needs::of(&job.scenario)));
    if !lacking.is_empty() {
        return Verdict::Skipped(format!("skipped {name}: lacks {lacking}"));
    }
    let begun = Instant::now();
    let done = run::run(settings, &job.scenario, job.sabotage.as_ref(), number);
    let seconds = begun.elapsed().as_secs_f64();
    match (&job.sabotage, done) {
        (None, Ok(())) => Verdict::Passed(format!("ok {name} ({seconds:.1} s) {}", job.scenario.shows)),
        (None, Err(failure)) => Verdict::Failed(format!(
            "FAILED {name}: {failure}\n  ({seconds:.1} s; logs: {}/{name})",
            settings.shown
        )),
        (Some(sabotage), done) => sabotaged(settings, name, sabotage, done, seconds),
    }
}

/// A sabotaged scenario must fail, of the scenario's own judgement and for the reason that the sabotage names.
fn sabotaged(
    settings: &Settings,
    name: &str,
    sabotage: &Sabotage,
    done: Result<(), Failure>,
    seconds: f64,
) -> Verdict {
    let what = format!("{name} with {}", sabotage.name);
    let logs = format!("\n  ({seconds:.1} s; logs: {}/{name})", settings.shown);
    match done {
        Err(Failure::Claim(why)) if sabotage.because.as_ref().is_none_or(|because| why.contains(because)) => {
            let why = why.lines().next().unwrap_or_default();
            Verdict::Passed(format!("ok {what} ({seconds:.1} s) noticed: {why}"))
        }
        Err(Failure::Claim(why)) => {
            let because = sabotage.because.as_deref().unwrap_or_default();
            Verdict::Failed(format!("FAILED {what}: it failed, but not because of {because:?}: {why}{logs}"))
        }
        Err(Failure::Lab(why)) => Verdict::Failed(format!("FAILED {what}: the lab itself: {why}{logs}")),
        Ok(()) => Verdict::Failed(format!("SURVIVED {what}: the scenario does not show what it says{logs}")),
    }
}

impl Settings {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut settings = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().cloned().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--stage" => settings.stage = value()?.into(),
                "--work" => settings.work = value()?.into(),
                "--shown" => settings.shown = value()?,
                "--keep" => settings.keep = true,
                "--narrate" => settings.narrate = true,
                "--sabotage" => settings.sabotage = Some(Vec::new()),
                names if names.starts_with("--sabotage=") => {
                    let names = names.trim_start_matches("--sabotage=").split(',');
                    settings.sabotage = Some(names.map(str::to_owned).collect());
                }
                "--no-skips" => settings.no_skips = true,
                name if !name.starts_with('-') => settings.names.push(name.to_owned()),
                other => return Err(format!("no option {other:?}")),
            }
        }
        if settings.work.as_os_str().is_empty() {
            settings.work = format!("/run/adit-lab-{}", std::process::id()).into();
        }
        Ok(settings)
    }

    /// A line for people, kept beside the results for the record.
    fn say(&self, line: &str) {
        println!("{line}");
        let summary = File::options().create(true).append(true).open(self.stage.join("summary"));
        if let Ok(mut file) = summary {
            let _ = writeln!(file, "{line}");
        }
    }

    /// Where a scenario's evidence goes.
    pub(crate) fn results(&self, scenario: &str) -> PathBuf {
        self.stage.join("results").join(scenario)
    }
}

/// The folder in memory that holds our programs and what every host sees as `/mnt`; it goes when dropped.
struct Work(Option<PathBuf>);

impl Work {
    fn make(settings: &Settings) -> Result<Self, String> {
        let at = |e: std::io::Error| format!("{}: {e}", settings.work.display());
        let is_ours = !settings.work.is_dir();
        if is_ours {
            fs::create_dir_all(&settings.work).map_err(at)?;
            let mut mount = Command::new("mount");
            mount.args(["-t", "tmpfs", "-o", "mode=755", "adit-lab"]).arg(&settings.work);
            host_command(&mut mount)?;
            // Mount namespaces can be kept only below a mount that propagates nowhere.
            host_command(Command::new("mount").arg("--make-private").arg(&settings.work))?;
        }
        let mut copy = Command::new("cp");
        copy.args(["-R", "--preserve=mode"]).arg(settings.stage.join("bin")).arg(&settings.work);
        host_command(&mut copy)?;
        Ok(Self(is_ours.then(|| settings.work.clone())))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Some(work) = &self.0 {
            let _ = Command::new("umount").arg("-l").arg(work).status();
            let _ = fs::remove_dir(work);
        }
    }
}

fn host_command(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
    }
}
