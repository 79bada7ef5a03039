//! What each kind of step does.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use adit_lab::scenario::{Scenario, Step, Traffic};

use crate::{
    counters::Carried,
    daemon::{Daemon, Start},
    host::{Done, Host},
    topology::Topology,
    traffic::{DATAGRAM, PING},
};

/// Longest time for a step that names none.
const WITHIN: Duration = Duration::from_secs(60);

/// A scenario on its way.
pub(crate) struct Stage<'a> {
    /// Its hosts.
    pub(crate) topology: &'a Topology,
    /// What has been started, in order.
    pub(crate) daemons: Vec<Daemon>,
    /// Folder of the logs.
    pub(crate) logs: &'a Path,
    /// Whether each line of output is shown as it comes.
    pub(crate) narrate: bool,
}

impl Stage<'_> {
    /// Does it.
    pub(crate) fn step(&mut self, number: usize, step: &Step) -> Result<(), String> {
        if self.narrate
            && let Some(say) = &step.say
        {
            println!("\n{say}");
        }
        if let Some(link) = &step.link_down {
            return self.topology.carrier(link, false);
        }
        if let Some(link) = &step.link_up {
            return self.topology.carrier(link, true);
        }
        let host = self.topology.host(step.on.as_deref().unwrap_or_default())?;
        let within = step.within.map_or(WITHIN, Duration::from_secs);
        if let Some(script) = &step.run {
            self.ran(number, step, host, script, within)
        } else if let Some(script) = &step.until {
            self.until(number, host, script, within)
        } else if let Some(program) = &step.start {
            self.start(step, host, program, within)
        } else if let Some(name) = &step.stop {
            self.stop(step, name, within)
        } else if let Some(name) = &step.kill {
            self.take(&host.name, name)?.kill()
        } else if let Some(traffic) = &step.send {
            self.send(number, host, traffic, within)
        } else {
            Err("no verb".to_owned())
        }
    }

    fn ran(
        &self,
        number: usize,
        step: &Step,
        host: &Host,
        script: &str,
        within: Duration,
    ) -> Result<(), String> {
        let done = self.shell(number, host, script, within)?;
        let failed =
            |why: String| Err(format!("{}: `{script}`: {why}\n{}", host.name, indented(&done.both())));
        let exit = step.exit.unwrap_or(0);
        match done.exit {
            Some(124) if exit != 124 => return failed(format!("still running after {} s", within.as_secs())),
            code if code != Some(exit) => return failed(format!("exit {}, not {exit}", shown(code))),
            _ => {}
        }
        let both = done.both();
        let wanted = [
            ("stdout", &step.stdout, &done.stdout),
            ("stderr", &step.stderr, &done.stderr),
            ("output", &step.output, &both),
        ];
        for (what, texts, text) in wanted {
            if let Some(missing) = texts.iter().find(|wanted| !text.contains(wanted.as_str())) {
                return failed(format!("no {missing:?} in {what}"));
            }
        }
        match step.not_output.iter().find(|unwanted| both.contains(unwanted.as_str())) {
            Some(there) => failed(format!("{there:?} is in its output")),
            None => Ok(()),
        }
    }

    fn until(&self, number: usize, host: &Host, script: &str, within: Duration) -> Result<(), String> {
        let deadline = Instant::now() + within;
        loop {
            let done = host.shell(script, within)?;
            if done.exit == Some(0) {
                return Ok(());
            }
            if Instant::now() > deadline {
                self.log(number, host, script, &done);
                let seconds = within.as_secs();
                return Err(format!(
                    "{}: not so within {seconds} s: `{script}`\n{}",
                    host.name,
                    indented(&done.both())
                ));
            }
            thread::sleep(Duration::from_millis(150));
        }
    }

    fn start(&mut self, step: &Step, host: &Host, program: &str, within: Duration) -> Result<(), String> {
        let name = step.name.as_deref().or_else(|| program.split_whitespace().next()).unwrap_or(program);
        let log = self.logs.join(format!("{}-{}.log", host.name, name.replace('/', "_")));
        let start = Start { program, name, ready: step.ready.as_deref(), within };
        self.daemons.push(Daemon::start(host, &start, &log)?);
        Ok(())
    }

    fn stop(&mut self, step: &Step, name: &str, within: Duration) -> Result<(), String> {
        let mut daemon = self.take(step.on.as_deref().unwrap_or_default(), name)?;
        let exit = daemon.stop(within)?;
        match step.exit {
            Some(wanted) if exit != Some(wanted) => {
                Err(format!("{name} on {} ended with exit {}, not {wanted}", daemon.host, shown(exit)))
            }
            _ => Ok(()),
        }
    }

    fn send(&self, number: usize, host: &Host, traffic: &Traffic, within: Duration) -> Result<(), String> {
        let mut before = Vec::new();
        for name in &traffic.carried_by {
            let host = self.topology.host(name)?;
            before.push((host, Carried::read(host, &self.daemons)?));
        }
        let mut bytes = 0;
        let to = &traffic.to;
        if traffic.ping > 0 {
            let pattern: String = Scenario::marker().bytes().map(|byte| format!("{byte:02x}")).collect();
            let script = format!("ping -n -c {} -i 0.2 -W 5 -s {PING} -p {pattern} {to}", traffic.ping);
            let done = self.succeeded(number, host, &script, within)?;
            bytes += count(&done.stdout, " received") * PING as u64;
        }
        if traffic.tcp > 0 || traffic.udp > 0 {
            let script = format!("adit-lab send {to} {} {}", traffic.tcp, traffic.udp);
            let done = self.succeeded(number, host, &script, within)?;
            bytes += traffic.tcp
                + count(&done.stdout, &format!(" of {} datagrams", traffic.udp)) * DATAGRAM as u64;
        }
        for (host, before) in before {
            Carried::read(host, &self.daemons)?.since(&before, bytes, &host.name)?;
        }
        Ok(())
    }

    fn succeeded(&self, number: usize, host: &Host, script: &str, within: Duration) -> Result<Done, String> {
        let done = self.shell(number, host, script, within)?;
        if done.exit == Some(0) {
            Ok(done)
        } else {
            Err(format!("{}: `{script}`: exit {}\n{}", host.name, shown(done.exit), indented(&done.both())))
        }
    }

    fn shell(&self, number: usize, host: &Host, script: &str, within: Duration) -> Result<Done, String> {
        let done = if self.narrate {
            println!("  {}$ {script}", host.name);
            host.shell_heard(script, within, |line| println!("    {line}"))?
        } else {
            host.shell(script, within)?
        };
        self.log(number, host, script, &done);
        Ok(done)
    }

    fn log(&self, number: usize, host: &Host, script: &str, done: &Done) {
        let text =
            format!("{}$ {script}\n{}{}exit {}\n", host.name, done.stdout, done.stderr, shown(done.exit));
        let _ = std::fs::write(self.logs.join(format!("{:02}-{}.log", number + 1, host.name)), text);
    }

    /// The started program of this name, which is no more among the started ones.
    fn take(&mut self, host: &str, name: &str) -> Result<Daemon, String> {
        let at = self.daemons.iter().position(|daemon| daemon.host == host && daemon.name == name);
        at.map(|at| self.daemons.remove(at)).ok_or_else(|| format!("{name} is not running on {host}"))
    }
}

/// The number that stands before `word`.
fn count(text: &str, word: &str) -> u64 {
    let before = text.split(word).next().filter(|before| before.len() < text.len()).unwrap_or_default();
    before.split_whitespace().last().and_then(|number| number.parse().ok()).unwrap_or_default()
}

fn shown(exit: Option<i32>) -> String {
    exit.map_or_else(|| "by a signal".to_owned(), |code| code.to_string())
}

/// The last lines of an output, indented.
fn indented(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let end = lines.get(lines.len().saturating_sub(12)..).unwrap_or_default();
    end.iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn reads_how_much_came_back() {
        assert_eq!(count("3 packets transmitted, 2 received, 33% packet loss", " received"), 2);
        assert_eq!(count("UDP: 19 of 20 datagrams there and back", " of 20 datagrams"), 19);
        assert_eq!(count("nothing", " received"), 0);
    }
}
