//! What must hold when a run is over.

use core::time::Duration;

use adit_core::Instant;

use super::talk::{Talk, Way, Who};
use super::{STORM, Summary, World};

impl World {
    pub(super) fn judge(mut self) -> Result<Summary, String> {
        if let Some(violation) = self.violation.take() {
            return Err(violation);
        }
        for talk in &self.talks {
            self.of(talk).map_err(|what| format!("{}: {what}", described(talk)))?;
        }
        // Whatever was away has been back for long enough.
        if self.client.open() > 0 || !self.queries.is_empty() {
            return Err(format!("{} questions are open, {:?}", self.client.open(), self.queries));
        }
        self.summary.talks = self.talks.len() as u64;
        self.summary.let_in = self.talks.iter().filter(|t| let_in(t)).count() as u64;
        self.summary.noted = self.servers.iter().map(|s| s.noted.len() as u64).sum();
        Ok(self.summary)
    }

    fn of(&self, talk: &Talk) -> Result<(), String> {
        let Some(decided) = &talk.decided else { return Err("nobody has decided".into()) };
        let Some(ended) = &talk.ended else { return Err("it has no end for the peer".into()) };
        if talk.leaked {
            return Err("the password went to a server that had not proven itself".into());
        }
        if matches!(talk.who, Who::Wrong | Who::Unknown | Who::Deceived) {
            if decided.is_ok() {
                return Err("somebody came in who may not".into());
            }
            if ended.is_ok() && !(talk.pap && talk.fooled && talk.who != Who::Deceived) {
                return Err("the peer is content with what it can't be".into());
            }
        }
        let real = self.servers.iter().find_map(|s| s.accepted.get(&talk.index));
        match (decided, ended) {
            (Ok(ours), Ok(theirs)) => {
                if ours != theirs {
                    return Err("the two ends have two keys".into());
                }
                if talk.way != Way::Local && real != Some(ours) {
                    return Err("no server has said so".into());
                }
            }
            (Ok(_), Err(why)) => return Err(format!("it is in, and the peer says: {why:?}")),
            (Err(why), Ok(_)) if !talk.fooled => {
                return Err(format!("the peer is content, and the server says: {why:?}"));
            }
            (Err(_), _) => {}
        }
        if decided.is_ok() && talk.way != Way::Local {
            for kind in [1, 2] {
                if !self.servers.iter().any(|s| s.noted.contains(&(talk.index, kind))) {
                    return Err(format!("accounting record {kind} is lost"));
                }
            }
        }
        self.comes_in(talk, decided.is_ok())
    }

    /// Forged packets alone keep nobody out (a success comes too early for who still has something to say), and neither do late answers that come in time, nor servers that are away
    /// from the beginning as long as one is there.
    fn comes_in(&self, talk: &Talk, is_in: bool) -> Result<(), String> {
        let plan = &self.plan;
        let storm = Instant::ZERO + Duration::from_secs(400);
        let always_down =
            |s: &super::RadiusServer| s.down.iter().any(|(from, to)| *from == Instant::ZERO && *to > storm);
        let never_down = |s: &super::RadiusServer| s.down.iter().all(|(from, _)| *from > storm);
        let served = talk.way == Way::Local
            || (plan.loss == 0
                && plan.slow == 0
                && self.servers.iter().any(never_down)
                && self.servers.iter().all(|s| never_down(s) || always_down(s)));
        let may = matches!(talk.who, Who::Right | Who::Typo);
        if may && served && !talk.hindered && plan.late == 0 && !is_in {
            return Err(format!("it should have come in: {:?}, {:?}", talk.decided, talk.ended));
        }
        debug_assert!(storm < Instant::ZERO + STORM);
        Ok(())
    }
}

fn let_in(talk: &Talk) -> bool {
    matches!(talk.decided, Some(Ok(_)))
}

fn described(talk: &Talk) -> String {
    let Talk { index, name, way, who, method, version, .. } = talk;
    format!("conversation {index} of {name} ({way:?}, {who:?}, {method}, {version:?})")
}
