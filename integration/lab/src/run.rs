//! One scenario from the first link to the verdict.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use adit_lab::scenario::{Sabotage, Scenario, Step};

use crate::{
    capture::Captures, evidence, judge, pki, runner::Settings, secrets, snapshot::Snapshot, steps::Stage,
    topology::Topology,
};

/// Why a scenario did not pass.
pub(crate) enum Failure {
    /// What it claims does not hold.
    Claim(String),
    /// It could not be judged: the lab, or a sabotage, did not do its part.
    Lab(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim(why) => f.write_str(why),
            Self::Lab(why) => write!(f, "the lab itself: {why}"),
        }
    }
}

/// Runs it, broken by `sabotage` where there is one. What it leaves goes to its results if it fails.
pub(crate) fn run(
    settings: &Settings,
    scenario: &Scenario,
    sabotage: Option<&Sabotage>,
    number: usize,
) -> Result<(), Failure> {
    let prefix = format!("lab{}-{number}", std::process::id());
    let results = settings.results(&scenario.name);
    let topology =
        Topology::build(scenario, &settings.stage, &settings.work, &prefix).map_err(Failure::Lab)?;
    let logs = settings.work.join(&prefix).join("logs");
    fs::create_dir_all(&logs).map_err(|e| Failure::Lab(e.to_string()))?;
    let done = Run { settings, scenario, sabotage, topology: &topology, logs: &logs }.whole(&prefix);
    // A sabotaged scenario fails by design; it leaves what explains a survival or a failure of another kind.
    let explains = match (&done, sabotage) {
        (Err(_), None) | (Ok(()) | Err(Failure::Lab(_)), Some(_)) => true,
        (Err(Failure::Claim(why)), Some(sabotage)) => {
            sabotage.because.as_ref().is_some_and(|because| !why.contains(because))
        }
        (Ok(()), None) => settings.keep,
    };
    if explains {
        let _ = fs::create_dir_all(&results);
        evidence::hosts(&topology, &logs);
        evidence::copy(&logs, &results);
        if let Err(failure) = &done {
            let _ = fs::write(results.join("why"), format!("{failure}\n"));
        }
    }
    done
}

struct Run<'a> {
    settings: &'a Settings,
    scenario: &'a Scenario,
    sabotage: Option<&'a Sabotage>,
    topology: &'a Topology,
    logs: &'a Path,
}

impl Run<'_> {
    /// Of the wires that something is expected of, or else of all, for people to look at. A bench has none for that: tcpdump
    /// would take time from what is measured, and a gigabyte of the memory that logs are in.
    fn captures(&self) -> Result<Captures, String> {
        let expected: Vec<&String> = self.scenario.expect.wire.iter().flat_map(|wire| &wire.on).collect();
        let all = expected.is_empty() && self.scenario.set != "bench";
        Captures::start(self.topology, &self.logs.join("pcap"), |wire| all || expected.contains(&wire))
    }

    fn whole(&self, prefix: &str) -> Result<(), Failure> {
        pki::make(self.scenario, self.topology, &self.settings.work, prefix).map_err(Failure::Lab)?;
        let captures = self.captures().map_err(Failure::Lab)?;
        let narrate = self.settings.narrate;
        let mut stage = Stage { topology: self.topology, daemons: Vec::new(), logs: self.logs, narrate };
        for name in self.scenario.host.iter().filter(|(_, host)| host.dbus).map(|(name, _)| name) {
            let bus =
                Step { on: Some(name.clone()), start: Some("dbus-daemon".to_owned()), ..Step::default() };
            stage.step(0, &bus).map_err(Failure::Lab)?;
        }
        let mut times = judge::Times::new();
        let done = self.steps(&mut stage, &mut times);
        let done = done.and_then(|()| secrets::absent(self.scenario, self.logs).map_err(Failure::Claim));
        let files = captures.stop();
        let wires = judge::wires(self.scenario, &times, &files);
        let told = match (done, wires) {
            (Ok(()), wires) => wires.map_err(Failure::Claim)?,
            // A leak explains more than the step that failed with it.
            (Err(Failure::Claim(why)), Err(leak)) if leak.contains("in clear") => {
                return Err(Failure::Claim(format!("{why}\n  and {leak}")));
            }
            (Err(failure), _) => return Err(failure),
        };
        if narrate {
            self.narrate_end(&told);
        }
        Ok(())
    }

    /// Every step in order, with the sabotage in its place; when each began and ended.
    fn steps(&self, stage: &mut Stage<'_>, times: &mut judge::Times) -> Result<(), Failure> {
        let deadline = Instant::now() + Duration::from_secs(self.scenario.timeout);
        let mut before: BTreeMap<usize, Vec<(usize, Snapshot)>> = BTreeMap::new();
        for (index, step) in self.scenario.step.iter().enumerate() {
            self.record(index, &mut before)?;
            self.strike(step, false)?;
            let begin = now();
            let what = step.label.as_ref().map(|label| format!(" ({label})")).unwrap_or_default();
            stage
                .step(index, step)
                .map_err(|why| Failure::Claim(format!("step {}{what}: {why}", index + 1)))?;
            self.strike(step, true)?;
            times.push((begin, now()));
            self.compare(index, &before)?;
            if Instant::now() > deadline {
                let seconds = self.scenario.timeout;
                return Err(Failure::Claim(format!(
                    "step {}{what} ended after the scenario's {seconds} s",
                    index + 1
                )));
            }
        }
        Ok(())
    }

    /// Records the hosts that must later be as they are before this step.
    fn record(
        &self,
        index: usize,
        before: &mut BTreeMap<usize, Vec<(usize, Snapshot)>>,
    ) -> Result<(), Failure> {
        for (which, left) in self.scenario.expect.nothing_left.iter().enumerate() {
            let since = left.since.as_ref().and_then(|label| self.scenario.step_at(label)).unwrap_or(0);
            if since == index {
                for (host, name) in left.on.iter().enumerate() {
                    let snapshot = self.topology.host(name).and_then(Snapshot::take).map_err(Failure::Lab)?;
                    before.entry(which).or_default().push((host, snapshot));
                }
            }
        }
        Ok(())
    }

    fn compare(&self, index: usize, before: &BTreeMap<usize, Vec<(usize, Snapshot)>>) -> Result<(), Failure> {
        for (which, left) in self.scenario.expect.nothing_left.iter().enumerate() {
            let last = self.scenario.step.len() - 1;
            let at = left.at.as_ref().and_then(|label| self.scenario.step_at(label)).unwrap_or(last);
            for (host, snapshot) in before.get(&which).into_iter().flatten().filter(|_| at == index) {
                let name = left.on.get(*host).map_or("", String::as_str);
                let host = self.topology.host(name).map_err(Failure::Lab)?;
                snapshot.is_still(host).map_err(Failure::Claim)?;
            }
        }
        Ok(())
    }

    /// The sabotage, where it strikes before or after this step.
    fn strike(&self, step: &Step, after: bool) -> Result<(), Failure> {
        let Some(sabotage) = self.sabotage else { return Ok(()) };
        let label = if after { &sabotage.after } else { &sabotage.before };
        if label.is_none() || *label != step.label {
            return Ok(());
        }
        let host = self.topology.host(&sabotage.on).map_err(Failure::Lab)?;
        let what = |why: String| Failure::Lab(format!("sabotage {}: {why}", sabotage.name));
        host.must(&sabotage.run).map(drop).map_err(what)
    }

    fn narrate_end(&self, told: &[String]) {
        println!();
        for line in told {
            println!("{line}");
        }
        let hosts: Vec<&str> = self
            .scenario
            .expect
            .nothing_left
            .iter()
            .flat_map(|left| left.on.iter().map(String::as_str))
            .collect();
        if !hosts.is_empty() {
            println!("left behind on {}: nothing", hosts.join(", "));
        }
    }
}

/// Microseconds since 1970, the clock of the captures.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
